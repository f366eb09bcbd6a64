package simulator

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	sim, url := serve(t, Options{Now: func() time.Time { return now }})
	client := sdk(t, url, "secret-key-9876")
	mustImage(t, client, "a banana", &genai.GenerateContentConfig{
		HTTPOptions: &genai.HTTPOptions{Timeout: genai.Ptr(30 * time.Second)},
		ImageConfig: &genai.ImageConfig{AspectRatio: "16:9", ImageSize: "2K"},
	})
	got := sim.Requests()
	if len(got) != 1 || got[0].Bytes < 100 {
		t.Fatalf("journal is %+v", got)
	}
	if diff := cmp.Diff(Request{
		Time: now, Ended: now, API: "gemini", Route: "secret-key-9876", Path: "/v1beta/models/gemini-nano-banana-2.1:generateContent", Model: banana,
		Prompt: "a banana", AspectRatio: "16:9", Size: "2K", ServerTimeout: "30",
		Bytes: got[0].Bytes, Status: http.StatusOK, Images: 1, Paid: true,
	}, got[0]); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestJournalForgetsTheOldest(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{JournalSize: 3})
	for _, prompt := range []string{"a", "b", "c", "d", strings.Repeat("e", 10_000)} {
		post(t, generateURL(url), body(prompt+"[[sim:503]]", ""), nil)
	}
	var got []string
	for _, r := range sim.Requests() {
		got = append(got, r.Prompt)
	}
	if diff := cmp.Diff([]string{"c[[sim:503]]", "d[[sim:503]]", strings.Repeat("e", 8<<10)}, got); diff != "" {
		t.Errorf("prompts (-want +got):\n%s", diff)
	}
	if _, seen := sim.journal.list(filter{}); seen != 5 {
		t.Errorf("%d requests seen, want 5", seen)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	_, url := serve(t, Options{RPM: 2, Now: clock})
	ask := func(key string) error {
		_, err := generate(t, sdk(t, url, key), "a [[sim:empty]]", nil)
		return err
	}
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }

	if err := ask("key-0001"); err != nil {
		t.Fatal(err)
	}
	pass(15500 * time.Millisecond)
	if err := ask("key-0001"); err != nil {
		t.Fatal(err)
	}
	e := apiError(t, ask("key-0001"))
	if got := detail(e, "RetryInfo")["retryDelay"]; e.Code != 429 || got != "44.5s" {
		t.Errorf("third request: %d, retry in %v, want 44.5s", e.Code, got)
	}
	if !strings.Contains(e.Message, "limit: 2, model: "+banana) || detail(e, "QuotaFailure") == nil {
		t.Errorf("third request: %+v", e)
	}
	if err := ask("key-0002"); err != nil {
		t.Errorf("another key: %v", err)
	}
	pass(44500 * time.Millisecond)
	if err := ask("key-0001"); err != nil {
		t.Errorf("after the delay: %v", err)
	}
	if e := apiError(t, ask("key-0001")); e.Code != 429 {
		t.Errorf("second request within the minute: %+v", e)
	}
}

func TestQuotaMemoryIsBounded(t *testing.T) {
	t.Parallel()
	q := quota{rpm: 1}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for i := range 3 * maxQuotaKeys {
		if _, ok := q.admit(string(rune(i+100)), now); !ok {
			t.Fatalf("key %d was refused", i)
		}
		if len(q.used) > maxQuotaKeys {
			t.Fatalf("%d keys remembered", len(q.used))
		}
	}
}

func TestSightingsMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var s sightings
	id := func(i int) (id [32]byte) { id[0], id[1], id[2] = byte(i), byte(i>>8), byte(i>>16); return id }
	for i := range 5 * maxSightings {
		s.count(id(i))
	}
	if n := len(s.young) + len(s.old); n > 2*maxSightings {
		t.Errorf("%d sightings remembered", n)
	}
	if got := s.count(id(5*maxSightings - 1)); got != 2 {
		t.Errorf("latest prompt was seen %d times, want 2", got)
	}
	if got := s.count(id(0)); got != 1 {
		t.Errorf("oldest prompt was seen %d times, want to be forgotten", got)
	}
}

func TestLatencyDistribution(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	draws := make([]float64, 50_000)
	for i := range draws {
		draws[i] = drawLatency(rng, 12*time.Second).Seconds()
	}
	slices.Sort(draws)
	p50, p95, p999 := draws[25_000], draws[47_500], draws[49_950]
	if p50 < 11.7 || p50 > 12.4 || p95 < 24 || p95 > 28 || p999 < 55 {
		t.Errorf("p50 %.1f s, p95 %.1f s, p99.9 %.1f s", p50, p95, p999)
	}
}
