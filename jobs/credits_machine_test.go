package jobs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// A machine is one organization, used through two processes with clocks that differ,
// and what must have become of it.
type machine struct {
	dbs    [2]*store.DB
	queues [2]*jobs.Queue

	mu      sync.Mutex
	now     time.Time
	org     string
	project string

	live    map[string]*store.Generation // accepted, and not ended as far as is known
	running map[string]bool              // those that a client of this step runs
	byKey   map[string]string            // generations by idempotency key
	count   map[string]int               // of the generations of API keys with a limit, by key and month
	charged int64
	granted int64 // by hand
	bought  int64
}

// Two processes' clocks are this far apart.
const skew = 3 * time.Second

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{}
	m.dbs[0] = storetest.New(t)
	second, err := store.Open(t.Context(), storetest.URL(m.dbs[0]), store.Options{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	m.dbs[1] = second
	for i, db := range m.dbs {
		m.queues[i], err = jobs.NewQueue(jobs.Options{DB: db, Now: func() time.Time { return m.clock(i) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.queues[i].Close)
	}
	for _, sql := range []string{
		`UPDATE plan SET concurrency = 0`,
		`INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('w', 10000, 10000, 'infinity')`,
	} {
		if _, err := m.dbs[0].Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// clock is the time on a process.
func (m *machine) clock(process int) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.Add(time.Duration(process) * skew)
}

// begin makes a new organization on a plan, the only one that has something.
func (m *machine) begin(ctx context.Context, t *rapid.T) {
	for _, table := range []string{"generation", "image", "attempt", "event", "credit_entry", "credit_account", "usage_hour", "usage_day", "admission", "river.river_job"} {
		if _, err := m.dbs[0].Pool().Exec(ctx, `SET LOCAL session_replication_role = replica; DELETE FROM `+table, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	org, err := m.dbs[0].CreateOrg(ctx, "test", anyPlan(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	project, err := m.dbs[0].CreateProject(ctx, org.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.org, m.project = time.Now(), org.ID, project.ID
	m.live, m.byKey, m.count = map[string]*store.Generation{}, map[string]string{}, map[string]int{}
	m.charged, m.granted, m.bought = 0, 0, 0
}

func anyPlan(t *rapid.T) string {
	return rapid.SampledFrom([]string{"free", "free_daily", "hobby", "pro", "pay_as_you_go"}).Draw(t, "plan")
}

// Whatever several clients of two processes do at once, step after step, the books are
// right after each: they agree with themselves, and with what the clients were told.
func TestCredits_Machine(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		m.begin(ctx, rt)
		for range rapid.IntRange(3, 7).Draw(rt, "steps") {
			if rapid.IntRange(0, 3).Draw(rt, "turn") == 0 {
				hours := rapid.SampledFrom([]int{1, 12, 24, 24 * 20, 24 * 45}).Draw(rt, "hours")
				m.mu.Lock()
				m.now = m.now.Add(time.Duration(hours) * time.Hour)
				m.mu.Unlock()
			}
			m.running = map[string]bool{}
			clients := make([]func() error, rapid.IntRange(1, 6).Draw(rt, "clients"))
			for i := range clients {
				clients[i] = m.client(ctx, rt, i%2)
			}
			var all sync.WaitGroup
			failed := make(chan error, len(clients))
			for _, do := range clients {
				all.Go(func() {
					if err := do(); err != nil {
						failed <- err
					}
				})
			}
			all.Wait()
			close(failed)
			for err := range failed {
				rt.Error(err)
			}
			m.settleNow(ctx, rt)
			m.carry(ctx, rt)
			m.check(ctx, rt)
		}
	})
}

// client draws what a client of a process does next.
func (m *machine) client(ctx context.Context, t *rapid.T, process int) func() error {
	const kinds = 13
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0, 1, 2:
		return m.submitter(ctx, t, process)
	case 3:
		return m.batch(ctx, t, process)
	case 4:
		return m.canceler(ctx, t, process)
	case 5, 6:
		return m.runner(ctx, t, process)
	case 7:
		return m.expirer(ctx, t, process)
	case 8:
		return m.planChange(ctx, t, process)
	case 9:
		return m.setter(ctx, t, process)
	case 10:
		return m.refunder(ctx, t, process)
	case 11:
		return m.carrier(ctx, t, process)
	default:
		return m.creditChange(ctx, t, process)
	}
}

// byHand selects entries that no refund of Stripe's has made.
const byHand = `coalesce(subject NOT LIKE 're\_%', true)`

// owing is what organizations owe, and what they were granted less that.
func (m *machine) owing(ctx context.Context, t *rapid.T) (owed, net int64) {
	err := m.dbs[1].Pool().QueryRow(ctx, `SELECT coalesce(sum(owed), 0)::bigint, coalesce(sum(granted - owed), 0)::bigint FROM credit_account`).Scan(&owed, &net)
	if err != nil {
		t.Fatal(err)
	}
	return owed, net
}

// carry carries on what is owed until there is no more to carry: nothing is forgiven.
func (m *machine) carry(ctx context.Context, t *rapid.T) {
	owed, net := m.owing(ctx, t)
	for range 3 {
		if _, err := m.dbs[0].CarryCredits(ctx, 10); err != nil {
			t.Fatal(err)
		}
		if still, is := m.owing(ctx, t); is != net || still > owed {
			t.Fatalf("%d are owed of %d, and %d are worth %d", still, owed, net, is)
		}
	}
}

// check compares the books with themselves and with the model.
func (m *machine) check(ctx context.Context, t *rapid.T) {
	faults, err := m.dbs[0].CreditFaults(ctx)
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v, faults:\n%s", err, strings.Join(faults, "\n"))
	}
	var reserved int64
	for _, g := range m.live {
		if g.Credits != nil {
			reserved += int64(*g.Credits)
		}
	}
	want := map[string]int64{"reserved": reserved, "used": m.charged, "granted": m.granted, "bought": m.bought, "more bought": 0}
	got := map[string]int64{}
	for name, sql := range map[string]string{
		"reserved": `SELECT coalesce(sum(reserved), 0)::bigint FROM credit_account WHERE org_id = $1`,
		"used":     `SELECT coalesce(sum(used), 0)::bigint FROM credit_account WHERE org_id = $1`,
		"granted":  `SELECT coalesce(sum(granted), 0)::bigint FROM credit_entry WHERE org_id = $1 AND kind IN ('grant', 'purchase', 'refund') AND ` + byHand,
		"bought":   `SELECT coalesce(sum(bought), 0)::bigint FROM credit_entry WHERE org_id = $1 AND kind IN ('grant', 'purchase', 'refund') AND ` + byHand,
		// A refund that has failed leaves what was bought.
		"more bought": `
			SELECT greatest(0, (SELECT sum(bought) FROM credit_account WHERE org_id = $1) - (
				SELECT coalesce(sum(bought), 0) FROM credit_entry WHERE org_id = $1 AND kind IN ('grant', 'purchase', 'refund')))::bigint`,
	} {
		var n int64
		if err := m.dbs[1].Pool().QueryRow(ctx, sql, m.org).Scan(&n); err != nil {
			t.Fatal(err)
		}
		got[name] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("credits (-want +got):\n%s", diff)
	}
	for key, want := range m.count {
		id, month, _ := strings.Cut(key, " ")
		at, err := time.Parse(time.DateOnly, month)
		if err != nil {
			t.Fatal(err)
		}
		if used, err := m.dbs[0].APIKeyUsage(ctx, id, at); err != nil || used != want || used > monthly {
			t.Fatalf("%s has used %d, %v; it was let in %d times", key, used, err, want)
		}
	}
}

// settleNow drops what has ended from the live, with what it was charged.
func (m *machine) settleNow(ctx context.Context, t *rapid.T) {
	for id := range m.live {
		g, err := m.dbs[0].Generation(ctx, m.project, id)
		if err != nil {
			t.Fatal(err)
		}
		if g.FinishedAt == nil {
			continue
		}
		delete(m.live, id)
		if g.Status != store.StatusSucceeded || g.Credits == nil {
			continue
		}
		images, err := m.dbs[0].Images(ctx, m.project, []*store.Generation{g})
		if err != nil {
			t.Fatal(err)
		}
		m.charged += int64(len(images) * *g.Credits / g.N)
	}
}

// accept notes a generation that a client was told of.
func (m *machine) accept(s *jobs.Submission, key string, g *store.Generation, replayed bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key != "" {
		if before, ok := m.byKey[key]; ok && before != g.ID {
			return fmt.Errorf("%s made %s and %s", key, before, g.ID)
		}
		m.byKey[key] = g.ID
	}
	if replayed {
		return nil
	}
	m.live[g.ID] = g
	if s.KeyMonthly != nil {
		begins, _ := store.MonthOf(g.CreatedAt)
		m.count[s.APIKeyID+" "+begins.Format(time.DateOnly)]++
	}
	return nil
}
