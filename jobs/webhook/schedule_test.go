package webhook_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

func always(u float64) func() float64 { return func() float64 { return u } }

func TestSchedule_IsTheSpecifications(t *testing.T) {
	t.Parallel()
	// Time since the first attempt, from the specification's table.
	want := []string{
		"5s", "5m5s", "35m5s", "2h35m5s", "7h35m5s", "17h35m5s", "31h35m5s", "51h35m5s", "75h35m5s",
	}
	got := make([]string, 0, webhook.Attempts-1)
	since := time.Duration(0)
	for _, wait := range webhook.Schedule() {
		since += wait
		d, err := time.ParseDuration(want[len(got)])
		if err != nil || d != since {
			t.Fatalf("attempt %d comes %s after the first, want %s", len(got)+2, since, want[len(got)])
		}
		got = append(got, want[len(got)])
	}
	if len(got) != webhook.Attempts-1 {
		t.Errorf("%d waits for %d attempts", len(got), webhook.Attempts)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	type answer struct {
		Wait time.Duration
		OK   bool
	}
	retry := func(n int, u float64) answer {
		wait, ok := webhook.Retry(n, always(u))
		return answer{wait.Round(time.Millisecond), ok}
	}
	for name, c := range map[string]struct {
		n    int
		u    float64
		want answer
	}{
		"First":      {1, 0.5, answer{5 * time.Second, true}},
		"FirstLeast": {1, 0, answer{4500 * time.Millisecond, true}},
		"FourthMost": {4, 0.999999999, answer{132 * time.Minute, true}},
		"Ninth":      {9, 0.5, answer{24 * time.Hour, true}},
		"Tenth":      {10, 0.5, answer{0, false}},
		"Beyond":     {11, 0.5, answer{0, false}},
		"BelowOne":   {0, 0.5, answer{5 * time.Second, true}},
	} {
		if diff := cmp.Diff(c.want, retry(c.n, c.u)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRetry_JitterIsSpread(t *testing.T) {
	t.Parallel()
	const tries = 2000
	for i, base := range webhook.Schedule() {
		early, late := 0, 0
		for range tries {
			wait, ok := webhook.Retry(i+1, nil)
			if !ok || wait < base*9/10-1 || wait > base*11/10+1 {
				t.Fatalf("after attempt %d: %s, %v, want %s +-10 %%", i+1, wait, ok, base)
			}
			if wait < base*95/100 {
				early++
			}
			if wait > base*105/100 {
				late++
			}
		}
		// A quarter each is expected; these bounds are 15 deviations away.
		if early < tries/10 || late < tries/10 {
			t.Errorf("after attempt %d: of %d waits %d are early, %d late", i+1, tries, early, late)
		}
	}
}
