package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]client.Options{
		"NoKey":       {},
		"LineInKey":   {APIKey: "nb_live_a\nb"},
		"NoScheme":    {APIKey: key, URL: "localhost:8080"},
		"OtherScheme": {APIKey: key, URL: "ftp://localhost"},
		"NoHost":      {APIKey: key, URL: "http://"},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRetry_UntilItSucceeds(t *testing.T) {
	t.Parallel()
	b := setup(t,
		hangUp, // the first: net/http itself repeats what fails on a connection used before
		problem(503, "service_unavailable", "Retry-After", "2"),
		problem(429, "rate_limited", "Retry-After", "9", "Retry-After-Ms", "1500"),
		answer(202, `{"id":"gen_1","status":"queued"}`),
	)
	g, err := b.Submit(t.Context(), &client.GenerateRequest{Prompt: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if g.ID != "gen_1" {
		t.Errorf("id = %q, want gen_1", g.ID)
	}
	first := b.sent(0, "Idempotency-Key")
	for i := range 4 {
		if got := b.sent(i, "Idempotency-Key"); got != first || len(got) != 36 || got[14] != '7' {
			t.Errorf("request %d: idempotency key %q, want the UUIDv7 %q", i, got, first)
		}
	}
	for i, want := range [][2]time.Duration{{125, 250}, {2000, 2200}, {1500, 1650}} {
		if got := b.delays[i]; got < want[0]*time.Millisecond || got > want[1]*time.Millisecond {
			t.Errorf("retry %d after %s, want %d to %d ms", i+1, got, want[0], want[1])
		}
	}
}

func TestRetry_Ends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer   http.HandlerFunc
		options  client.Options
		requests int
	}{
		"AfterMaxRetries":    {problem(500, "internal_error"), client.Options{MaxRetries: 2}, 3},
		"Disabled":           {problem(500, "internal_error"), client.Options{MaxRetries: -1}, 1},
		"ServiceSaysNo":      {problem(503, "maintenance", "X-Should-Retry", "false"), client.Options{}, 1},
		"ServiceSaysYes":     {problem(409, "duplicate", "X-Should-Retry", "true"), client.Options{MaxRetries: 1}, 2},
		"InFlight":           {problem(409, "idempotency_in_flight"), client.Options{MaxRetries: 1}, 2},
		"CallersMistake":     {problem(422, "validation_failed"), client.Options{}, 1},
		"LongerThanAMinute":  {problem(503, "maintenance", "Retry-After", "61"), client.Options{}, 1},
		"NotInThisVersion":   {problem(501, "not_implemented"), client.Options{}, 1},
		"NotWhatIsPromised":  {answer(200, `<html>`), client.Options{}, 1},
		"ConnectionsAllFail": {hangUp, client.Options{MaxRetries: 1}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.answer)
			// A POST: net/http repeats a GET on its own when a connection ends.
			if _, err := b.client(t, c.options).Cancel(t.Context(), "gen_1"); err == nil {
				t.Error("no error")
			}
			if got := len(b.requests()); got != c.requests {
				t.Errorf("%d requests, want %d", got, c.requests)
			}
		})
	}
}

// What would make a second secret or event is sent again only if nothing was done.
func TestRetry_NotAfterALostAnswer(t *testing.T) {
	t.Parallel()
	for call, do := range map[string]func(context.Context, *client.Client) error{
		"Rotate": func(ctx context.Context, c *client.Client) error {
			_, err := c.RotateWebhookEndpoint(ctx, "whep_1", 0)
			return err
		},
		"RotateDefault": func(ctx context.Context, c *client.Client) error {
			_, err := c.RotateDefaultWebhookSecret(ctx, 0)
			return err
		},
		"Test": func(ctx context.Context, c *client.Client) error {
			_, err := c.TestWebhookEndpoint(ctx, "whep_1")
			return err
		},
		"Redeliver": func(ctx context.Context, c *client.Client) error {
			_, err := c.Redeliver(ctx, "whep_1", "evt_1")
			return err
		},
		"Replay": func(ctx context.Context, c *client.Client) error {
			_, err := c.Replay(ctx, "whep_1", nil)
			return err
		},
	} {
		for name, c := range map[string]struct {
			first    http.HandlerFunc
			requests int
		}{
			"NoAnswer":    {hangUp, 1},
			"PartOfOne":   {answer(200, `{`, "Content-Length", "100"), 1},
			"Hidden":      {problem(503, "service_unavailable", "X-Should-Retry", "true"), 1},
			"Broken":      {problem(500, "internal_error"), 1},
			"NotLookedAt": {problem(429, "rate_limited"), 2},
		} {
			t.Run(call+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := setup(t, c.first, answer(200, `{}`))
				err := do(t.Context(), b.Client)
				if n := len(b.requests()); n != c.requests || (err == nil) != (n > 1) {
					t.Errorf("%d requests, want %d; %v", n, c.requests, err)
				}
				if name == "NoAnswer" && !errors.Is(err, client.ErrUnreachable) {
					t.Errorf("err = %v, want ErrUnreachable", err)
				}
			})
		}
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	b := &bundle{url: srv.URL}
	if _, err := b.client(t, client.Options{}).TestWebhookEndpoint(t.Context(), "whep_1"); !errors.Is(err, client.ErrUnreachable) || len(b.delays) != 3 {
		t.Errorf("no connection: %d retries, %v", len(b.delays), err)
	}
}

