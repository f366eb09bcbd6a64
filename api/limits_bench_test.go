package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
)

// BenchmarkSubmit compares submissions of 64 clients of an organization without
// limits and of one with three, of organization, project and key, that are not
// reached.
func BenchmarkSubmit(b *testing.B) {
	for _, name := range []string{"unlimited", "limited in Postgres", "limited in Redis"} {
		b.Run(name, func(b *testing.B) {
			s := setup(b, func(o *api.Options) {
				shared := limit.NewSharedPostgres(o.DB)
				b.Cleanup(shared.Close)
				o.Limiter = shared
				if name == "limited in Redis" {
					redis, err := limit.OpenRedis(limittest.StartRedis(b).URL)
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = redis.Close() })
					o.Limiter = redis
				}
			})
			if name != "unlimited" {
				s.change(`UPDATE org SET rate_limit = 100000000`)
				s.change(`UPDATE project SET rate_limit = 100000000`)
				s.change(`UPDATE api_key SET rate_limit = 100000000`)
			}
			submitAll(b, s)
		})
	}
}

// submitAll has 64 clients submit.
func submitAll(b *testing.B, s *bundle) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.url+"/v1/generations", strings.NewReader(banana))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+s.live)
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				b.Errorf("status %s", resp.Status)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
}
