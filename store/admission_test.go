package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// setupCapped is setup where the free plan may have two running in a queue, and
// the fleet three.
func setupCapped(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b.exec(t, `UPDATE plan SET concurrency = CASE name WHEN 'free' THEN 2 ELSE 0 END`)
	b.fleet(t, 3)
	return b
}

// fleet makes one worker that is alive for good and takes n generations of each queue.
func (b *bundle) fleet(t *testing.T, n int) {
	t.Helper()
	b.exec(t, `
		INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('w', $1, $1, 'infinity')
		ON CONFLICT (id) DO UPDATE SET slots = $1, batch_slots = $1`, n)
}

func (b *bundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// org makes an organization on a plan.
func (b *bundle) org(t *testing.T, plan string) string {
	t.Helper()
	org, err := b.CreateOrg(t.Context(), plan, plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	return org.ID
}

// submit inserts n generations of an org at once, oldest first.
func (b *bundle) submit(t *testing.T, orgID, queue string, n int) []*store.NewGeneration {
	t.Helper()
	rows := make([]*store.NewGeneration, n)
	for i := range rows {
		rows[i] = b.unqueued(func(g *store.NewGeneration) { g.OrgID, g.Queue = orgID, queue })
	}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// counts are the running and held ones of an org: "2 running, 1 held".
func (b *bundle) counts(t *testing.T, orgID, queue string) string {
	t.Helper()
	var running, held int
	err := b.Pool().QueryRow(t.Context(), `SELECT running, held FROM admission WHERE org_id = $1 AND queue = $2`, orgID, queue).Scan(&running, &held)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d running, %d held", running, held)
}

// wantCounts checks the counts of an org's interactive generations, and that they
// are those of its generations.
func (b *bundle) wantCounts(t *testing.T, orgID, want string) {
	t.Helper()
	if diff := cmp.Diff(want, b.counts(t, orgID, store.QueueGenerate)); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	wrong, err := b.Recount(t.Context())
	if err != nil || len(wrong) > 0 {
		t.Errorf("the counts were not those of the generations: %+v, %v", wrong, err)
	}
}

// ticketed returns the generations that have a live ticket, in the order River
// takes them.
func (b *bundle) ticketed(t *testing.T) []string {
	t.Helper()
	rows, err := b.Pool().Query(t.Context(), `
		SELECT args ->> 'id' FROM river.river_job
		WHERE state IN ('available', 'running') ORDER BY scheduled_at, id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (b *bundle) wantTickets(t *testing.T, want ...*store.NewGeneration) {
	t.Helper()
	var ids []string
	for _, g := range want {
		ids = append(ids, g.ID)
	}
	if diff := cmp.Diff(ids, b.ticketed(t)); diff != "" {
		t.Errorf("generations with a ticket differ (-want +got):\n%s", diff)
	}
}

func TestInsertGenerations_HoldsBeyondTheCap(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	for name, c := range map[string]struct{ org, queue, want string }{
		"plan's cap":       {b.org(t, "free"), store.QueueGenerate, "2 running, 4 held"},
		"batches apart":    {b.org(t, "free"), store.QueueBatch, "2 running, 4 held"},
		"fleet's capacity": {b.org(t, "unlimited"), store.QueueGenerate, "3 running, 3 held"},
		"unknown plan":     {b.org(t, "bespoke"), store.QueueGenerate, "3 running, 3 held"},
		"unknown org":      {"org_x", store.QueueGenerate, "3 running, 3 held"},
	} {
		var held []bool
		for _, n := range []int{1, 4, 1} { // it makes the counts, fills them up, finds them full
			for _, g := range b.submit(t, c.org, c.queue, n) {
				held = append(held, g.Held)
				row, err := b.Generation(t.Context(), b.project.ID, g.ID)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(g.Row(), row, cmpopts.EquateApproxTime(0)); diff != "" {
					t.Errorf("%s: generation differs (-inserted +stored):\n%s", name, diff)
				}
			}
		}
		want := []bool{false, false, c.want[0] == '2', true, true, true}
		if diff := cmp.Diff(want, held); diff != "" {
			t.Errorf("%s: who is held differs (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.want, b.counts(t, c.org, c.queue)); diff != "" {
			t.Errorf("%s: counts differ (-want +got):\n%s", name, diff)
		}
	}
}

// A free place is not taken by one that came after those who wait for it.
func TestInsertGenerations_NobodyOvertakesTheHeld(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	first := b.submit(t, b.project.OrgID, "", 3)
	b.fleet(t, 10)
	b.exec(t, `UPDATE plan SET concurrency = 0`) // larger ones
	late := b.submit(t, b.project.OrgID, "", 1)
	if !late[0].Held {
		t.Error("a later generation overtook a held one")
	}
	if n, err := b.AdmitHeld(t.Context()); err != nil || n != 2 {
		t.Errorf("admitted %d, %v; want both", n, err)
	}
	b.wantTickets(t, append(first, late...)...)
	b.wantCounts(t, b.project.OrgID, "4 running, 0 held")
}

func TestFinish_AdmitsTheNext(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	g := b.submit(t, b.project.OrgID, "", 4)
	batch := b.submit(t, b.project.OrgID, store.QueueBatch, 1)
	other := b.submit(t, b.org(t, "free"), "", 1)
	if c := b.claim(t, g[2].ID); c != nil {
		t.Errorf("a held generation was claimed: %+v", c)
	}
	c := b.claim(t, g[0].ID)
	again := succeeded(c)
	again.Status = store.StatusQueued
	b.finish(t, again)
	b.wantTickets(t, g[0], g[1], batch[0], other[0]) // a run to be repeated keeps its place
	b.finish(t, succeeded(b.claim(t, g[0].ID)))
	b.wantTickets(t, g[0], g[1], batch[0], other[0], g[2])
	b.wantCounts(t, b.project.OrgID, "2 running, 1 held")
	row, err := b.Generation(t.Context(), b.project.ID, g[2].ID)
	if err != nil || row.Held() || row.RiverJobID == nil {
		t.Errorf("the admitted one is %+v, %v", row, err)
	}
	b.finish(t, succeeded(c)) // superseded
	b.wantCounts(t, b.project.OrgID, "2 running, 1 held")
}

// The end of a generation waits for a submission that holds the next one, and
// then sees it: both are committed, and no sweep is needed.
func TestFinish_AdmitsWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	running := b.submit(t, b.project.OrgID, "", 2)
	c := b.claim(t, running[0].ID)
	late := b.unqueued(nil)
	finished := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if err := tx.InsertGenerations(t.Context(), []*store.NewGeneration{late}); err != nil {
			return err
		}
		go func() {
			_, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(c)})
			finished <- err
		}()
		return b.awaitLockWait(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-finished; err != nil || !late.Held {
		t.Fatalf("finish: %v; held: %t", err, late.Held)
	}
	b.wantTickets(t, append(running, late)...)
	b.wantCounts(t, b.project.OrgID, "2 running, 0 held")
}

// awaitLockWait returns when someone waits for a lock.
func (b *bundle) awaitLockWait(t *testing.T) error {
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		var n int
		err := b.Pool().QueryRow(t.Context(), `
			SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err != nil || n > 0 {
			return err
		}
	}
	return fmt.Errorf("nobody waits for a lock")
}

func TestCancel_GivesThePlaceOn(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	g := b.submit(t, b.project.OrgID, "", 5)
	for i, want := range []string{"2 running, 2 held", "2 running, 1 held"} {
		id := []string{g[2].ID, g[0].ID}[i] // a held one, one with a ticket
		if _, ended, err := b.CancelGeneration(t.Context(), b.project.ID, id); err != nil || !ended {
			t.Fatal(ended, err)
		}
		b.wantCounts(t, b.project.OrgID, want)
	}
	b.wantTickets(t, g[0], g[1], g[3]) // its ticket is the caller's to cancel
	if err := b.RemoveGeneration(t.Context(), b.project.ID, g[0].ID); err != nil {
		t.Fatal(err)
	}
	b.wantCounts(t, b.project.OrgID, "2 running, 1 held")
}

func TestClaim_ExpiredGivesItsPlaceOn(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	g := b.submit(t, b.project.OrgID, "", 3)
	b.exec(t, `UPDATE generation SET deadline_at = now() WHERE id = $1`, g[0].ID)
	if c := b.claim(t, g[0].ID); c != nil {
		t.Errorf("what came too late was claimed: %+v", c)
	}
	for i, want := range []bool{true, false} {
		if expired, err := b.ExpireGeneration(t.Context(), g[0].ID); expired != want || err != nil {
			t.Errorf("expired the %d. time: %v, %v", i+1, expired, err)
		}
	}
	late, err := b.Generation(t.Context(), b.project.ID, g[0].ID)
	if err != nil || late.Status != store.StatusExpired || late.Error == nil || late.Error.Code != "deadline_exceeded" {
		t.Errorf("it is %+v, %v; want an expired one", late, err)
	}
	b.wantTickets(t, g[1], g[2])
	b.wantCounts(t, b.project.OrgID, "2 running, 0 held")
}

func TestAdmitHeld_FollowsTheFleet(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	b.fleet(t, 0)
	const orgs = 230 // more than a round
	for i := range orgs {
		b.submit(t, fmt.Sprintf("org_%d", i), "", 2)
	}
	if n, err := b.AdmitHeld(t.Context()); err != nil || n != 0 {
		t.Errorf("admitted %d, %v; want none without a worker's slot", n, err)
	}
	b.fleet(t, 1)
	var wg sync.WaitGroup
	total := make([]int, 4)
	for i := range total {
		wg.Go(func() {
			n, err := b.AdmitHeld(t.Context())
			if err != nil {
				t.Error(err)
			}
			total[i] = n
		})
	}
	wg.Wait()
	last, err := b.AdmitHeld(t.Context()) // what one left to another
	if sum := total[0] + total[1] + total[2] + total[3] + last; err != nil || sum != orgs {
		t.Errorf("admitted %v and %d, %v; want one of each organization", total, last, err)
	}
	b.exec(t, `UPDATE worker SET seen_at = now() - interval '6 seconds'`) // it is dead: the default holds
	if n, err := b.AdmitHeld(t.Context()); err != nil || n != orgs {
		t.Errorf("admitted %d, %v; want the rest", n, err)
	}
	b.wantCounts(t, "org_7", "2 running, 0 held")
}

func TestExpireOverdue(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	g := b.submit(t, b.project.OrgID, "", 7)
	begun := b.claim(t, g[0].ID)
	b.exec(t, `UPDATE generation SET deadline_at = now() WHERE id = ANY($1)`, []string{g[0].ID, g[1].ID, g[2].ID, g[3].ID})
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.DB)})
	news, done := live.Generation(g[2].ID)
	defer done()
	stop := runLive(t, live)
	defer stop()

	for want := range 3 { // each of two, then what is left
		n, err := b.ExpireOverdue(t.Context(), 2)
		if err != nil || n != []int{2, 1, 0}[want] {
			t.Errorf("round %d expired %d, %v", want, n, err)
		}
	}
	<-news
	for i, want := range []store.Status{"processing", "expired", "expired", "expired", "queued", "queued", "queued"} {
		row, err := b.Generation(t.Context(), b.project.ID, g[i].ID)
		if err != nil || row.Status != want {
			t.Errorf("generation %d is %s, %v; want %s", i, row.Status, err, want)
		}
		if want == "expired" && (row.Error == nil || row.Error.Code != "deadline_exceeded" || row.FinishedAt == nil || row.StartedAt != nil) {
			t.Errorf("the expired generation %d is %+v", i, row)
		}
	}
	b.wantTickets(t, g[0], g[4]) // what had a ticket has lost it
	b.wantCounts(t, b.project.OrgID, "2 running, 2 held")
	if !b.finish(t, succeeded(begun)) {
		t.Error("one that had begun could not finish")
	}
}

