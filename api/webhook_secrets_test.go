package api_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// sign makes the headers that a delivery of an owner has now.
func (b *bundle) sign(owner string, body []byte) http.Header {
	b.Helper()
	kept, err := b.db.WebhookSecrets(b.Context(), b.project.OrgID, owner)
	b.must(err)
	var secrets []string
	for _, s := range kept {
		secret, err := b.keyring.Open(s.Sealed, b.project.OrgID, owner)
		b.must(err)
		secrets = append(secrets, secret)
	}
	header, err := b.keyring.Sign("evt_1", time.Now(), body, secrets)
	b.must(err)
	return header
}

// verifies reports whether the official library takes what was signed.
func verifies(t *testing.T, secret string, body []byte, header http.Header) bool {
	t.Helper()
	receiver, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return receiver.Verify(body, header) == nil
}

func TestRotateWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	body := []byte(`{"type":"test.ping"}`)
	created := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody)
	path, id := created.header.Get("Location"), created.json["id"].(string)
	first := created.json["secret"].(string)

	a := b.do(b.live, "POST", path+"/rotate", "") // a day of overlap
	second, _ := a.json["secret"].(string)
	if a.status != 200 || a.header.Get("Cache-Control") != "no-store" || second == first {
		t.Fatalf("status %d, %s", a.status, a.body)
	}
	if diff := cmp.Diff([]string{second[len(second)-4:], first[len(first)-4:]}, last4s(a)); diff != "" {
		t.Error(diff)
	}
	end, err := time.Parse(time.RFC3339Nano, a.json["secrets"].([]any)[1].(map[string]any)["expires_at"].(string))
	if err != nil || time.Until(end.Add(-24*time.Hour)).Abs() > time.Minute {
		t.Errorf("the old one ends at %s, %v", end, err)
	}
	if header := b.sign(id, body); !verifies(t, first, body, header) || !verifies(t, second, body, header) {
		t.Error("a delivery during the overlap does not verify with both secrets")
	}
	read := b.do(b.live, "GET", path, "")
	if read.json["secret"] != nil || !cmp.Equal(a.json["secrets"], read.json["secrets"]) {
		t.Errorf("read afterwards: %s", read.body)
	}

	third, _ := b.do(b.live, "POST", path+"/rotate", `{"overlap_seconds":0}`).json["secret"].(string)
	header := b.sign(id, body)
	if verifies(t, first, body, header) || verifies(t, second, body, header) || !verifies(t, third, body, header) {
		t.Error("without an overlap others than the new secret verify")
	}
	for body, fault := range map[string]string{
		`{"overlap_seconds":-1}`: "overlap_seconds out_of_range", `{"overlap_seconds":604801}`: "overlap_seconds out_of_range",
		`{"overlap_seconds":"1"}`: "overlap_seconds invalid_type", `{"overlap":1}`: "overlap unknown_parameter",
	} {
		if a := b.do(b.live, "POST", path+"/rotate", body); a.status != 422 || !cmp.Equal([]string{fault}, a.faults()) {
			t.Errorf("%s: status %d, %s", body, a.status, a.body)
		}
	}
	if got := last4s(b.do(b.live, "GET", path, "")); len(got) != 1 {
		t.Errorf("refused rotations left %v", got)
	}
}

// Rotations at the same time give secrets that all verify, as long as there is room.
func TestRotateWebhookEndpoint_AtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	created := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody)
	path, id := created.header.Get("Location"), created.json["id"].(string)
	var mu sync.Mutex
	told := []string{created.json["secret"].(string)}
	refused := 0
	var clients sync.WaitGroup
	for range store.MaxWebhookSecrets + 1 {
		clients.Go(func() {
			a, err := b.try(t.Context(), b.live, "POST", path+"/rotate", `{"overlap_seconds":604800}`)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && a.status == 200:
				told = append(told, a.json["secret"].(string))
			case err == nil && a.status == 409 && a.code() == "webhook_secret_limit":
				refused++
			default:
				t.Errorf("%v, %+v", err, a)
			}
		})
	}
	clients.Wait()
	if len(told) != store.MaxWebhookSecrets || refused != 2 {
		t.Errorf("%d secrets, %d refused", len(told), refused)
	}
	body := []byte(`{}`)
	header := b.sign(id, body)
	for _, secret := range told {
		if !verifies(t, secret, body, header) {
			t.Errorf("…%s does not verify", secret[len(secret)-4:])
		}
	}
}

