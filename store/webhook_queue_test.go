package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// tickets counts the deliveries' tickets by state.
func (b *bundle) tickets(t *testing.T) string {
	t.Helper()
	return strings.Join(b.lines(t, `
		SELECT format('%s %s', state, count(*)) FROM river.river_job WHERE queue = 'webhook' GROUP BY state ORDER BY state::text`), ", ")
}

func (b *bundle) release(t *testing.T, ahead time.Duration) int {
	t.Helper()
	n, err := b.ReleaseErrands(t.Context(), ahead)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bundle) change(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// wait makes every delivery wait.
func (b *bundle) wait(t *testing.T) {
	t.Helper()
	b.change(t, `DELETE FROM river.river_job WHERE queue = 'webhook'`)
	b.change(t, `UPDATE webhook_delivery SET ticket = NULL, due_at = now() WHERE state = 'pending'`)
}

func TestReleaseErrands_OnlyWhatIsDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 2)
	b.wait(t)
	b.change(t, `UPDATE webhook_delivery SET due_at = now() + interval '1 hour' WHERE event_id = (SELECT max(event_id) FROM webhook_delivery)`)
	if n := b.release(t, time.Minute); n != 1 {
		t.Errorf("%d released", n)
	}
	if n := b.release(t, time.Minute); n != 0 {
		t.Errorf("%d released twice", n)
	}
	// A clock that is ahead lets it through to a queue that goes by its own.
	if n := b.release(t, time.Hour+time.Minute); n != 1 {
		t.Errorf("%d released an hour later", n)
	}
	if diff := cmp.Diff("available 2", b.tickets(t)); diff != "" {
		t.Error(diff)
	}
	if late := b.lines(t, `SELECT id::text FROM river.river_job WHERE queue = 'webhook' AND scheduled_at > now()`); len(late) > 0 {
		t.Error("it is available and not to be fetched yet")
	}
	want := []string{"pending tries=0 attempts=0 logged=0 ticket=available", "pending tries=0 attempts=0 logged=0 ticket=available"}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}

// released counts the tickets to an endpoint that may run.
func (b *bundle) released(t *testing.T, endpoint string) string {
	t.Helper()
	return b.lines(t, `SELECT count(*)::text FROM river.river_job WHERE queue = 'webhook' AND state IN ('available', 'running') AND args ->> 'endpoint' = $1`, endpoint)[0]
}

func TestReleaseErrands_KeepsToTheRoom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failing := b.endpoint(t, []string{"generation.queued"}, "failing_since = now() - interval '2 minutes'")
	healthy := b.endpoint(t, []string{"generation.queued"}, "")
	b.errands(t, healthy, 40)
	b.wait(t)
	if n := b.release(t, 0); n != 18 {
		t.Errorf("%d released", n)
	}
	if diff := cmp.Diff([]string{"16", "2"}, []string{b.released(t, healthy), b.released(t, failing)}); diff != "" {
		t.Error(diff)
	}
	// While those run there is no room.
	b.change(t, `UPDATE river.river_job SET state = 'running' WHERE queue = 'webhook'`)
	if n := b.release(t, 0); n != 0 {
		t.Errorf("%d more released", n)
	}
	b.change(t, `DELETE FROM river.river_job WHERE queue = 'webhook'`)
	if n := b.release(t, 0); n != 18 {
		t.Errorf("%d released in the end", n)
	}
}

// However many endpoints an organization has, and however slow they are, others get
// their turn, and each of its own endpoints has one at a time.
func TestReleaseErrands_KeepsToTheOrganizationsRoom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var endpoints []string
	for range 10 {
		endpoints = append(endpoints, b.endpoint(t, []string{"generation.queued"}, ""))
	}
	b.errands(t, endpoints[0], 20)
	b.wait(t)
	if n := b.release(t, 0); n != 74 { // 64 and one each
		t.Errorf("%d released", n)
	}
	late := b.endpoint(t, []string{"generation.canceled"}, "")
	g := b.queued(t, nil)
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	b.change(t, `DELETE FROM river.river_job WHERE queue = 'webhook' AND args ->> 'endpoint' = $1`, late)
	b.change(t, `UPDATE webhook_delivery SET ticket = NULL, due_at = now() WHERE endpoint_id = $1`, late)
	b.release(t, 0)
	if diff := cmp.Diff("1", b.released(t, late)); diff != "" {
		t.Error("an endpoint of its own waits for the others", diff)
	}
}

