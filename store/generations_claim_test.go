package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestClaim_FencesAndOpensAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, func(g *store.NewGeneration) { g.N = 2 })
	first := b.claim(t, g.ID)
	if first == nil || first.Fence != 1 || first.Status != store.StatusProcessing || first.Paid != nil || *first.Worker != "w1" {
		t.Fatalf("first claim is %+v", first)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 1 {
		t.Fatalf("got attempts %v, %v; want that of the first image", attempts, err)
	}
	if a := attempts[0]; a.N != 1 || a.ImageIndex != 0 || a.Route != "simulator" || a.Model != "upstream-banana" || a.Outcome != nil {
		t.Errorf("the attempt is %+v", a)
	}
	second := b.claim(t, g.ID)
	if diff := cmp.Diff([]int{0}, second.Paid); second.Fence != 2 || diff != "" {
		t.Errorf("second claim has fence %d, want 2; its ambiguous calls differ (-want +got):\n%s", second.Fence, diff)
	}
	if b.finish(t, succeeded(first)) {
		t.Error("the superseded run could finish")
	}
	if _, err := b.BeginAttempt(t.Context(), first, store.NewAttempt{ImageIndex: 0, Route: "simulator", Provider: "simulator", Model: "m"}, nil, nil); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the superseded run could begin an attempt: %v", err)
	}
	if n, err := b.BeginAttempt(t.Context(), second, store.NewAttempt{ImageIndex: 0, Route: "simulator", Provider: "simulator", Model: "m"}, nil, nil); err != nil || n != 2 {
		t.Errorf("the next attempt is %d, %v; want 2", n, err)
	}
	third := b.claim(t, g.ID)
	if diff := cmp.Diff([]int{0, 0}, slices.Sorted(slices.Values(third.Paid))); diff != "" {
		t.Errorf("the third claim's ambiguous calls differ (-want +got):\n%s", diff)
	}
}

// A worker that thaws with a ticket that was taken from it meanwhile does not take
// the generation from the run that it was given to.
func TestClaim_NotByATicketThatWasTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	old := b.ticket(t, g.ID)
	if _, err := b.Pool().Exec(t.Context(), `UPDATE river.river_job SET state = 'running', attempted_by = '{frozen}'`); err != nil {
		t.Fatal(err)
	}
	if n, err := b.TakeTickets(t.Context(), nil, nil, []int64{old.RiverJobID}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{old})
	if err != nil || claims[0] != nil {
		t.Errorf("the old ticket claimed %+v, %v", claims[0], err)
	}
	if c := b.claim(t, g.ID); c == nil || c.Fence != 1 || *c.RiverJobID == old.RiverJobID {
		t.Errorf("the fresh ticket claimed %+v", c)
	}
}

