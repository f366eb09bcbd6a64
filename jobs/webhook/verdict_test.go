package webhook_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func asking(status int, retryAfter ...string) webhook.Answer {
	return webhook.Answer{Status: status, Header: http.Header{"Retry-After": retryAfter}, At: noon}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	failed := func(reason string, after time.Duration) webhook.Verdict {
		return webhook.Verdict{Outcome: webhook.Failed, Reason: reason, RetryAfter: after}
	}
	delivered := webhook.Verdict{Outcome: webhook.Delivered}
	for name, c := range map[string]struct {
		answer webhook.Answer
		want   webhook.Verdict
	}{
		"OK":               {webhook.Answer{Status: 200}, delivered},
		"LastOf2xx":        {webhook.Answer{Status: 299}, delivered},
		"AsksThoughOK":     {asking(204, "30"), delivered},
		"BodyBrokeOff":     {webhook.Answer{Status: 200, Err: errors.New("unexpected EOF")}, delivered},
		"SwitchedProtocol": {webhook.Answer{Status: 101}, failed("answered 101", 0)},
		"MultipleChoices":  {webhook.Answer{Status: 300}, failed("answered 300: redirects are not followed", 0)},
		"Moved":            {webhook.Answer{Status: 301}, failed("answered 301: redirects are not followed", 0)},
		"MovedAndAsks":     {asking(307, "30"), failed("answered 307: redirects are not followed", 30*time.Second)},
		"BadRequest":       {webhook.Answer{Status: 400}, failed("answered 400", 0)},
		"NotFound":         {webhook.Answer{Status: 404}, failed("answered 404", 0)},
		"TooMany":          {asking(429, "3600"), failed("answered 429", time.Hour)},
		"Unavailable":      {asking(503, "Sun, 01 Nov 2026 12:02:00 GMT"), failed("answered 503", 2*time.Minute)},
		"Odd":              {webhook.Answer{Status: 999}, failed("answered 999", 0)},
		"Gone": {asking(410, "30"), webhook.Verdict{
			Outcome: webhook.Gone, Reason: "answered 410: the endpoint is gone",
		}},
		"Forbidden": {webhook.Answer{Err: errors.New("dial tcp 10.1.2.3: not allowed"), Forbidden: "it is private"},
			failed("address is not allowed: it is private", 0)},
		"Nothing": {webhook.Answer{}, failed("no answer that is HTTP", 0)},
	} {
		if diff := cmp.Diff(c.want, c.answer.Verdict()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestVerdict_RetryAfter(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for value, want := range map[string]time.Duration{
		"":                                   0,
		"0":                                  0,
		"1":                                  time.Second,
		" 7\t":                               7 * time.Second,
		"007":                                7 * time.Second,
		"86399":                              day - time.Second,
		"86400":                              day,
		"86401":                              day,
		"9223372036854775807":                day,
		"99999999999999999999999999":         day,
		"-1":                                 0,
		"+1":                                 0,
		"1.5":                                0,
		"1e3":                                0,
		"10 s":                               0,
		"١٢":                                 0,
		"soon":                               0,
		"Sun, 01 Nov 2026 12:00:30 GMT":      30 * time.Second,
		"Sunday, 01-Nov-26 12:00:30 GMT":     30 * time.Second,
		"Sun Nov  1 12:00:30 2026":           30 * time.Second,
		"Sun, 01 Nov 2026 11:59:59 GMT":      0,
		"Sat, 01 Jan 0000 00:00:00 GMT":      0,
		"Mon, 02 Nov 2026 12:00:01 GMT":      day,
		"Fri, 31 Dec 9999 23:59:59 GMT":      day,
		"2026-11-01T12:00:30Z":               0,
		"Sun, 01 Nov 2026 12:00:30 GMT, 500": 0,
	} {
		if got := asking(503, value).Verdict().RetryAfter; got != want {
			t.Errorf("Retry-After %q: %s, want %s", value, got, want)
		}
	}
	if got := asking(503, "5", "9").Verdict().RetryAfter; got != 5*time.Second {
		t.Errorf("of two the first counts: %s, want 5 s", got)
	}
}

func TestVerdict_RetryOnlyLengthens(t *testing.T) {
	t.Parallel()
	type next struct {
		Wait time.Duration
		OK   bool
	}
	for name, c := range map[string]struct {
		answer webhook.Answer
		n      int
		want   next
	}{
		"AsItIs":         {webhook.Answer{Status: 500}, 1, next{5 * time.Second, true}},
		"Longer":         {asking(503, "3600"), 1, next{time.Hour, true}},
		"Shorter":        {asking(503, "3"), 2, next{5 * time.Minute, true}},
		"Equal":          {asking(429, "86400"), 9, next{24 * time.Hour, true}},
		"LastAttempt":    {asking(503, "3600"), 10, next{}},
		"NothingToRetry": {webhook.Answer{Status: 200}, 1, next{}},
		"Gone":           {webhook.Answer{Status: 410}, 1, next{}},
	} {
		wait, ok := c.answer.Verdict().Retry(c.n, always(0.5))
		if diff := cmp.Diff(c.want, next{wait, ok}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "30", "-1", "99999999999999999999", "Sun, 01 Nov 2026 12:00:30 GMT", "Sunday, 01-Nov-26 12:00:30 GMT"} {
		f.Add(seed, 503, int64(0))
	}
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", 429, int64(-1<<62))
	f.Fuzz(func(t *testing.T, value string, status int, at int64) {
		answer := asking(status, value)
		answer.At = time.Unix(at, 0)
		v := answer.Verdict()
		if v.RetryAfter < 0 || v.RetryAfter > 24*time.Hour || v.Outcome != webhook.Failed && v.RetryAfter != 0 {
			t.Fatalf("Retry-After %q on %d: %+v", value, status, v)
		}
		if (v.Outcome == webhook.Delivered) != (status >= 200 && status < 300) || (v.Reason == "") != (v.Outcome == webhook.Delivered) {
			t.Fatalf("status %d: %+v", status, v)
		}
	})
}
