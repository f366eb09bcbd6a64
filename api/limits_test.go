package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

const banana = `{"prompt":"a banana"}`

// onPlan puts the bundle's organization on a plan.
func (b *bundle) onPlan(plan string) {
	b.Helper()
	b.change(`UPDATE org SET plan = $1 WHERE id = $2`, plan, b.project.OrgID)
}

// change changes rows, and lets nothing be remembered of keys.
func (b *bundle) change(sql string, args ...any) {
	b.Helper()
	_, err := b.db.Pool().Exec(b.Context(), sql, args...)
	b.must(err)
	b.keys.Invalidate(nil)
}

// counts counts the rows of tables.
func (b *bundle) counts(tables ...string) map[string]int {
	b.Helper()
	counts := map[string]int{}
	for _, table := range tables {
		var n int
		b.must(b.db.Pool().QueryRow(b.Context(), `SELECT count(*) FROM `+table).Scan(&n))
		counts[table] = n
	}
	return counts
}

// statuses asks for generations and returns how each was answered.
func (b *bundle) statuses(key string, n int) []int {
	b.Helper()
	var all []int
	for range n {
		all = append(all, b.do(key, "POST", "/v1/generations", banana).status)
	}
	return all
}

func TestLimits_ExactlyTenOfAHundredOverTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, db *store.DB) limit.Limiter{
		"Postgres": func(t *testing.T, db *store.DB) limit.Limiter {
			shared := limit.NewSharedPostgres(db)
			t.Cleanup(shared.Close)
			return shared
		},
		"Redis": func() func(t *testing.T, _ *store.DB) limit.Limiter {
			var server *limittest.Redis // that both processes use
			return func(t *testing.T, _ *store.DB) limit.Limiter {
				if server == nil {
					server = limittest.StartRedis(t)
				}
				r, err := limit.OpenRedis(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = r.Close() })
				return r
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opts api.Options
			b := setup(t, func(o *api.Options) {
				o.Limiter = open(t, o.DB)
				opts = *o
			})
			opts.Limiter = open(t, b.db)
			handler, err := api.New(opts)
			b.must(err)
			second := httptest.NewServer(handler)
			defer second.Close()
			b.onPlan("free")

			var accepted, refused atomic.Int64
			var wg sync.WaitGroup
			for i := range 100 {
				url := []string{b.url, second.URL}[i%2]
				wg.Go(func() {
					a, err := b.try(b.Context(), b.live, "POST", url+"/v1/generations", banana)
					switch {
					case err == nil && a.status == http.StatusAccepted:
						accepted.Add(1)
					case err == nil && a.code() == "rate_limited":
						refused.Add(1)
					default:
						t.Errorf("got %+v, %v", a, err)
					}
				})
			}
			wg.Wait()
			if accepted.Load() != 10 || refused.Load() != 90 {
				t.Errorf("%d accepted, %d refused; want 10 and 90", accepted.Load(), refused.Load())
			}
			if diff := cmp.Diff(map[string]int{"generation": 10, "event": 10}, b.counts("generation", "event")); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLimits_RefusalSaysWhenAndHow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := setup(t, func(o *api.Options) { o.Now = func() time.Time { return now } })
	b.onPlan("free")
	b.statuses(b.live, 10)
	a := b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: unused")
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	b.must(err)
	ms, err := strconv.Atoi(a.header.Get("Retry-After-Ms"))
	b.must(err)
	if a.status != http.StatusTooManyRequests || a.code() != "rate_limited" || after < 350 || after > 360 || after != (ms+999)/1000 {
		t.Errorf("status %d, %s after %d s, %d ms; want 429 rate_limited after 360 s or a little less", a.status, a.code(), after, ms)
	}
	detail := a.json["detail"].(string)
	for _, part := range []string{"Your organization's limit of 10 generations an hour", "2026-03-01T12:0", "a larger plan"} {
		if !strings.Contains(detail, part) {
			t.Errorf("the detail %q does not say %q", detail, part)
		}
	}
	want := map[string]string{
		"X-Should-Retry": "false", "RateLimit-Policy": `"hour";q=10;w=3600`, "RateLimit": fmt.Sprintf(`"hour";r=0;t=%d`, after),
		"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Limit-Requests": "10", "X-RateLimit-Remaining-Requests": "0",
	}
	if diff := cmp.Diff(want, pick(a.header, want)); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if rows := b.counts("idempotency_key"); rows["idempotency_key"] != 0 {
		t.Error("a refusal took its idempotency key")
	}
}

// pick returns the headers that are wanted.
func pick(h http.Header, want map[string]string) map[string]string {
	got := map[string]string{}
	for name := range want {
		got[name] = h.Get(name)
	}
	return got
}

func TestLimits_ReplaysGoOnAndInvalidRequestsAndReadsAreFree(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	first := b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: one")
	for range 20 {
		if a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"a banana","n":11}`); a.status != http.StatusUnprocessableEntity {
			t.Fatalf("status %d, want 422", a.status)
		}
		if a := b.do(b.live, "GET", "/v1/generations", ""); a.status != http.StatusOK || a.header.Get("X-RateLimit-Remaining") != "9" {
			t.Fatalf("status %d, %s remain; want 200 and still 9", a.status, a.header.Get("X-RateLimit-Remaining"))
		}
	}
	b.statuses(b.live, 9)
	for range 3 {
		a := b.do(b.live, "POST", "/v1/generations", banana, "Idempotency-Key: one")
		if a.status != http.StatusAccepted || a.json["id"] != first.json["id"] || a.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("status %d, %s; want the first generation again", a.status, a.body)
		}
	}
	for key, want := range map[string]string{"two": "rate_limited", "one": "idempotency_key_reused"} {
		if a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"another"}`, "Idempotency-Key: "+key); a.code() != want {
			t.Errorf("key %s: %s, want %s", key, a.code(), want)
		}
	}
	if rows := b.counts("generation"); rows["generation"] != 10 {
		t.Errorf("%d generations, want 10", rows["generation"])
	}
}