// Of two tickets that come to one batch, only the rightful one claims.
func TestClaim_AnOldAndAFreshTicketTogether(t *testing.T) {
	t.Parallel()
	for _, oldFirst := range []bool{true, false} {
		b := setup(t)
		g := b.queued(t, nil)
		old := b.ticket(t, g.ID)
		if _, err := b.Pool().Exec(t.Context(), `UPDATE river.river_job SET state = 'running', attempted_by = '{frozen}'`); err != nil {
			t.Fatal(err)
		}
		if n, err := b.TakeTickets(t.Context(), nil, nil, []int64{old.RiverJobID}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		fresh := b.ticket(t, g.ID)
		batch := []store.Ticket{fresh, old}
		if oldFirst {
			batch = []store.Ticket{old, fresh}
		}
		claims, err := b.ClaimGenerations(t.Context(), claimer, batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range claims {
			if (c != nil) != (batch[i] == fresh) {
				t.Errorf("old first: %t: ticket %d claimed %+v", oldFirst, batch[i].RiverJobID, c)
			}
		}
	}
}

// Silence is judged by the heartbeat that was seen: one that came since is none.
func TestTakeTickets_NotOfAWorkerThatWasHeardOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	ticket := b.ticket(t, g.ID).RiverJobID
	for _, sql := range []string{
		`UPDATE river.river_job SET state = 'running', attempted_by = '{w}'`,
		`INSERT INTO worker (id, slots, batch_slots) VALUES ('w', 1, 1)`,
	} {
		if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	before, err := b.Beats(t.Context())
	if err != nil || len(before) != 1 {
		t.Fatal(before, err)
	}
	if _, err := b.Pool().Exec(t.Context(), `UPDATE worker SET seen_at = now()`); err != nil {
		t.Fatal(err)
	}
	if tickets, err := b.SilentTickets(t.Context(), before); len(tickets) != 1 || err != nil {
		t.Fatal(tickets, err)
	}
	if n, err := b.TakeTickets(t.Context(), before, []int64{ticket}, nil); n != 0 || err != nil {
		t.Errorf("%d tickets of a living worker were taken, %v", n, err)
	}
	now, err := b.Beats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.TakeTickets(t.Context(), now, []int64{ticket}, nil); n != 1 || err != nil {
		t.Errorf("%d tickets of a silent worker were taken, %v; want one", n, err)
	}
	if err := b.RemoveWorker(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	if left, err := b.Beats(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("a worker without tickets stays on record: %v, %v", left, err)
	}
}

// A worker that stops with a ticket it does not know of stays on record, so that
// the others take it.
func TestRemoveWorker_NotWithARunningTicket(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.queued(t, nil)
	for _, sql := range []string{
		`UPDATE river.river_job SET state = 'running', attempted_by = '{w}'`,
		`INSERT INTO worker (id, slots, batch_slots) VALUES ('w', 1, 1)`,
	} {
		if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.RemoveWorker(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	if left, err := b.Beats(t.Context()); err != nil || len(left) != 1 {
		t.Errorf("it is forgotten: %v, %v", left, err)
	}
}

// News that are told late do not undo what others found out since, and a closed
// breaker ends no pause.
func TestSaveRouteNews_ClosedIsOfItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, n := range []store.RouteNews{
		{Name: "r", By: "b", Cooldown: 20 * time.Hour, Reason: "quota"},
		{Name: "r", By: "b", Open: time.Minute},
		{Name: "r", By: "a", Closed: true, Age: time.Minute}, // found out before those
	} {
		if err := b.SaveRouteNews(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	route := func() *store.ProviderRoute {
		t.Helper()
		routes, err := b.ProviderRoutes(t.Context())
		if err != nil || len(routes) != 1 {
			t.Fatal(routes, err)
		}
		return routes[0]
	}
	if r := route(); r.OpenUntil == nil || r.CooldownUntil == nil {
		t.Errorf("an old closing left %+v", r)
	}
	if err := b.SaveRouteNews(t.Context(), store.RouteNews{Name: "r", By: "b", Closed: true}); err != nil {
		t.Fatal(err)
	}
	if r := route(); r.OpenUntil != nil || r.CooldownUntil == nil || *r.CooldownReason != "quota" {
		t.Errorf("a closing left %+v, want the pause alone", r)
	}
	if err := b.SwitchRoute(t.Context(), "r", true, "an operator"); err != nil {
		t.Fatal(err)
	}
	if r := route(); r.CooldownUntil != nil {
		t.Errorf("enabling left %+v", r)
	}
}

// A call whose announcement was heard of by nobody ends with its generation, and
// one that was announced and not made is no call.
func TestFinish_SettlesTheCallsNobodyHeardOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	unheard, unmade := b.queued(t, nil), b.queued(t, nil)
	c := b.claim(t, unheard.ID)
	if _, err := b.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "r", Provider: "p", Model: "m"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if !b.finish(t, succeeded(c)) {
		t.Fatal("it could not finish")
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{unheard.ID})
	if err != nil || len(attempts) != 2 || *attempts[0].Outcome != store.AttemptSucceeded || *attempts[1].Outcome != store.AttemptAmbiguous {
		t.Errorf("attempts are %+v, %v", attempts, err)
	}
	c = b.claim(t, unmade.ID)
	if !b.finish(t, &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusQueued, Unmade: true}) {
		t.Fatal("it could not finish")
	}
	next := b.claim(t, unmade.ID)
	if next.Attempts != 0 || len(next.Paid) != 0 {
		t.Errorf("the next claim counts %d calls, %v paid; want none", next.Attempts, next.Paid)
	}
}

func TestClaim_NothingToRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	if c := b.claim(t, g.ID); c != nil {
		t.Errorf("a canceled generation was claimed: %+v", c)
	}
	if c := b.claim(t, store.NewGenerationID()); c != nil {
		t.Errorf("an unknown generation was claimed: %+v", c)
	}
}

func TestClaim_TwoTicketsForOneGeneration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, h := b.queued(t, nil), b.queued(t, nil)
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{b.ticket(t, g.ID), b.ticket(t, h.ID), b.ticket(t, g.ID)})
	if err != nil {
		t.Fatal(err)
	}
	if claims[0] == nil || claims[1] == nil || claims[2] != nil {
		t.Errorf("got claims %v; want the second ticket for one generation to have nothing to run", claims)
	}
}

func TestClaim_LeavesWhatIsLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	late := b.queued(t, func(g *store.NewGeneration) { g.DeadlineAt = time.Now().Add(-time.Second) })
	inTime := b.queued(t, nil)
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{b.ticket(t, late.ID), b.ticket(t, inTime.ID)})
	if err != nil || claims[0] != nil || claims[1] == nil {
		t.Fatalf("got claims %+v, %v; want the second alone", claims, err)
	}
	for id, want := range map[string]bool{late.ID: true, inTime.ID: false, store.NewGenerationID(): false} {
		if expired, err := b.ExpireGeneration(t.Context(), id); expired != want || err != nil {
			t.Errorf("expired: %v, %v; want %v", expired, err, want)
		}
	}
	g, err := b.Generation(t.Context(), b.project.ID, late.ID)
	if err != nil || g.Status != store.StatusExpired || g.FinishedAt == nil || g.StartedAt != nil {
		t.Fatalf("it is %+v, %v; want an expired generation", g, err)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{late.ID})
	if err != nil || len(attempts) != 0 {
		t.Errorf("an expired generation has attempts %v, %v", attempts, err)
	}
}