func TestRecount_CorrectsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	b.submit(t, b.project.OrgID, "", 3)
	b.submit(t, "org_right", store.QueueBatch, 1)
	b.submit(t, "org_lost", "", 4)
	b.exec(t, `UPDATE admission SET running = 7, held = -1 WHERE org_id = $1`, b.project.OrgID)
	b.exec(t, `DELETE FROM admission WHERE org_id = 'org_lost'`)
	b.exec(t, `INSERT INTO admission (org_id, queue, running) VALUES ('org_none', 'batch', 1)`)
	got, err := b.Recount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]store.Recounted{
		b.project.OrgID: {Queue: "generate", WasRunning: 7, WasHeld: -1, Running: 2, Held: 1},
		"org_lost":      {Queue: "generate", Running: 3, Held: 1},
		"org_none":      {Queue: "batch", WasRunning: 1},
	}
	byOrg := map[string]store.Recounted{}
	for _, r := range got {
		id := r.OrgID
		r.OrgID = ""
		byOrg[id] = *r
	}
	if diff := cmp.Diff(want, byOrg); diff != "" {
		t.Errorf("corrections differ (-want +got):\n%s", diff)
	}
	b.wantCounts(t, "org_lost", "3 running, 1 held")
}

func TestQueuePosition(t *testing.T) {
	t.Parallel()
	b := setupCapped(t)
	other := b.submit(t, b.org(t, "free"), "", 4) // two with a ticket, two held
	g := b.submit(t, b.project.OrgID, "", 4)
	batch := b.submit(t, b.project.OrgID, store.QueueBatch, 1)
	position := func(n *store.NewGeneration) int {
		t.Helper()
		row, err := b.Generation(t.Context(), b.project.ID, n.ID)
		if err != nil {
			t.Fatal(err)
		}
		place, err := b.QueuePosition(t.Context(), row)
		if err != nil {
			t.Fatal(err)
		}
		return place
	}
	got := []int{position(other[0]), position(g[0]), position(g[1]), position(g[2]), position(g[3]), position(batch[0])}
	if diff := cmp.Diff([]int{1, 3, 4, 5, 6, 1}, got); diff != "" {
		t.Errorf("positions differ (-want +got):\n%s", diff)
	}
	b.exec(t, `UPDATE river.river_job SET state = 'running' WHERE id = $1`, *other[0].RiverJobID)
	b.exec(t, `DELETE FROM river.river_job WHERE id = $1`, *g[1].RiverJobID)
	got = []int{position(g[0]), position(g[1]), position(g[2])}
	if diff := cmp.Diff([]int{2, 1, 3}, got); diff != "" {
		t.Errorf("later positions differ (-want +got):\n%s", diff)
	}
}