func TestReleaseErrands_TakesInOverdueNets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 4)
	b.change(t, `UPDATE river.river_job SET state = 'pending', scheduled_at = now() WHERE queue = 'webhook'`)
	b.change(t, `UPDATE river.river_job SET scheduled_at = now() + interval '1 hour' WHERE id = $1`, e[3].Ticket)
	// Two lead nowhere.
	b.change(t, `UPDATE webhook_delivery SET state = 'delivered', ticket = NULL WHERE event_id = $1`, e[0].EventID)
	b.change(t, `UPDATE webhook_delivery SET ticket = ticket + 100 WHERE event_id = $1`, e[1].EventID)
	if n := b.release(t, 0); n != 1 {
		t.Errorf("%d released", n)
	}
	if diff := cmp.Diff("available 1, pending 1", b.tickets(t)); diff != "" {
		t.Error(diff)
	}
}

func TestReleaseErrands_HoldsWhatAStoppedEndpointHas(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"disabled_at = now(), disabled_reason = 'asked'", "deleted_at = now()"} {
		b := setup(t)
		b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 3)
		b.wait(t)
		b.change(t, `UPDATE webhook_delivery SET due_at = now() + interval '1 hour' WHERE event_id = (SELECT max(event_id) FROM webhook_delivery)`)
		b.change(t, `UPDATE webhook_endpoint SET `+set)
		if n := b.release(t, 0); n != 0 {
			t.Errorf("%d released", n)
		}
		want := strings.Repeat("held tries=0 attempts=0 logged=0 ticket=none ", 3)
		if diff := cmp.Diff(want, strings.Join(b.deliveries(t), " ")+" "); diff != "" {
			t.Errorf("%s: %s", set, diff)
		}
	}
}

func TestPutBackErrands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 2)
	e[1].Ticket++
	if err := b.PutBackErrands(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := []string{"pending tries=0 attempts=0 logged=0 ticket=waits", "pending tries=0 attempts=0 logged=0 ticket=available"}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}

func TestHurryErrands_OfTheNamedAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"generation.failed"}, "")
	for _, name := range []string{"dead", "alive"} {
		c := b.claim(t, b.queued(t, nil).ID)
		outcome := &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusFailed, Error: &store.GenerationError{Code: "provider_error"}}
		if _, err := b.FinishGenerations(t.Context(), store.Sender{Worker: name, Net: 30 * time.Second}, []*store.Outcome{outcome}); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.release(t, time.Second); n != 0 {
		t.Errorf("%d released before the net", n)
	}
	if n, err := b.HurryErrands(t.Context(), []string{"dead"}, time.Minute); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := b.release(t, time.Second); n != 1 {
		t.Errorf("%d released", n)
	}
	if n := b.release(t, 31*time.Second); n != 1 {
		t.Errorf("%d released after the net", n)
	}
}

func TestRetakeErrands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 4)
	b.change(t, `INSERT INTO worker (id, slots, batch_slots) VALUES ('dead', 1, 1), ('alive', 1, 1)`)
	run := func(i int, worker, since string) {
		b.change(t, `UPDATE river.river_job SET state = 'running', attempted_at = now() - $3::interval, attempted_by = ARRAY[$2] WHERE id = $1`, e[i].Ticket, worker, since)
	}
	run(0, "dead", "1 second")
	run(1, "alive", "1 second")
	run(2, "alive", "2 minutes") // nobody knows of it
	run(3, "dead", "1 second")
	b.change(t, `UPDATE webhook_delivery SET state = 'delivered', ticket = NULL WHERE event_id = $1`, e[3].EventID)
	beats, err := b.Beats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var silent []store.Silence
	for _, s := range beats {
		if s.Worker == "dead" {
			silent = append(silent, s)
		}
	}
	if n, err := b.RetakeErrands(t.Context(), silent, time.Minute); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if diff := cmp.Diff("cancelled 3, running 1", b.tickets(t)); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"pending tries=0 attempts=0 logged=0 ticket=waits", "pending tries=0 attempts=0 logged=0 ticket=running",
		"pending tries=0 attempts=0 logged=0 ticket=waits", "delivered tries=0 attempts=0 logged=0 ticket=none",
	}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
}
