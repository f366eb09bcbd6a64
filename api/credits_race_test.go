package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// secondProcess serves the API with connections, queue and memory of its own, on the
// same database, and returns where.
func (b *bundle) secondProcess(t *testing.T, opts api.Options) string {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.URL(b.db), store.Options{Name: "second"})
	b.must(err)
	queue, err := jobs.NewQueue(jobs.Options{DB: db})
	b.must(err)
	opts.DB, opts.Queue = db, queue
	opts.Keys = auth.NewKeys(auth.Options{DB: db, DatabaseSecret: "database secret"})
	handler, err := api.New(opts)
	b.must(err)
	srv := httptest.NewServer(handler)
	t.Cleanup(func() { srv.Close(); queue.Close(); db.Close() })
	return srv.URL
}

// Of a hundred submissions at once over two processes against five credits, exactly
// five are accepted, 200 times in a row; whatever is refused leaves nothing behind.
func TestLong_ExactlyFiveOfAHundredOverTwoProcesses(t *testing.T) {
	t.Parallel()
	exactlyFive(t, 200)
}

// The same, short enough for the race detector.
func TestCredits_ExactlyFiveOfAHundredOverTwoProcesses(t *testing.T) {
	t.Parallel()
	exactlyFive(t, 10)
}

func exactlyFive(t *testing.T, rounds int) {
	t.Helper()
	const clients, credits = 100, 5
	var opts api.Options
	b := setup(t, func(o *api.Options) { opts = *o })
	_, err := b.db.Pool().Exec(t.Context(), `UPDATE plan SET rate_limit = 0, concurrency = 0`)
	b.must(err)
	b.onPlan("free")
	urls := []string{b.url, b.secondProcess(t, opts)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	submit := func(url string) (status int, code string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/generations", strings.NewReader(banana))
		if err != nil {
			return 0, err.Error()
		}
		req.Header.Set("Authorization", "Bearer "+b.live)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		var body struct{ Code string }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, body.Code
	}
	for round := range rounds {
		_, err := b.db.SetCredits(t.Context(), b.project.OrgID, credits, "", "", time.Now())
		b.must(err)
		var mu sync.Mutex
		answers := map[string]int{}
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				status, code := submit(urls[i%2])
				mu.Lock()
				defer mu.Unlock()
				answers[http.StatusText(status)+" "+code]++
			})
		}
		all.Wait()
		want := map[string]int{"Accepted ": credits, "Payment Required quota_exceeded": clients - credits}
		if diff := cmp.Diff(want, answers); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
		b.endRound(t, credits)
	}
	faults, err := b.db.CreditFaults(t.Context())
	b.must(err)
	if len(faults) > 0 {
		t.Errorf("faults:\n%s", strings.Join(faults, "\n"))
	}
	if diff := cmp.Diff(map[string]int{"generation": rounds * credits, "idempotency_key": 0}, b.counts("generation", "idempotency_key")); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

// endRound checks that so many credits are reserved, by as many generations, and cancels
// these.
func (b *bundle) endRound(t *testing.T, credits int) {
	t.Helper()
	account, err := b.db.CreditAccount(t.Context(), b.project.OrgID, time.Now())
	b.must(err)
	live, err := b.db.Generations(t.Context(), b.project.ID, store.GenerationFilter{Limit: 100, Status: store.StatusQueued})
	b.must(err)
	if len(live) != credits || account.Reserved != int64(credits) || account.Available() != 0 {
		t.Fatalf("%d generations, %+v; want %d", len(live), account, credits)
	}
	for _, g := range live {
		_, ended, err := b.db.CancelGeneration(t.Context(), b.project.ID, g.ID)
		b.must(err)
		if !ended {
			t.Fatalf("%s had ended", g.ID)
		}
	}
}
