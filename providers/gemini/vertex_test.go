package gemini

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/simulator"
)

// account writes the credentials of a service account whose tokens come from a
// server that gives the answer.
func account(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	tokens := httptest.NewServer(answer)
	t.Cleanup(tokens.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p1", "client_email": "images@p1.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokens.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func onVertex(t *testing.T, file string, upstream http.Handler) bundle {
	t.Helper()
	srv := httptest.NewServer(upstream)
	t.Cleanup(srv.Close)
	p, err := New(Options{Name: "gemini-2", BaseURL: srv.URL, Vertex: &Vertex{Project: "p1", CredentialsFile: file}})
	if err != nil {
		t.Fatal(err)
	}
	return bundle{p, t.TempDir()}
}

const token = `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`

func TestGenerate_Vertex(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	fetched := 0
	file := account(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fetched++
		mu.Unlock()
		reply(200, token)(w, r)
	})
	sim := simulator.New(simulator.Options{})
	t.Cleanup(func() { _ = sim.Close() })
	b := onVertex(t, file, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("X-Goog-Api-Key"))
		mu.Unlock()
		sim.ServeHTTP(w, r)
	}))
	for range 2 {
		got, err := b.generate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Image.MediaType != "image/jpeg" || got.Usage.ImageTokens != 1120 {
			t.Errorf("got %+v", got)
		}
	}
	call := "/v1beta1/projects/p1/locations/global/publishers/google/models/gemini-nano-banana-2.1:generateContent Bearer token-1"
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{call, call}, seen); diff != "" || fetched != 1 {
		t.Errorf("%d tokens fetched, calls (-want +got):\n%s", fetched, diff)
	}
}

func TestGenerate_VertexError(t *testing.T) {
	t.Parallel()
	file := account(t, reply(200, token))
	b := onVertex(t, file, reply(429, simple(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.")))
	want := &providers.Error{Kind: providers.KindRate, Status: 429, Code: "RESOURCE_EXHAUSTED"}
	if diff := cmp.Diff(want, b.fails(t.Context(), t), ignoring("Message")); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestGenerate_VertexToken checks that a call that had no token was not made.
func TestGenerate_VertexToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tokens http.HandlerFunc
		want   providers.Kind
	}{
		"Refused": {reply(400, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`), providers.KindAuth},
		"Away":    {reply(503, `{}`), providers.KindNetwork},
		"Cut":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, providers.KindNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onVertex(t, account(t, c.tokens), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the upstream was called")
			}))
			got := b.fails(t.Context(), t)
			if diff := cmp.Diff(&providers.Error{Kind: c.want}, got, ignoring("Message")); diff != "" {
				t.Errorf("error (-want +got):\n%s\n%v", diff, got)
			}
		})
	}
}

func TestGenerate_VertexTokenTakesTooLong(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	file := account(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-gone
	})
	t.Cleanup(func() { close(gone) })
	b := onVertex(t, file, http.NotFoundHandler())
	_, err := b.provider.Generate(t.Context(), providers.Request{Model: "m", Prompt: "x", Dir: b.dir, Timeout: 100 * time.Millisecond})
	var got *providers.Error
	if !errors.As(err, &got) || got.Kind != providers.KindTimeout || got.Ambiguous {
		t.Errorf("error %v, want an unambiguous timeout", err)
	}
}

func TestNew_RefusesVertexMistakes(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"NoProject":     {Vertex: &Vertex{CredentialsFile: "x"}},
		"KeyToo":        {APIKey: testKey, Vertex: &Vertex{Project: "p1"}},
		"NoCredentials": {Vertex: &Vertex{Project: "p1", CredentialsFile: filepath.Join(t.TempDir(), "none.json")}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: a provider was made", name)
		}
	}
}

func TestVertex_URL(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"global":       "https://aiplatform.googleapis.com/",
		"eu":           "https://aiplatform.eu.rep.googleapis.com/",
		"europe-west4": "https://europe-west4-aiplatform.googleapis.com/",
	} {
		if diff := cmp.Diff(want, Vertex{Location: location}.url()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", location, diff)
		}
	}
}

// TestGenerate_VertexLeavesTheKey has the environment hold the key of another
// route, which the SDK would take.
func TestGenerate_VertexLeavesTheKey(t *testing.T) { //nolint:paralleltest // sets the environment
	t.Setenv("GEMINI_API_KEY", testKey)
	t.Setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:1/")
	b := onVertex(t, account(t, reply(200, token)), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if diff := cmp.Diff([]string{"", "Bearer token-1"}, []string{r.Header.Get("X-Goog-Api-Key"), r.Header.Get("Authorization")}); diff != "" {
			t.Errorf("credentials (-want +got):\n%s", diff)
		}
		reply(200, stop(inline("image/jpeg", jpeg(2000))))(w, r)
	}))
	if _, err := b.generate(t.Context()); err != nil {
		t.Error(err)
	}
}
