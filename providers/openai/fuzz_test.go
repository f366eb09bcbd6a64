package openai

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nanobanana/nanobanana/providers"
)

// FuzzRefusal holds whatever an upstream may answer to what an Error promises.
func FuzzRefusal(f *testing.F) {
	for _, body := range []string{
		blockedInput, blockedOutput, rate, simple("a", "insufficient_quota", "b"), `{"error":"try again in 3 seconds"}`,
		`{"error":{"code":{"a":1},"message":["x"],"moderation_details":7}}`, `[1]`, `null`, ``, "<html><title>x</title>", "try again in 5 \xff",
	} {
		f.Add(429, body, "12")
		f.Add(400, body, "-1")
	}
	p, err := New(Options{APIKey: testKey})
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, body, wait string) {
		if status < 100 || status > 999 {
			return
		}
		e := p.refusal(status, http.Header{"Retry-After": {wait}}, []byte(body), providers.Request{}, now)
		switch {
		case e.Kind == "" || e.Provider != "openai" || e.Status != status || e.Message == "":
			t.Errorf("incomplete: %+v", e)
		case len(e.Message) > maxMessage || len(e.Code) > maxCode || len(e.Error()) > 512 || !utf8.ValidString(e.Error()):
			t.Errorf("too long or not text: %q", e.Error())
		case strings.Contains(e.Error(), testKey):
			t.Errorf("holds the key: %q", e.Error())
		case e.RetryAfter < 0 || e.RetryAfter > maxWait:
			t.Errorf("waits %s", e.RetryAfter)
		case (e.Kind == providers.KindModeration) != (e.Stage == "input" || e.Stage == "output"):
			t.Errorf("kind %s with stage %q", e.Kind, e.Stage)
		case e.Usage.PromptTokens < 0 || e.Usage.ImageTokens < 0 || e.Usage.TotalTokens < 0 || e.Usage.InputImageTokens > e.Usage.PromptTokens:
			t.Errorf("usage %+v", e.Usage)
		}
	})
}
