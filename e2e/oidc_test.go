package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	oidcDir      = "oidc"
	oidcAudience = "https://api.example.com"
	oidcSecret   = "the secret of the client"
	ownRedirect  = "http://127.0.0.1:1/own"
)

// A program runs until the test ends, and says things line by line.
type program struct {
	*testing.T
	in    io.WriteCloser
	lines *bufio.Reader
}

func startProgram(t *testing.T, env []string, path string, args ...string) *program {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has killed it by then
	return &program{T: t, in: in, lines: bufio.NewReader(out)}
}

// line returns the next thing that a program says.
func (p *program) line() string {
	p.Helper()
	text, err := p.lines.ReadString('\n')
	if err != nil {
		p.Fatalf("the program has ended: %v", err)
	}
	return strings.TrimSpace(text)
}

// A browser keeps cookies, and fills in the provider's forms.
type browser struct {
	*testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{T: t, client: &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), ownRedirect) {
			return http.ErrUseLastResponse // where nobody listens
		}
		return nil
	}}}
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	formPrompt = regexp.MustCompile(`name="prompt" value="([^"]+)"`)
)

// signIn opens an address, signs in and consents as the provider's pages ask, and
// returns the answer to which all this leads, and the address it came from.
func (b *browser) signIn(address, login string) (resp *http.Response, body string, prompts []string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
	for {
		if err != nil {
			b.Fatal(err)
		}
		if resp, err = b.client.Do(req); err != nil {
			b.Fatal(err)
		}
		text, err2 := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err2 != nil {
			b.Fatal(err2)
		}
		action, prompt := formAction.FindSubmatch(text), formPrompt.FindSubmatch(text)
		if action == nil || prompt == nil {
			return resp, string(text), prompts
		}
		prompts = append(prompts, string(prompt[1]))
		form := url.Values{"prompt": {string(prompt[1])}, "login": {login}, "password": {"any"}}
		req, err = http.NewRequestWithContext(b.Context(), http.MethodPost, string(action[1]), strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

// accessToken has the provider make an access token for the API, to a program of
// someone else's who signs in.
func (b *browser) accessToken(issuer string) string {
	b.Helper()
	const verifier = "a-verifier-of-at-least-forty-three-characters-like-this"
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {"nanobanana"}, "redirect_uri": {ownRedirect}, "scope": {"openid generate"},
		"resource": {oidcAudience}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	resp, body, _ := b.signIn(issuer+"/auth?"+query.Encode(), "grace")
	back, err := resp.Location()
	if err != nil {
		b.Fatalf("status %d, %s", resp.StatusCode, body)
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {ownRedirect}, "code_verifier": {verifier},
		"resource": {oidcAudience},
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("nanobanana", url.QueryEscape(oidcSecret))
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || strings.Count(got.AccessToken, ".") != 2 {
		b.Fatalf("status %d, %+v: %v", answer.StatusCode, got, err)
	}
	return got.AccessToken
}

// startSignOn runs a provider, and a front door on the service's database that has it
// for single sign-on.
func startSignOn(t *testing.T, node string, dev *service) (front *service, issuer string) {
	t.Helper()
	provider := startProgram(t, nil, node, filepath.Join(oidcDir, "provider.js"), oidcAudience)
	issuer = provider.line()
	config, err := json.Marshal([]map[string]any{{
		"name": "corp", "issuer": issuer, "client_id": "nanobanana", "client_secret": oidcSecret,
		"audience": oidcAudience, "organization": dev.OrgID,
	}})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"DATABASE_URL=" + dev.DatabaseURL, "NANOBANANA_OIDC=" + string(config)}
	api := startProgram(t, env, buildProgram(t), "api", "--listen=127.0.0.1:0", "--data="+t.TempDir())
	address, ok := strings.CutPrefix(api.line(), "api listening on ")
	if !ok {
		t.Fatalf("the front door said %q", address)
	}
	if _, err := fmt.Fprintln(provider.in, address+"/v1/auth/oidc/corp/callback"); err != nil {
		t.Fatal(err)
	}
	if said := provider.line(); said != "ready" {
		t.Fatalf("the provider said %q", said)
	}
	return &service{URL: address}, issuer
}

// TestSignOn_Provider has a certified provider sign someone in, by its own pages, and
// the API take its access tokens.
func TestSignOn_Provider(t *testing.T) {
	t.Parallel()
	node := requireNode(t)
	installNodeModules(t, oidcDir)
	front, issuer := startSignOn(t, node, startService(t))

	ada := newBrowser(t)
	var ids []string
	for _, asked := range []string{"login consent", ""} {
		resp, body, prompts := ada.signIn(front.URL+"/v1/auth/oidc/corp", "ada")
		var got struct {
			AccessToken string `json:"access_token"`
			Account     struct {
				ID, Email, Name string
				EmailVerified   bool `json:"email_verified"`
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d, %s", resp.StatusCode, body)
		}
		if who := got.Account; who.Email != "ada@example.com" || who.Name != "ada" || !who.EmailVerified {
			t.Errorf("signed in as %+v", who)
		}
		if said := strings.Join(prompts, " "); said != asked {
			t.Errorf("the provider asked for %q, want %q", said, asked)
		}
		var me struct{ ID string }
		(&service{URL: front.URL, Key: got.AccessToken}).do(t, http.StatusOK, http.MethodGet, "/v1/me", nil, &me)
		ids = append(ids, me.ID)
		// What brought them here brings nobody here again.
		again, body, _ := ada.signIn(resp.Request.URL.String(), "ada")
		if again.StatusCode != http.StatusBadRequest {
			t.Errorf("the callback once more: status %d, %s", again.StatusCode, body)
		}
	}
	if ids[0] != ids[1] || ids[0] == "" {
		t.Errorf("signed in twice as %v", ids)
	}

	token := newBrowser(t).accessToken(issuer)
	bearer := &service{URL: front.URL, Key: token}
	var made struct{ ID, Status string }
	bearer.do(t, http.StatusAccepted, http.MethodPost, "/v1/generations", map[string]any{"prompt": "a banana"}, &made)
	bearer.do(t, http.StatusOK, http.MethodGet, "/v1/generations/"+made.ID+"?wait=30", nil, &made)
	if made.Status != "succeeded" {
		t.Errorf("the generation %s is %s", made.ID, made.Status)
	}
	for name, bad := range map[string]string{"Signature": token[:len(token)-10] + "AAAAAAAAAA", "Payload": tampered(t, token)} {
		var problem struct{ Code string }
		(&service{URL: front.URL, Key: bad}).do(t, http.StatusUnauthorized, http.MethodGet, "/v1/generations", nil, &problem)
		if problem.Code != "invalid_token" {
			t.Errorf("%s: %s, want invalid_token", name, problem.Code)
		}
	}
}

// tampered is a token that speaks for someone else.
func tampered(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil && !strings.Contains(string(payload), `"grace"`) {
		err = errors.New("it does not speak for grace")
	}
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"grace"`, `"heidi"`, 1)))
	return strings.Join(parts, ".")
}
