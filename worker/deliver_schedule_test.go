package worker_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// A clock goes ahead of the others in steps.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

func (c *clock) Now() time.Time { return time.Now().Add(c.Ahead()) }

// set moves the clock forwards.
func (c *clock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = max(c.ahead, time.Until(to))
}

// settle waits until everything that is due has been attempted. What found no room
// is due again seconds later.
func (b *bundle) settle(t *testing.T, c *clock) {
	t.Helper()
	for end, hurry := time.Now().Add(2*time.Minute), time.Now().Add(2*time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := b.text(t, `
			SELECT count(*)::text FROM webhook_delivery WHERE state = 'pending' AND (tries = 0 OR next_attempt_at <= $1)`, c.Now())
		switch {
		case left == "0":
			return
		case time.Now().After(end):
			t.Fatalf("%s deliveries are due at %s and not attempted", left, c.Now())
		case time.Now().After(hurry):
			c.set(c.Now().Add(10 * time.Second))
			hurry = time.Now().Add(time.Second)
		}
	}
}

// pending returns when the next attempt is due, if any is.
func (b *bundle) pending(t *testing.T) (at *time.Time) {
	t.Helper()
	if err := b.db.Pool().QueryRow(t.Context(), `SELECT min(next_attempt_at) FROM webhook_delivery WHERE state = 'pending'`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

// A receiver is away for six hours and then gets everything, each delivery at the
// times that are documented; another sees its own at once all the while.
func TestDeliver_SixHoursDown(t *testing.T) {
	t.Parallel()
	began := time.Now().UTC().Truncate(time.Second)
	c := &clock{}
	b := setup(t, func(o *worker.Options) { o.Ahead = c.Ahead })
	down := b.receive(t, status(http.StatusServiceUnavailable))
	up := b.receive(t, nil)
	back, next, submitted := began.Add(6*time.Hour), began, 0
	for {
		if !c.Now().Before(next) && submitted < 4 {
			g := b.submit(t, jobs.GenerationRequest{Prompt: fmt.Sprint("banana ", submitted)})
			b.ended(t, g.ID)
			told := time.Now()
			if got := up.until(t, submitted+1); got[submitted].Generation != g.ID || got[submitted].At.Sub(told) > time.Second {
				t.Errorf("the healthy endpoint got %v, %s after the end of %s", got[submitted], got[submitted].At.Sub(told), g.ID)
			}
			submitted++
			next = next.Add(90 * time.Minute)
		}
		b.settle(t, c)
		if !c.Now().Before(back) {
			down.set(nil)
		}
		due := b.pending(t)
		if due == nil && submitted == 4 {
			break
		}
		if submitted < 4 && (due == nil || due.After(next)) {
			due = &next
		}
		if c.Now().Before(back) && (due == nil || due.After(back)) {
			due = &back
		}
		c.set(*due)
	}
	states := b.text(t, `SELECT string_agg(DISTINCT state, ',') FROM webhook_delivery`)
	if diff := cmp.Diff("delivered", states); diff != "" {
		t.Error(diff)
	}
	b.checkSchedule(t, down)
}

// checkSchedule compares the log of an endpoint's deliveries with what is
// documented.
func (b *bundle) checkSchedule(t *testing.T, r *receiver) {
	t.Helper()
	rows, err := b.db.Pool().Query(t.Context(), `SELECT event_id, log FROM webhook_delivery WHERE endpoint_id = $1`, r.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var id string
	var log []store.DeliveryAttempt
	attempts := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &log}, func() error {
		if len(log) < 4 {
			t.Errorf("%s: only %d attempts", id, len(log))
		}
		for i, a := range log[1:] {
			waited, want := a.At.Sub(log[i].At), webhook.Schedule()[i]
			// It may wait some seconds more for its turn.
			if waited < want*9/10 || waited > want*11/10+15*time.Second {
				t.Errorf("%s: attempt %d came %s after the one before, and should after %s", id, i+2, waited, want)
			}
		}
		attempts += len(log)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(r.all()); got != attempts {
		t.Errorf("%d requests, %d are logged", got, attempts)
	}
}

// What a receiver answers decides what becomes of the delivery and the endpoint.
func TestDeliver_Answers(t *testing.T) {
	t.Parallel()
	const minute = 60
	for _, c := range []struct {
		name     string
		answer   http.HandlerFunc
		want     string // state, status, error, endpoint's reason
		lo, hi   int    // seconds to the next attempt
		response string
	}{
		{name: "fine", answer: status(204), want: "delivered 204  "},
		{name: "error", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat("x", 5000), 500) },
			want: "pending 500 answered 500 ", lo: 4, hi: 6, response: strings.Repeat("x", 1024)},
		{name: "redirect", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/hook", http.StatusMovedPermanently)
		},
			want: "pending 301 answered 301: redirects are not followed ", lo: 4, hi: 6},
		{name: "retry after", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusTooManyRequests)
		}, want: "pending 429 answered 429 ", lo: 10 * minute, hi: 10*minute + 1},
		{name: "gone", answer: status(http.StatusGone), want: "failed 410 answered 410: the endpoint is gone gone"},
		{name: "cut", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			want: "pending  the connection was closed before an answer ", lo: 4, hi: 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			r := b.receive(t, c.answer, "generation.queued")
			b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
			b.untilText(t, "1", `SELECT attempts::text FROM webhook_delivery`)
			got := b.text(t, `
				SELECT format('%s %s %s %s', d.state, log -> 0 ->> 'status', log -> 0 ->> 'error', p.disabled_reason)
				FROM webhook_delivery AS d JOIN webhook_endpoint AS p ON p.id = d.endpoint_id`)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(r.all()) != 1 {
				t.Errorf("%d requests", len(r.all()))
			}
			if wait := b.text(t, `SELECT coalesce(extract(epoch FROM next_attempt_at - (log -> 0 ->> 'at')::timestamptz), 0)::int::text FROM webhook_delivery`); c.hi > 0 {
				var s int
				if _, err := fmt.Sscan(wait, &s); err != nil || s < c.lo || s > c.hi {
					t.Errorf("the next attempt is %s s later, and should be %d to %d", wait, c.lo, c.hi)
				}
			}
			if response := b.text(t, `SELECT coalesce(log -> 0 ->> 'response', '') FROM webhook_delivery`); c.response != "" && response != c.response {
				t.Errorf("kept %d bytes of the answer", len(response))
			}
		})
	}
}

// Nothing is sent to a disabled endpoint; what was on its way is kept.
func TestDeliver_ToADisabledEndpoint(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	r := b.receive(t, nil, "generation.queued")
	b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	b.exec(t, `UPDATE webhook_endpoint SET disabled_at = now(), disabled_reason = 'asked'`)
	b.start(t, nil)
	b.untilText(t, "held 0 0", deliveryState, r.endpoint)
	if got := r.all(); len(got) > 0 {
		t.Error(got)
	}
}

// An address that may not be reached gets nothing, and the customer is told why.
func TestDeliver_ToAForbiddenAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.receive(t, nil, "generation.queued")
	b.exec(t, `UPDATE webhook_endpoint SET url = 'https://169.254.169.254/latest/meta-data'`)
	b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	b.untilText(t, "pending 1 0", deliveryState, r.endpoint)
	reason := b.text(t, `SELECT log -> 0 ->> 'error' FROM webhook_delivery`)
	if !strings.HasPrefix(reason, "address is not allowed: ") {
		t.Error(reason)
	}
}