func TestDefaultWebhookSecret(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var mu sync.Mutex
	told := map[any]int{}
	var clients sync.WaitGroup
	for range 10 { // the first use, many times
		clients.Go(func() {
			a, err := b.try(t.Context(), b.live, "GET", "/v1/webhooks/default/secret", "")
			if err != nil || a.status != 200 {
				t.Errorf("%v, %+v", err, a)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[a.json["key"]]++
		})
	}
	clients.Wait()
	again := b.do(b.live, "GET", "/v1/webhooks/default/secret", "")
	first, _ := again.json["key"].(string)
	if len(told) != 1 || told[first] != 10 || again.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("told %v, later %s, %v", told, again.body, again.header)
	}
	secrets := again.json["secrets"]
	if diff := cmp.Diff(map[string]any{"object": "webhook_secret", "key": first, "secrets": secrets}, again.json); diff != "" || len(last4s(again)) != 1 {
		t.Error(diff, secrets)
	}
	if other := b.do(b.other, "GET", "/v1/webhooks/default/secret", ""); other.json["key"] == first {
		t.Error("another project has the same")
	}

	a := b.do(b.live, "POST", "/v1/webhooks/default/rotate", `{"overlap_seconds":60}`)
	second, _ := a.json["key"].(string)
	if a.status != 200 || second == first || len(last4s(a)) != 2 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("rotated: status %d, %s", a.status, a.body)
	}
	if got := b.do(b.live, "GET", "/v1/webhooks/default/secret", ""); !cmp.Equal(a.json, got.json) {
		t.Errorf("read afterwards:\n%s", cmp.Diff(a.json, got.json))
	}
	body := []byte(`{}`)
	if header := b.sign(b.project.ID, body); !verifies(t, first, body, header) || !verifies(t, second, body, header) {
		t.Error("a delivery during the overlap does not verify with both secrets")
	}
	for range store.MaxWebhookSecrets - 2 {
		b.do(b.live, "POST", "/v1/webhooks/default/rotate", "")
	}
	if a := b.do(b.live, "POST", "/v1/webhooks/default/rotate", ""); a.status != 409 || a.code() != "webhook_secret_limit" {
		t.Errorf("one too many: status %d, %s", a.status, a.body)
	}
	if a := b.do(b.live, "POST", "/v1/webhooks/default/rotate", `{"overlap_seconds":0}`); a.status != 200 || len(last4s(a)) != 1 {
		t.Errorf("the way out: status %d, %s", a.status, a.body)
	}
}

// A test key, which front ends and build machines hold, neither sees nor replaces
// what signs for live keys.
func TestDefaultWebhookSecret_OfEachMode(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	ask := func(key, method, what string) string {
		t.Helper()
		a := b.do(key, method, "/v1/webhooks/default/"+what, "")
		secret, _ := a.json["key"].(string)
		if a.status != 200 || secret == "" {
			t.Fatalf("status %d, %s", a.status, a.body)
		}
		return secret
	}
	live, test := ask(b.live, "GET", "secret"), ask(b.test, "GET", "secret")
	if live == test {
		t.Fatal("both modes have the same")
	}
	rotated := ask(b.test, "POST", "rotate")
	got := []string{ask(b.live, "GET", "secret"), ask(b.test, "GET", "secret")}
	if diff := cmp.Diff([]string{live, rotated}, got); diff != "" {
		t.Errorf("after a rotation by a test key (-want +got):\n%s", diff)
	}
	body := []byte(`{}`)
	ofLive, ofTest := b.sign(b.project.ID, body), b.sign(b.project.ID+".test", body)
	if !verifies(t, live, body, ofLive) || verifies(t, live, body, ofTest) || !verifies(t, test, body, ofTest) || verifies(t, test, body, ofLive) {
		t.Error("the secrets that are shown are not those that are kept for the modes")
	}
}

