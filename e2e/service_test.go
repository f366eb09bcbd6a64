package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// startTimeout covers a download of Postgres, where there is none.
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
)

// A service is the whole program with its own database and simulator, as
// "nanobanana dev" runs it.
type service struct {
	URL         string `json:"url"`
	Key         string `json:"api_key_live"`
	OrgID       string `json:"org_id"`
	DatabaseURL string `json:"database_url"`
}

// startService builds and runs the program, which may send webhooks to this
// machine, until the test ends.
func startService(t *testing.T) *service {
	t.Helper()
	data := t.TempDir()
	cmd := exec.Command(buildProgram(t), "dev", "--listen=127.0.0.1:0", "--data="+data, "--webhook-loopback", "--simulator-speed=0")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(stopTimeout):
			t.Error("the service does not stop")
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("the service wrote:\n%s", log.Bytes())
		}
	})
	late := time.After(startTimeout)
	for {
		if s, ok := readState(t, data); ok {
			return s
		}
		select {
		case <-exited:
			t.Fatal("the service has ended")
		case <-late:
			t.Fatal("the service does not start")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readState reads the file that is there once the service is ready.
func readState(t *testing.T, data string) (*service, bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "dev.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s, true
}

// do sends a request, with a body as JSON unless it is nil, and reads the answer,
// which must have the status.
func (s *service) do(t *testing.T, want int, method, path string, body, into any) {
	t.Helper()
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, payload)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s %s answered %d, want %d: %s", method, path, resp.StatusCode, want, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s answered %s: %v", method, path, text, err)
	}
}
