package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// The store writes tickets by itself. They must be what River's client makes, and
// wake River's workers the same way.
func TestSubmit_TicketIsAsRiverMakesIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	listener, err := pgx.Connect(t.Context(), storetest.URL(b.db))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close(context.WithoutCancel(t.Context())) }()
	if _, err := listener.Exec(t.Context(), `LISTEN "river.river_insert"`); err != nil {
		t.Fatal(err)
	}
	client, err := river.NewClient(riverpgxv5.New(b.db.Pool()), &river.Config{Schema: store.RiverSchema})
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := b.queue.SubmitGeneration(t.Context(), b.submission(""))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := listener.WaitForNotification(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Insert(t.Context(), jobs.GenerateArgs{GenerationID: accepted.Generation.ID}, nil); err != nil {
		t.Fatal(err)
	}
	theirs, err := listener.WaitForNotification(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours.PID, theirs.PID = 0, 0
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("notification differs (-River +ours):\n%s", diff)
	}
	rows, err := b.db.Pool().Query(t.Context(), `
		SELECT to_jsonb(j) - '{id,created_at,scheduled_at}'::text[] AS ticket,
			scheduled_at BETWEEN now() - interval '1 minute' AND now() AS due
		FROM river.river_job AS j ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	type ticket struct {
		Ticket map[string]any
		Due    bool
	}
	tickets, err := pgx.CollectRows(rows, pgx.RowToStructByName[ticket])
	if err != nil || len(tickets) != 2 {
		t.Fatal(tickets, err)
	}
	if diff := cmp.Diff(tickets[1], tickets[0]); diff != "" {
		t.Errorf("ticket differs (-River +ours):\n%s", diff)
	}
}

func TestSubmit_HeldOnesAreQueuedToTheirOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, err := b.db.CreateOrg(t.Context(), "small", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := b.submission("")
	s.OrgID, s.Request.Priority = org.ID, jobs.PriorityBatch
	var last *store.Generation
	for range 7 { // two more than the plan's five
		accepted, err := b.queue.SubmitGeneration(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		last = accepted.Generation
	}
	if last.Status != store.StatusQueued || !last.Held() || last.Queue != jobs.QueueBatch {
		t.Errorf("the last is %+v, want it held", last)
	}
	if n := b.count(t, `SELECT count(*) FROM river.river_job WHERE queue = 'batch'`); n != 5 {
		t.Errorf("%d tickets for batches, want 5", n)
	}
	s.IdempotencyKey = "k"
	for range 2 { // replaying counts nothing
		if _, err := b.queue.SubmitGeneration(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	g, err := b.queue.CancelGeneration(t.Context(), b.project.ID, last.ID)
	if err != nil || g.Status != store.StatusCanceled {
		t.Fatal(g, err)
	}
	if n := b.count(t, `SELECT 10 * running + held FROM admission`); n != 52 {
		t.Errorf("counts are %d, want 5 running and 2 held", n)
	}
}

// fray is a database where many do everything at once.
type fray struct {
	*bundle
	orgs []string
	late *jobs.Queue // its submissions are past their deadline from the start

	mu        sync.Mutex
	submitted []string
	over      int // the most that ran beyond a cap
	held      int // the most that were held at the same time
}

// capacity of the fleet in a fray, more than the free plan's cap of 5.
const capacity = 8

func TestAdmission_RandomMixes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			f := &fray{bundle: setup(t)}
			if _, err := f.db.Pool().Exec(t.Context(), `UPDATE plan SET credits = 100000`); err != nil {
				t.Fatal(err)
			}
			for _, plan := range []string{"free", "pro", "unlimited"} {
				org, err := f.db.CreateOrg(t.Context(), plan, plan, nil)
				if err != nil {
					t.Fatal(err)
				}
				f.orgs = append(f.orgs, org.ID)
			}
			var err error
			f.late, err = jobs.NewQueue(jobs.Options{DB: f.db, LiveSimulated: true, Now: func() time.Time {
				return time.Now().Add(-jobs.DefaultDeadline)
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.late.Close)
			if _, err := f.db.Pool().Exec(t.Context(), `
				INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('w', $1, $1, 'infinity')`, capacity); err != nil {
				t.Fatal(err)
			}
			f.run(t, seed)
			f.check(t)
			f.drain(t)
		})
	}
}

// run lets everyone loose until all is submitted.
func (f *fray) run(t *testing.T, seed uint64) {
	ctx, stop := context.WithCancel(t.Context())
	var submitters, others sync.WaitGroup
	for i, org := range f.orgs {
		for _, priority := range []string{jobs.PriorityStandard, jobs.PriorityBatch} {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			submitters.Go(func() { f.submitAll(t, org, priority, random) })
		}
	}
	for i := range 2 {
		random := rand.New(rand.NewPCG(seed, uint64(100+i)))
		others.Go(func() { f.until(ctx, t, func() error { return f.work(t.Context(), random) }) })
	}
	for i := range 2 {
		random := rand.New(rand.NewPCG(seed, uint64(200+i)))
		others.Go(func() { f.until(ctx, t, func() error { return f.cancelOne(t.Context(), random) }) })
		others.Go(func() { f.until(ctx, t, func() error { return f.sweep(t.Context()) }) })
	}
	submitters.Wait()
	stop()
	others.Wait()
	if err := f.sweep(t.Context()); err != nil { // what one left to another
		t.Error(err)
	}
}

// until repeats what one of them does.
func (f *fray) until(ctx context.Context, t *testing.T, do func() error) {
	for ctx.Err() == nil {
		if err := do(); err != nil {
			t.Error(err)
			return
		}
	}
}

// submitAll submits one after the other, so that the ids of an organization and
// queue have the order in which they were accepted.
func (f *fray) submitAll(t *testing.T, org, priority string, random *rand.Rand) {
	for i := range 40 {
		s := f.submission("")
		s.OrgID, s.Request.Priority = org, priority
		queue := f.queue
		if random.IntN(10) == 0 {
			queue = f.late
		}
		if random.IntN(4) == 0 {
			s.IdempotencyKey = fmt.Sprint(org, priority, i/2) // some are replays
		}
		accepted, err := queue.SubmitGeneration(t.Context(), s)
		if err != nil {
			t.Error(err)
			return
		}
		f.mu.Lock()
		f.submitted = append(f.submitted, accepted.Generation.ID)
		f.mu.Unlock()
	}
}

// work takes the next ticket as River would and ends its run in one of several ways.
func (f *fray) work(ctx context.Context, random *rand.Rand) error {
	queue := []string{jobs.QueueGenerate, jobs.QueueBatch}[random.IntN(2)]
	var ticket store.Ticket
	err := f.db.Pool().QueryRow(ctx, `
		UPDATE river.river_job SET state = 'running'
		WHERE id = (
			SELECT id FROM river.river_job
			WHERE state = 'available' AND queue = $1
			ORDER BY priority, scheduled_at, id LIMIT 1
			FOR UPDATE SKIP LOCKED)
		RETURNING id, args ->> 'id'`, queue).Scan(&ticket.RiverJobID, &ticket.GenerationID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	claims, err := f.db.ClaimGenerations(ctx, store.Claimer{Worker: "w"}, []store.Ticket{ticket})
	if err != nil {
		return err
	}
	again := false
	if c := claims[0]; c != nil && !c.Status.Terminal() {
		o := &store.Outcome{GenerationID: c.ID, Fence: c.Fence}
		o.Status = []store.Status{store.StatusSucceeded, store.StatusFailed, store.StatusQueued}[random.IntN(3)]
		own, err := f.db.FinishGenerations(ctx, store.Sender{}, []*store.Outcome{o})
		if err != nil {
			return err
		}
		again = own[0].Own && o.Status == store.StatusQueued
	}
	return f.db.Transact(ctx, func(tx *store.DB) error {
		// A snooze of what was canceled meanwhile ends it. The statement after the
		// lock sees whether it was.
		if _, err := tx.Tx().Exec(ctx, `SELECT FROM river.river_job WHERE id = $1 FOR UPDATE`, ticket.RiverJobID); err != nil {
			return err
		}
		_, err := tx.Tx().Exec(ctx, `
			UPDATE river.river_job
			SET state = CASE WHEN $2 AND NOT metadata ? 'cancel_attempted_at' THEN 'available' ELSE 'completed' END::river.river_job_state,
				finalized_at = CASE WHEN NOT $2 OR metadata ? 'cancel_attempted_at' THEN now() END
			WHERE id = $1 AND state = 'running'`, ticket.RiverJobID, again)
		return err
	})
}

func (f *fray) cancelOne(ctx context.Context, random *rand.Rand) error {
	f.mu.Lock()
	n := len(f.submitted)
	var id string
	if n > 0 {
		id = f.submitted[random.IntN(n)]
	}
	f.mu.Unlock()
	if id == "" || random.IntN(8) > 0 { // now and then
		return f.measure(ctx)
	}
	_, err := f.queue.CancelGeneration(ctx, f.project.ID, id)
	return err
}

// measure notes how far an organization is beyond its cap, and how many it holds.
func (f *fray) measure(ctx context.Context) error {
	var over, held int
	err := f.db.Pool().QueryRow(ctx, `
		SELECT coalesce(max(a.running - CASE org.plan WHEN 'free' THEN 5 ELSE $1 END), 0), coalesce(max(held), 0)
		FROM admission AS a JOIN org ON org.id = a.org_id`, capacity).Scan(&over, &held)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over, f.held = max(f.over, over), max(f.held, held)
	return err
}

func (f *fray) sweep(ctx context.Context) error {
	_, errAdmit := f.db.AdmitHeld(ctx)
	_, errExpire := f.db.ExpireOverdue(ctx, 5)
	wrong, errCount := f.db.Recount(ctx)
	if len(wrong) > 0 {
		errCount = fmt.Errorf("the counts were not those of the generations: %+v", *wrong[0])
	}
	return errors.Join(errAdmit, errExpire, errCount)
}

// check holds the rows against what must always be true of them.
func (f *fray) check(t *testing.T) {
	t.Helper()
	if f.over > 0 {
		t.Errorf("%d ran beyond a cap", f.over)
	}
	const live = `state IN ('available', 'running', 'scheduled', 'retryable')`
	for what, sql := range map[string]string{
		"counts that are not those of the generations": `
			SELECT count(*) FROM admission AS a
			WHERE (running, held) <> (
				SELECT count(*) FILTER (WHERE held_at IS NULL), count(held_at) FROM generation AS g
				WHERE g.org_id = a.org_id AND g.queue = a.queue AND g.finished_at IS NULL)`,
		"live generations with a wrong number of live tickets": `
			SELECT count(*) FROM generation AS g
			WHERE finished_at IS NULL AND (held_at IS NULL)::int <> (
				SELECT count(*) FROM river.river_job WHERE ` + live + ` AND args ->> 'id' = g.id)`,
		"live tickets of ended generations": `
			SELECT count(*) FROM river.river_job AS j
			WHERE ` + live + ` AND EXISTS (SELECT FROM generation AS g WHERE g.id = j.args ->> 'id' AND finished_at IS NOT NULL)`,
		"tickets in another queue or of another generation": `
			SELECT count(*) FROM river.river_job AS j JOIN generation AS g ON g.river_job_id = j.id
			WHERE g.queue <> j.queue OR g.id <> j.args ->> 'id'`,
		"generations admitted before an earlier one": `
			SELECT count(*) FROM (
				SELECT g.id < lag(g.id) OVER (PARTITION BY g.org_id, g.queue ORDER BY j.id) AS early
				FROM river.river_job AS j JOIN generation AS g ON g.id = j.args ->> 'id') AS o
			WHERE early`,
		"held generations whose organization has room": `
			SELECT count(*) FROM admission AS a JOIN org ON org.id = a.org_id
			WHERE held > 0 AND running < CASE org.plan WHEN 'free' THEN 5 ELSE 8 END`,
	} {
		if n := f.count(t, sql); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	if f.held < 3 {
		t.Errorf("at most %d were held at the same time: the test tests nothing", f.held)
	}
}

// drain works off what is left: nothing hangs.
func (f *fray) drain(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for left, began := 1, time.Now(); left > 0 && time.Since(began) < 30*time.Second; {
		if err := f.work(t.Context(), random); err != nil {
			t.Fatal(err)
		}
		left = f.count(t, `SELECT count(*) FROM generation WHERE finished_at IS NULL`)
	}
	f.check(t)
	if n := f.count(t, `SELECT coalesce(sum(abs(running) + abs(held)), 0) FROM admission`); n != 0 {
		t.Errorf("%d are counted after the last has ended", n)
	}
}
