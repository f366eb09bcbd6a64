package main

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	_ "image/jpeg"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// devProcess starts `dev` on a directory and waits until it is ready.
func devProcess(t *testing.T, data string, env []string, change func(*exec.Cmd)) (*process, devState) {
	t.Helper()
	p := startProcess(t, append(env, "NANOBANANA_SIMULATOR_SPEED=0"), change, "dev", "--listen=127.0.0.1:0", "--data="+data)
	p.line(t, "NanoBanana is ready after")
	text, err := os.ReadFile(filepath.Join(data, devStateFile))
	if err != nil {
		t.Fatal(err)
	}
	var state devState
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	return p, state
}

type answer struct {
	ID, Status, URL string
	Simulated       bool
	Images          []struct{ Width, Height int }
}

// get asks the API of a running `dev`.
func (s devState) get(t *testing.T, url string, into any) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.APIKeyLive)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s: %v in %s", url, err, body)
		}
	}
	return resp
}

// tryCurlLine pastes the printed line into a shell and polls to a picture.
func tryCurlLine(t *testing.T, p *process, state devState) {
	t.Helper()
	line := "curl -s " + p.line(t, "curl -s ") + ` -w '%{http_code}'`
	out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	body, code := string(out[:max(len(out)-3, 0)]), string(out[max(len(out)-3, 0):])
	var g answer
	if err := json.Unmarshal([]byte(body), &g); err != nil || code != "202" || !g.Simulated {
		t.Fatalf("the printed line answered %s: %s", code, body)
	}
	state.get(t, state.URL+"/v1/generations/"+g.ID+"?wait=30", &g)
	if g.Status != "succeeded" || len(g.Images) != 1 || g.Images[0].Width != 1024 {
		t.Fatalf("the generation came to %+v", g)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req) // the address needs no key
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	picture, _, err := image.Decode(resp.Body)
	if err != nil || picture.Bounds().Dx() != 1024 || picture.Bounds().Dy() != 1024 {
		t.Fatalf("the picture is %v, %v; want 1024x1024", picture, err)
	}
}

// wantNoPostgres checks that no server runs on the directory any more.
func wantNoPostgres(t *testing.T, data string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		pids, err := filepath.Glob(filepath.Join(data, "postgres", "pg*", "postmaster.pid"))
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a database server is left: %v", pids)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestDev_FirstImageStopAndSecondRun(t *testing.T) {
	t.Parallel()
	data := passableDir(t)
	p, first := devProcess(t, data, nil, nil)
	tryCurlLine(t, p, first)

	second := startProcess(t, nil, nil, "dev", "--listen=127.0.0.1:0", "--data="+data)
	<-second.exited
	if second.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(second.errs.String(), "another \"nanobanana dev\" is using") {
		t.Errorf("a second dev on the directory ended with %v:\n%s", second.cmd.ProcessState, second.errs)
	}

	if status := p.stop(t, syscall.SIGINT); status != 0 {
		t.Errorf("dev ended with status %d after SIGINT:\n%s", status, p.errs)
	}
	wantNoPostgres(t, data)
	if _, err := os.Stat(filepath.Join(data, devStateFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dev.json is left after the stop: %v", err)
	}

	p, again := devProcess(t, data, nil, nil)
	if again.APIKeyLive != first.APIKeyLive || again.APIKeyTest != first.APIKeyTest || again.ProjectID != first.ProjectID {
		t.Errorf("the second run has other keys or another project: %+v, then %+v", first, again)
	}
	tryCurlLine(t, p, again)
}

func TestDev_SurvivesAKilledPreviousRun(t *testing.T) {
	t.Parallel()
	data := passableDir(t)
	p, first := devProcess(t, data, nil, nil)
	p.stop(t, syscall.SIGKILL)
	p, again := devProcess(t, data, nil, nil)
	if again.APIKeyLive != first.APIKeyLive {
		t.Error("the keys did not survive")
	}
	tryCurlLine(t, p, again)
	if status := p.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("dev ended with status %d after SIGTERM:\n%s", status, p.errs)
	}
	wantNoPostgres(t, data)
}