// A secret that was sealed with a key that is gone says so, and how to go on.
func TestDefaultWebhookSecret_Unreadable(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	foreign := webhook.NewKeyring("an operator's secret that is not used any more", "database secret")
	_, err := b.db.EnsureProjectSecret(t.Context(), store.Scope{OrgID: b.project.OrgID, ProjectID: b.project.ID}, store.SealedSecret{
		Sealed: foreign.Seal(webhook.NewSecret(), b.project.OrgID, b.project.ID), Last4: "abc=",
	})
	b.must(err)
	if a := b.do(b.live, "GET", "/v1/webhooks/default/secret", ""); a.status != 409 || a.code() != "webhook_secret_unreadable" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	b.do(b.live, "POST", "/v1/webhooks/default/rotate", `{"overlap_seconds":0}`)
	if a := b.do(b.live, "GET", "/v1/webhooks/default/secret", ""); a.status != 200 {
		t.Errorf("after the advice: status %d, %s", a.status, a.body)
	}
}

func TestWebhookKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do("", "GET", "/v1/webhooks/jwks.json", "")
	if a.status != 200 || a.header.Get("Content-Type") != "application/jwk-set+json" || a.header.Get("Cache-Control") != "public, max-age=3600" {
		t.Fatalf("status %d, %v", a.status, a.header)
	}
	var set struct{ Keys []struct{ X, Kid string } }
	b.must(json.Unmarshal([]byte(a.body), &set))
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	b.must(err)
	body := []byte(`{"a":1}`)
	b.do(b.live, "GET", "/v1/webhooks/default/secret", "")
	header := b.sign(b.project.ID, body)
	_, signature, ok := strings.Cut(header.Get("webhook-signature"), " v1a,")
	raw, err := base64.StdEncoding.DecodeString(signature)
	signed := fmt.Appendf(nil, "%s.%s.%s", header.Get("webhook-id"), header.Get("webhook-timestamp"), body)
	if !ok || err != nil || !ed25519.Verify(public, signed, raw) || ed25519.Verify(public, bytes.ToUpper(signed), raw) {
		t.Errorf("%q does not verify with the published key %s", header.Get("webhook-signature"), set.Keys[0].Kid)
	}
	if head := b.do("", "HEAD", "/v1/webhooks/jwks.json", ""); head.status != 200 || head.body != "" {
		t.Errorf("HEAD: status %d, %q", head.status, head.body)
	}
}

func TestTestWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.submit(b.live, `{"prompt":"x"}`)
	created := b.do(b.test, "POST", "/v1/webhook_endpoints", endpointBody)
	path, id := created.header.Get("Location"), created.json["id"]
	a := b.do(b.test, "POST", path+"/test", "")
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(a.json["timestamp"]))
	if err != nil {
		t.Fatal(a.status, a.body)
	}
	want := map[string]any{
		"id": a.json["id"], "object": "event", "type": "test.ping", "api_version": "2026-11-01", "created_at": float64(at.Unix()),
		"timestamp": a.json["timestamp"], "sequence": 2.0, "project_id": b.project.ID, "test": true,
		"data": map[string]any{"endpoint_id": id, "message": "This is a test that was asked for."},
	}
	if diff := cmp.Diff(want, a.json); diff != "" || a.status != 202 {
		t.Errorf("status %d (-want +got):\n%s", a.status, diff)
	}
	event, err := b.db.Event(t.Context(), b.project.ID, a.json["id"].(string))
	if err != nil || !event.CreatedAt.Equal(at) || !event.Test {
		t.Errorf("kept: %+v, %v", event, err)
	}
	b.do(b.test, "POST", path+"/disable", "")
	if a := b.do(b.test, "POST", path+"/test", ""); a.status != 409 || a.code() != "webhook_endpoint_disabled" || !strings.Contains(a.body, "/enable") {
		t.Errorf("disabled: status %d, %s", a.status, a.body)
	}
}

// The operator decides whether this machine may be a receiver.
func TestCreateWebhookEndpoint_Loopback(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Egress = egress.Policy{Loopback: true} })
	b.newEndpoint(b.live, `{"url":"http://127.0.0.1:9999/hook"}`)
	if a := b.do(b.live, "POST", "/v1/webhook_endpoints", `{"url":"http://10.0.0.1/hook"}`); a.code() != "webhook_url_forbidden" {
		t.Errorf("a private address: status %d, %s", a.status, a.body)
	}
}