func TestLimits_HeadersKnowOnlyThePolicyBeforeTheFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := setup(t, func(o *api.Options) { o.Now = func() time.Time { return now } })
	b.onPlan("hobby")
	b.change(`UPDATE project SET rate_limit = 50 WHERE id = $1`, b.project.ID)
	want := map[string]string{"RateLimit-Policy": `"hour";q=100;w=3600, "project";q=50;w=3600`, "RateLimit": "", "X-RateLimit-Limit": ""}
	if diff := cmp.Diff(want, pick(b.do(b.live, "GET", "/v1/models", "").header, want)); diff != "" {
		t.Errorf("before the first (-want +got):\n%s", diff)
	}
	a := b.do(b.live, "POST", "/v1/generations", banana)
	want = map[string]string{
		"RateLimit-Policy": `"hour";q=100;w=3600, "project";q=50;w=3600`, "RateLimit": `"hour";r=99;t=36, "project";r=49;t=72`,
		"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "49", "X-RateLimit-Reset": strconv.FormatInt(now.Add(72*time.Second).Unix(), 10),
		"X-RateLimit-Limit-Requests": "50", "X-RateLimit-Remaining-Requests": "49", "X-RateLimit-Reset-Requests": "1m12s",
	}
	if diff := cmp.Diff(want, pick(a.header, want)); diff != "" {
		t.Errorf("after the first (-want +got):\n%s", diff)
	}
	if a := b.do(b.other, "POST", "/v1/generations", banana); a.header.Get("RateLimit-Policy") != "" {
		t.Error("who has no limit is told of one")
	}
}

