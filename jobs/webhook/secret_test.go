package webhook_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

// The secret of the specification's example.
const exampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestNewSecret_IsRandomAndParses(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^whsec_[A-Za-z0-9+/]{43}=$`)
	seen := map[string]bool{}
	for range 100 {
		secret := webhook.NewSecret()
		key, err := webhook.ParseSecret(secret)
		if err != nil || len(key) != 32 || !form.MatchString(secret) || seen[secret] {
			t.Fatalf("%s: %d bytes, %v; or it came twice", secret, len(key), err)
		}
		seen[secret] = true
	}
}

func ofBytes(n int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xa5", n)))
}

func TestParseSecret_Bounds(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]bool{0: false, 23: false, 24: true, 32: true, 64: true, 65: false} {
		key, err := webhook.ParseSecret(ofBytes(n))
		if (err == nil) != want || want && len(key) != n {
			t.Errorf("a secret of %d bytes: %d, %v", n, len(key), err)
		}
	}
}

func TestParseSecret_Refuses(t *testing.T) {
	t.Parallel()
	good := ofBytes(32)
	for name, c := range map[string]struct{ secret, says string }{
		"Empty":       {"", "begin with whsec_"},
		"NoPrefix":    {strings.TrimPrefix(good, "whsec_"), "begin with whsec_"},
		"PrivateKey":  {"whsk_" + good[6:], "begin with whsec_"},
		"Space":       {good[:20] + " " + good[21:], "base64"},
		"LineBreak":   {good[:20] + "\n" + good[20:], "base64"},
		"EndingBreak": {good + "\n", "base64"},
		"NoPadding":   {strings.TrimSuffix(good, "="), "base64"},
		"URLAlphabet": {"whsec_" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 33))), "base64"},
		"UnusedBits":  {good[:len(good)-2] + "V=", "base64"},
		"TooShort":    {ofBytes(23), "23 bytes instead of 24 to 64"},
	} {
		_, err := webhook.ParseSecret(c.secret)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		} else if len(c.secret) > 10 && strings.Contains(err.Error(), c.secret[6:16]) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(exampleSecret)
	f.Add(webhook.NewSecret())
	f.Add("whsec_")
	f.Add("whsec_====")
	f.Fuzz(func(t *testing.T, secret string) {
		key, err := webhook.ParseSecret(secret)
		if err != nil {
			return
		}
		if got := "whsec_" + base64.StdEncoding.EncodeToString(key); got != secret {
			t.Fatalf("%q is another spelling of %q", secret, got)
		}
	})
}
