package main

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/limit/limittest"
)

func TestLimits_ExactlyTenOfAHundredOverTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]bool{"Postgres": false, "Redis": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			if _, err := f.db.Pool().Exec(t.Context(), `UPDATE org SET rate_limit = 10`); err != nil {
				t.Fatal(err)
			}
			var server *limittest.Redis
			if redis {
				server = limittest.StartRedis(t)
				f.env = append(f.env, "REDIS_URL="+server.URL)
			}
			one := startProcess(t, f.env, nil, "api", "--listen=127.0.0.1:0")
			two := startProcess(t, f.env, nil, "api", "--listen=127.0.0.1:0")
			urls := []string{one.line(t, "api listening on "), two.line(t, "api listening on ")}
			if got := f.flood(t, urls, 100); got != (flood{accepted: 10, refused: 90}) {
				t.Errorf("got %+v, want 10 accepted and 90 refused", got)
			}
			if n := f.count(t, `SELECT count(*) FROM generation`); n != 10 {
				t.Errorf("%d generations, want 10", n)
			}
			buckets := f.count(t, `SELECT count(*) FROM rate_limit`)
			if redis != (buckets == 0) {
				t.Errorf("%d buckets in the database", buckets)
			}
			if !redis {
				return
			}
			server.Stop()
			f.until(t, 1, `WITH raised AS (UPDATE org SET rate_limit = 20 RETURNING id)
				SELECT count(*) FROM (SELECT pg_notify('nanobanana_key', id) FROM raised) AS told`)
			for policy := ""; policy != `"hour";q=20;w=3600`; {
				policy = f.ask(t, http.MethodGet, urls[0]+"/v1/models", "").Header.Get("RateLimit-Policy")
			}
			if got := f.flood(t, urls[:1], 30); got != (flood{accepted: 20, refused: 10}) {
				t.Errorf("without Redis: %+v, want 20 of a fresh bucket accepted", got)
			}
		})
	}
}

// flood is how submissions were answered.
type flood struct{ accepted, refused, other int64 }

// flood submits n generations at the same time, to processes in turn.
func (f *fleet) flood(t *testing.T, urls []string, n int) flood {
	t.Helper()
	var accepted, refused, other atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			switch f.ask(t, http.MethodPost, urls[i%len(urls)]+"/v1/generations", `{"prompt":"a banana"}`).StatusCode {
			case http.StatusAccepted:
				accepted.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	wg.Wait()
	return flood{accepted.Load(), refused.Load(), other.Load()}
}

// ask sends a request to one of the processes and returns what came before the body.
func (f *fleet) ask(t *testing.T, method, url, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return &http.Response{}
	}
	req.Header.Set("Authorization", "Bearer "+f.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return &http.Response{}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	c := config{TrustedProxies: " 10.1.2.3/8, 127.0.0.1,::1 ,,2001:db8::/32,::ffff:192.0.2.0/120,::ffff:198.51.100.7"}
	got, err := c.trustedProxies()
	if err != nil {
		t.Fatal(err)
	}
	var want []netip.Prefix
	for _, text := range []string{"10.0.0.0/8", "127.0.0.1/32", "::1/128", "2001:db8::/32", "192.0.2.0/24", "198.51.100.7/32"} {
		want = append(want, netip.MustParsePrefix(text))
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("proxies (-want +got):\n%s", diff)
	}
	c = config{TrustedProxies: "10.0.0.0/33,proxy.example", RedisURL: "http://:secret@cache"}
	err = c.check()
	for _, part := range []string{`NANOBANANA_TRUSTED_PROXIES: "10.0.0.0/33" is neither`, `NANOBANANA_TRUSTED_PROXIES: "proxy.example" is neither`, "REDIS_URL: redis: invalid URL scheme"} {
		if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret") {
			t.Errorf("check says %v, want %q", err, part)
		}
	}
}