// Under root, the same as an ordinary user; the other tests cover root, or the
// user who runs them.
func TestDev_AsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: the other tests of dev run as an ordinary user")
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "nanobanana-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "nanobanana")
	copyFile(t, os.Args[0], program, 0o755)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "home"), 0o755), os.Chown(filepath.Join(dir, "home"), nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "home", "data")
	p, state := devProcess(t, data, []string{"HOME=" + filepath.Join(dir, "home")}, func(cmd *exec.Cmd) {
		cmd.Path = program
		cmd.Dir = filepath.Join(dir, "home")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	})
	tryCurlLine(t, p, state)
	if status := p.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("dev ended with status %d:\n%s", status, p.errs)
	}
	wantNoPostgres(t, data)
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDev_OperatorsCommandsBesideIt(t *testing.T) {
	t.Parallel()
	data := passableDir(t)
	_, state := devProcess(t, data, nil, nil)
	env := []string{"DATABASE_URL=" + state.DatabaseURL, "NANOBANANA_DATA=" + data}
	status := func(key string) int {
		t.Helper()
		s := state
		s.APIKeyLive = key
		return s.get(t, state.URL+"/v1/models", nil).StatusCode
	}
	command := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], args...)
		cmd.Env = append(os.Environ(), append(env, asProgram+"=1")...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	if out := command("migrate"); out != "the schema is up to date" {
		t.Errorf("migrate said %q", out)
	}
	key := command("keys", "create", "extra", "--kind=test")
	if got := status(key); got != http.StatusOK {
		t.Errorf("the new key gets %d, want 200", got)
	}
	list := command("keys", "list")
	var id string
	for line := range strings.Lines(list) {
		if strings.Contains(line, "extra") {
			id = strings.Fields(line)[0]
		}
	}
	if id == "" || strings.Contains(list, key) {
		t.Fatalf("the list lacks the key's id or shows the key:\n%s", list)
	}
	command("keys", "revoke", id)
	deadline := time.Now().Add(2 * time.Second)
	for status(key) != http.StatusUnauthorized {
		if time.Now().After(deadline) {
			t.Fatal("a revoked key still works after 2 s")
		}
		time.Sleep(5 * time.Millisecond)
	}

	second := startProcess(t, env, nil, "dev", "--listen=127.0.0.1:0", "--data="+data)
	<-second.exited
	if second.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(second.errs.String(), "another \"nanobanana dev\" is using") {
		t.Errorf("a dev with DATABASE_URL on the same directory ended with %v:\n%s", second.cmd.ProcessState, second.errs)
	}

	api := startProcess(t, env, nil, "api", "--listen=127.0.0.1:0")
	beside := state
	beside.URL = api.line(t, "api listening on ")
	var page struct{ Data []answer }
	if resp := beside.get(t, beside.URL+"/v1/generations", &page); resp.StatusCode != http.StatusOK {
		t.Errorf("an api beside dev answered %s", resp.Status)
	}
}

func TestDev_StopsSoonThoughACallHangs(t *testing.T) {
	t.Parallel()
	data := passableDir(t)
	p, state := devProcess(t, data, nil, nil)
	body := strings.NewReader(`{"prompt":"[[sim:hang]] x"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, state.URL+"/v1/generate", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+state.APIKeyTest)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var g answer
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&g), resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	for g.Status == "queued" {
		state.get(t, state.URL+"/v1/generations/"+g.ID, &g)
	}
	began := time.Now()
	if status := p.stop(t, syscall.SIGINT); status != 0 || time.Since(began) > 15*time.Second {
		t.Errorf("dev ended with status %d after %s:\n%s", status, time.Since(began), p.errs)
	}
	wantNoPostgres(t, data)
}

func TestDev_SaysWhoMakesTheImages(t *testing.T) {
	t.Parallel()
	const replaced = `{"routes":[{"name":"eu","api":"gemini","key_env":"EU_KEY"},{"name":"us","api":"openai","key_env":"EU_KEY","disabled":true}]}`
	const simulated = "live keys come from the simulator, because no account is set"
	for name, tt := range map[string]struct {
		cfg  config
		want string
	}{
		"None":      {config{}, simulated},
		"OpenAI":    {config{OpenAIAPIKey: "k"}, "live keys cost money: routes openai"},
		"Vertex":    {config{VertexProject: "p"}, "live keys cost money: routes vertex"},
		"Gemini2":   {config{Gemini2APIKey: "k"}, "live keys cost money: routes gemini-2"},
		"Both":      {config{GeminiAPIKey: "k", OpenAIAPIKey: "k"}, "live keys cost money: routes gemini, openai"},
		"OwnRoutes": {config{GeminiAPIKey: "k", Routes: replaced}, "live keys cost money: routes eu, us (disabled)"},
	} {
		if got := tt.cfg.liveImages(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	data := passableDir(t)
	p := startProcess(t, []string{"EU_KEY=k", "GEMINI_API_KEY=k", "NANOBANANA_ROUTES=" + replaced}, nil, "dev", "--listen=127.0.0.1:0", "--data="+data)
	if got := p.line(t, "images of  "); got != "live keys cost money: routes eu, us (disabled)" {
		t.Errorf("dev says %q", got)
	}
	if !strings.Contains(p.errs.String(), "ignored=[GEMINI_API_KEY]") {
		t.Errorf("dev does not say that the key is ignored:\n%s", p.errs)
	}
	p.stop(t, syscall.SIGTERM)
	wantNoPostgres(t, data)
}