// Once a further call has begun, what came of the run's earlier ones is on record:
// a crash leaves only the last one unknown.
func TestBeginAttempt_RecordsWhatCameBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.queued(t, nil)
	c := b.claim(t, g.ID)
	earlier := []*store.AttemptOutcome{{GenerationID: g.ID, N: 1, Outcome: "overloaded", Code: "UNAVAILABLE", FinishedAt: time.Now()}}
	refused := []store.ImageError{{Index: 1, Error: store.GenerationError{Code: "content_moderated", Stage: "output"}}}
	if n, err := b.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "gemini-2", Provider: "gemini", Model: "m"}, earlier, refused); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	again := b.claim(t, g.ID)
	if len(again.Paid) != 1 {
		t.Errorf("after a crash %d calls may have been paid, want one", len(again.Paid))
	}
	if diff := cmp.Diff(refused, again.ImageErrors); diff != "" {
		t.Errorf("what nobody is to be asked for again differs (-want +got):\n%s", diff)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil || len(attempts) != 2 || *attempts[0].Outcome != "overloaded" || *attempts[1].Outcome != store.AttemptAmbiguous {
		t.Errorf("attempts are %+v, %v", attempts, err)
	}
}

// What is overdue together ends together, however much it is: the news of it must
// fit into notifications.
func TestExpireOverdue_ManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const many = 300
	var rows []*store.NewGeneration
	for range many {
		rows = append(rows, b.unqueued(func(g *store.NewGeneration) { g.DeadlineAt = time.Now().Add(-time.Second) }))
	}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	total := 0
	for range 2 {
		n, err := b.ExpireOverdue(t.Context(), many)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != many {
		t.Errorf("%d of %d expired", total, many)
	}
}

// A call that began while a cancel waited for it ends with the generation.
func TestCancel_EndsACallThatBeganMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.claim(t, b.queued(t, nil).ID)
	canceled := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "r", Provider: "p", Model: "m"}, nil, nil); err != nil {
			return err
		}
		go func() {
			_, _, err := b.CancelGeneration(t.Context(), b.project.ID, c.ID)
			canceled <- err
		}()
		for waiting := false; !waiting; {
			if err := b.Pool().QueryRow(t.Context(), `
				SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, <-canceled); err != nil {
		t.Fatal(err)
	}
	attempts, err := b.Attempts(t.Context(), b.project.ID, []string{c.ID})
	if err != nil || len(attempts) != 2 {
		t.Fatal(attempts, err)
	}
	for _, a := range attempts {
		if a.Outcome == nil || *a.Outcome != store.AttemptCanceled {
			t.Errorf("call %d has outcome %v", a.N, a.Outcome)
		}
	}
}