func TestRetry_DateIsComparedWithTheServicesClock(t *testing.T) {
	t.Parallel()
	b := setup(t, problem(503, "maintenance",
		"Date", "Wed, 01 Jan 2020 00:00:00 GMT", "Retry-After", "Wed, 01 Jan 2020 00:00:07 GMT"))
	_, err := b.client(t, client.Options{MaxRetries: -1}).Get(t.Context(), "gen_1")
	var refused *client.Error
	if !errors.As(err, &refused) || refused.RetryAfter != 7*time.Second {
		t.Errorf("got %#v, want RetryAfter 7s", refused)
	}
}

func TestRetry_StopsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("enough")
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		cancel(want)
		problem(503, "maintenance")(w, r)
	})
	_, err := b.Get(ctx, "gen_1")
	if !errors.Is(err, want) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("err = %v, want one that wraps %v alone", err, want)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	b := &bundle{url: srv.URL}
	_, err := b.client(t, client.Options{}).Get(t.Context(), "gen_1")
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("err = %v, want ErrUnreachable and that the connection was refused", err)
	}
	if got := len(b.delays); got != 3 {
		t.Errorf("%d retries, want 3", got)
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	const faults = `{"title":"Validation failed","status":422,"detail":"a; b","code":"validation_failed","request_id":"req_7","retryable":false,
		"errors":[{"param":"size","code":"unsupported_value","message":"size \"3x3\" is not supported","allowed":["1024x1024","512x512"]},
		{"param":"n","code":"out_of_range","message":"must be 1 to 10"}]}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   client.Error
		text   string
	}{
		"Faults": {
			answer(422, faults, "Content-Type", "application/problem+json"),
			client.Error{Status: 422, Code: "validation_failed", Message: "a; b", RequestID: "req_7", Errors: []client.Fault{
				{Param: "size", Code: "unsupported_value", Message: `size "3x3" is not supported`, Allowed: []string{"1024x1024", "512x512"}},
				{Param: "n", Code: "out_of_range", Message: "must be 1 to 10"},
			}},
			`size "3x3" is not supported; use 1024x1024, 512x512; n: must be 1 to 10 (422 validation_failed, request req_7)`,
		},
		"ProxyPage": {
			answer(502, "<html><h1>Bad Gateway</h1></html>", "Content-Type", "text/html"),
			client.Error{Status: 502, Message: "HOST answered 502 Bad Gateway", Retryable: true},
			"HOST answered 502 Bad Gateway (502)",
		},
		"ProxyText": {
			answer(504, "upstream\n timed out", "Content-Type", "text/plain; charset=utf-8", "X-Request-Id", "abc"),
			client.Error{Status: 504, Message: "HOST answered 504 Gateway Timeout: upstream timed out", RequestID: "abc", Retryable: true},
			"HOST answered 504 Gateway Timeout: upstream timed out (504, request abc)",
		},
		"BrokenProblem": {
			answer(500, `{"code":`, "Content-Type", "application/problem+json"),
			client.Error{Status: 500, Message: "HOST answered 500 Internal Server Error", Retryable: true},
			"HOST answered 500 Internal Server Error (500)",
		},
		"MovedSubmission": {
			answer(301, "", "Location", "https://example.com/v1/generations"),
			client.Error{Status: 301, Message: "HOST answered 301 Moved Permanently, and that the service is at https://example.com/v1/generations"},
			"HOST answered 301 Moved Permanently, and that the service is at https://example.com/v1/generations (301)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.answer)
			_, err := b.client(t, client.Options{MaxRetries: -1}).Submit(t.Context(), &client.GenerateRequest{Prompt: "x"})
			var got *client.Error
			if !errors.As(err, &got) {
				t.Fatalf("err = %v, want a *client.Error", err)
			}
			host := strings.TrimPrefix(b.url, "http://")
			got.Message = strings.ReplaceAll(got.Message, host, "HOST")
			if diff := cmp.Diff(&c.want, got, cmpopts.IgnoreUnexported(client.Error{})); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.text, got.Error()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedirect_KeepsTheKeyFromOthers(t *testing.T) {
	t.Parallel()
	other := setup(t, answer(200, `{"id":"gen_1","status":"queued"}`))
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.url+r.URL.Path, http.StatusTemporaryRedirect)
	})
	if _, err := b.Get(t.Context(), "gen_1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("Bearer "+key, b.sent(0, "Authorization")); diff != "" {
		t.Errorf("the service (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("", other.sent(0, "Authorization")); diff != "" {
		t.Errorf("the other server (-want +got):\n%s", diff)
	}
}
