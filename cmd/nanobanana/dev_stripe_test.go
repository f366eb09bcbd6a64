package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// masterKey makes one for the organization of a running `dev`.
func (s devState) masterKey(t *testing.T, data string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "keys", "create", "books", "--kind=master")
	cmd.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+s.DatabaseURL, "NANOBANANA_DATA="+data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make a master key: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// ask sends a request with a key and returns the answer, which has to have a status.
func (s devState) ask(t *testing.T, key, method, path, body string, want int) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s was answered %d (%v), want %d: %v", method, path, resp.StatusCode, err, want, answer)
	}
	return answer
}

// TestDev_TakesPayments subscribes with nothing configured: the checkout page has a pay
// button, what it does reaches the service, and all of it is there after a restart.
func TestDev_TakesPayments(t *testing.T) {
	t.Parallel()
	data := passableDir(t)
	p, state := devProcess(t, data, nil, nil)
	key := state.masterKey(t, data)
	page, _ := state.ask(t, key, http.MethodPost, "/v1/billing/checkout", `{"plan":"pro"}`, 201)["url"].(string)
	if !strings.HasPrefix(page, state.StripeURL+"/checkout/") {
		t.Fatalf("the checkout page is at %q, want it at %s", page, state.StripeURL)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page+"/pay", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("paying was answered %s", resp.Status)
	}
	subscribed := func() bool {
		sub := state.ask(t, key, http.MethodGet, "/v1/billing/subscription", "", 200)
		return sub["plan"] == "pro" && sub["status"] == "active"
	}
	for deadline := time.Now().Add(2 * time.Minute); !subscribed(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the subscription is %v", state.ask(t, key, http.MethodGet, "/v1/billing/subscription", "", 200))
		}
	}
	if status := p.stop(t, syscall.SIGINT); status != 0 {
		t.Errorf("dev ended with status %d:\n%s", status, p.errs)
	}

	before := state.StripeURL
	_, state = devProcess(t, data, nil, nil)
	if state.StripeURL != before {
		t.Errorf("after a restart the links to %s are dead: Stripe is at %s", before, state.StripeURL)
	}
	if !subscribed() {
		t.Error("after a restart the subscription is another")
	}
	if url, _ := state.ask(t, key, http.MethodPost, "/v1/billing/portal", "", 201)["url"].(string); !strings.HasPrefix(url, state.StripeURL+"/portal/") {
		t.Errorf("after a restart the portal is at %q", url)
	}
}

// TestDev_LeavesStripeAlone has no simulator where Stripe is configured.
func TestDev_LeavesStripeAlone(t *testing.T) {
	t.Parallel()
	env := []string{"STRIPE_API_KEY=sk_test_other", "STRIPE_WEBHOOK_SECRET=whsec_other", "STRIPE_API_URL=http://127.0.0.1:1"}
	if _, state := devProcess(t, passableDir(t), env, nil); state.StripeURL != "" || state.StripeAPIKey != "" {
		t.Errorf("a simulator runs at %s", state.StripeURL)
	}
}