func TestLimits_OfProjectKeyAndOrganizationAndOfTestKeysApart(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.change(`UPDATE org SET rate_limit = 4 WHERE id = $1`, b.project.OrgID) // of an unlimited plan
	b.change(`UPDATE project SET rate_limit = 3 WHERE id = $1`, b.project.ID)
	small, one := 1, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "small", Kind: store.KeyLive}
	one.RateLimit = &small
	narrow, _, err := b.keys.Create(b.Context(), nil, one)
	b.must(err)
	if diff := cmp.Diff([]int{202, 429, 429}, b.statuses(narrow, 3)); diff != "" {
		t.Errorf("by the key's limit (-want +got):\n%s", diff)
	}
	if a := b.do(narrow, "POST", "/v1/generations", banana); !strings.Contains(a.body, "The API key's limit of 1 generation an hour") {
		t.Errorf("the refusal names another limit: %s", a.body)
	}
	if diff := cmp.Diff([]int{202, 202, 429}, b.statuses(b.live, 3)); diff != "" {
		t.Errorf("by the project's limit (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{202, 202, 202, 429}, b.statuses(b.test, 4)); diff != "" {
		t.Errorf("with a test key (-want +got):\n%s", diff)
	}
	b.change(`UPDATE project SET rate_limit = NULL`)
	if diff := cmp.Diff([]int{202, 429}, b.statuses(b.live, 2)); diff != "" {
		t.Errorf("by the organization's limit (-want +got):\n%s", diff)
	}
	b.change(`UPDATE org SET rate_limit = 0`)
	if diff := cmp.Diff([]int{202, 202, 202, 202, 202, 202}, b.statuses(b.live, 6)); diff != "" {
		t.Errorf("without a limit (-want +got):\n%s", diff)
	}
}

func TestLimits_GuessesAreRefusedButNotThoseWhoKnow(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.do(b.live, "GET", "/v1/models", "") // is remembered from then on
	codes := map[string]int{}
	for range 130 {
		codes[b.do("nb_live_guess", "GET", "/v1/models", "").code()]++
	}
	if codes["invalid_api_key"] < 120 || codes["rate_limited"] < 1 || len(codes) != 2 {
		t.Errorf("got %v, want 120 refused as what they are and the others for their number", codes)
	}
	a := b.do("nb_live_guess", "GET", "/v1/models", "")
	if a.code() == "rate_limited" && (a.header.Get("X-Should-Retry") != "true" || a.header.Get("Retry-After") != "1") {
		t.Errorf("headers %v, want a retry after a second", a.header)
	}
	if a := b.do(b.live, "GET", "/v1/models", ""); a.status != http.StatusOK {
		t.Errorf("a good key of the same address gets %d", a.status)
	}
}

func TestLimits_UnavailableWhenNothingKeepsThem(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		gone, err := store.Open(t.Context(), storetest.URL(o.DB), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		o.Limiter = limit.NewPostgres(gone)
	})
	b.onPlan("free")
	if a := b.do(b.live, "POST", "/v1/generations", banana); a.code() != "service_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %s; want 503 with Retry-After", a.status, a.body)
	}
	if rows := b.counts("generation"); rows["generation"] != 0 {
		t.Error("it was recorded uncounted")
	}
}

func TestLimits_HeadersLeaveOutWhatIsNotKnownAndTellWhoIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("free")
	b.statuses(b.live, 11)
	b.change(`UPDATE project SET rate_limit = 50 WHERE id = $1`, b.project.ID)
	a := b.do(b.live, "POST", "/v1/generations", banana)
	if told := a.header.Get("RateLimit"); a.status != http.StatusTooManyRequests || !strings.HasPrefix(told, `"hour";r=0;`) || strings.Contains(told, "project") {
		t.Errorf("status %d, RateLimit %q; want what is known of the organization's alone", a.status, told)
	}
	key, _ := b.createKey(b.master(b.project), `{"name":"k","scopes":["models:read"]}`)["key"].(string)
	a = b.do(key, "POST", "/v1/generations", banana)
	if told := a.header.Get("RateLimit-Policy"); a.code() != "scope_missing" || told != `"hour";q=10;w=3600, "project";q=50;w=3600` {
		t.Errorf("%s, RateLimit-Policy %q; want scope_missing with the policy", a.code(), told)
	}
}
