package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

// The message of the specification's example.
const (
	exampleID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	exampleBody = `{"test": 2432232314}`
	exampleTime = 1614265330
)

func sign(t testing.TB, k *webhook.Keyring, at time.Time, secrets ...string) http.Header {
	t.Helper()
	h, err := k.Sign(exampleID, at, []byte(exampleBody), secrets)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t testing.TB, secret, body string, h http.Header) error {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return verifier.Verify([]byte(body), h)
}

// The v1 signature is the specification's; the v1a is Node's for the same key.
func TestSign_KnownAnswer(t *testing.T) {
	t.Parallel()
	// Fractions of a second do not count.
	at := time.Unix(exampleTime, 999_999_999)
	want := http.Header{
		"Webhook-Id":        {exampleID},
		"Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= " +
			"v1a,rsGGOZQd0eoj0bUMRzNAUivoklSOLEIEDBKvJ+FekCh7qCa4yZmsx2KH6EA9CXDLbIq+IdNbC3tvD8vD0muJAA=="},
	}
	got := sign(t, webhook.NewKeyring(operator, database), at, exampleSecret)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestSign_DuringARotation(t *testing.T) {
	t.Parallel()
	newer, older, foreign := webhook.NewSecret(), webhook.NewSecret(), webhook.NewSecret()
	k := webhook.NewKeyring("", database)
	h := sign(t, k, time.Now(), newer, older)
	for name, secret := range map[string]string{"Newer": newer, "Older": older} {
		if err := verify(t, secret, exampleBody, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := verify(t, foreign, exampleBody, h); err == nil {
		t.Error("a secret that did not sign verifies")
	}
	parts := strings.Split(h.Get("webhook-signature"), " ")
	alone := strings.Split(sign(t, k, time.Now(), newer).Get("webhook-signature"), " ")
	if len(parts) != 3 || parts[0] != alone[0] || !strings.HasPrefix(parts[2], "v1a,") {
		t.Errorf("signatures %q, want the newer secret's, the older's and one v1a", parts)
	}
}

func TestSign_CoversEverything(t *testing.T) {
	t.Parallel()
	secret := webhook.NewSecret()
	now := time.Now()
	h := sign(t, webhook.NewKeyring("", database), now, secret)
	if err := verify(t, secret, exampleBody, h); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, secret, exampleBody+" ", h); err == nil {
		t.Error("another body verifies")
	}
	for name, value := range map[string]string{
		"webhook-id":        exampleID + "x",
		"webhook-timestamp": now.Add(time.Second).UTC().Format("1136239445"),
		"webhook-signature": strings.Replace(h.Get("webhook-signature"), "v1,", "v1,A", 1),
	} {
		changed := h.Clone()
		changed.Set(name, value)
		if err := verify(t, secret, exampleBody, changed); err == nil {
			t.Errorf("with %s %q it verifies", name, value)
		}
	}
	if err := verify(t, secret, exampleBody, sign(t, webhook.NewKeyring("", database), now.Add(-6*time.Minute), secret)); err == nil {
		t.Error("an attempt of 6 minutes ago verifies")
	}
}

// published returns a v1a key as a receiver gets it: from JSON, by its kid.
func published(t *testing.T, k *webhook.Keyring, i int) ed25519.PublicKey {
	t.Helper()
	text, err := json.Marshal(k.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	x, err := base64.RawURLEncoding.DecodeString(set.Keys[i]["x"])
	if err != nil || len(x) != ed25519.PublicKeySize {
		t.Fatalf("key %v: %d bytes, %v", set.Keys[i], len(x), err)
	}
	return x
}

// verifiesV1a reports whether a key signed the example with these headers.
func verifiesV1a(t *testing.T, key ed25519.PublicKey, h http.Header, body string) bool {
	t.Helper()
	_, text, ok := strings.Cut(h.Get("webhook-signature"), "v1a,")
	if !ok {
		t.Fatalf("no v1a in %q", h.Get("webhook-signature"))
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.Verify(key, []byte(h.Get("webhook-id")+"."+h.Get("webhook-timestamp")+"."+body), sig)
}

func TestSign_V1aVerifiesWithThePublishedKeys(t *testing.T) {
	t.Parallel()
	before, after := webhook.NewKeyring("", database), webhook.NewKeyring(operator, database)
	old := sign(t, before, time.Now(), webhook.NewSecret())
	fresh := sign(t, after, time.Now(), webhook.NewSecret())
	for name, c := range map[string]struct {
		key  ed25519.PublicKey
		h    http.Header
		body string
		want bool
	}{
		"First":               {published(t, after, 0), fresh, exampleBody, true},
		"OtherBody":           {published(t, after, 0), fresh, exampleBody + " ", false},
		"OtherKey":            {published(t, after, 1), fresh, exampleBody, false},
		"WithoutASecret":      {published(t, before, 0), old, exampleBody, true},
		"FromBeforeTheSwitch": {published(t, after, 1), old, exampleBody, true},
	} {
		if got := verifiesV1a(t, c.key, c.h, c.body); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSign_Refuses(t *testing.T) {
	t.Parallel()
	k := webhook.NewKeyring("", database)
	for name, c := range map[string]struct {
		id      string
		secrets []string
		says    string
	}{
		"Dot":       {"evt_1.2", []string{exampleSecret}, "letters, digits"},
		"NoID":      {"", []string{exampleSecret}, "letters, digits"},
		"LineBreak": {"evt_1\r\nx: y", []string{exampleSecret}, "letters, digits"},
		"NotASCII":  {"evt_é", []string{exampleSecret}, "letters, digits"},
		"NoSecret":  {"evt_1", nil, "there is no secret"},
		"BadSecret": {"evt_1", []string{exampleSecret, "whsec_short"}, "base64"},
	} {
		h, err := k.Sign(c.id, time.Now(), []byte(exampleBody), c.secrets)
		if err == nil || !strings.Contains(err.Error(), c.says) || h != nil {
			t.Errorf("%s: %v, %v, want an error that says %q", name, h, err, c.says)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	k := webhook.NewKeyring(operator, database)
	body := []byte(strings.Repeat("x", 2000))
	secrets := []string{exampleSecret}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Sign(exampleID, time.Unix(exampleTime, 0), body, secrets); err != nil {
			b.Fatal(err)
		}
	}
}
