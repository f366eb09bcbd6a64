package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// A worker that dies takes the news with it that tickets are done. Those of runs
// that have ended are completed for it, and only the others need a fresh one.
func TestTakeTickets_WhatHasEndedIsCompleted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(*testing.T, *bundle, *store.Claim)
		state string // of the ticket
		fresh int
		told  bool // in the ticket, that another took over
	}{
		"under way": {end: func(*testing.T, *bundle, *store.Claim) {}, state: "cancelled", fresh: 1, told: true},
		"succeeded": {end: func(t *testing.T, b *bundle, c *store.Claim) { b.finish(t, succeeded(c)) }, state: "completed"},
		"canceled": {end: func(t *testing.T, b *bundle, c *store.Claim) {
			if _, ended, err := b.CancelGeneration(t.Context(), b.project.ID, c.ID); err != nil || !ended {
				t.Fatal(ended, err)
			}
		}, state: "cancelled"},
		"has another ticket": {end: func(t *testing.T, b *bundle, c *store.Claim) {
			if _, err := b.Pool().Exec(t.Context(), `UPDATE generation SET river_job_id = river_job_id + 1000 WHERE id = $1`, c.ID); err != nil {
				t.Fatal(err)
			}
		}, state: "cancelled", told: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			g := b.queued(t, nil)
			ticket := b.ticket(t, g.ID).RiverJobID
			for _, sql := range []string{
				`UPDATE river.river_job SET state = 'running', attempt = 1, attempted_by = '{w}'`,
				`INSERT INTO worker (id, slots, batch_slots) VALUES ('w', 1, 1)`,
			} {
				if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			c.end(t, b, b.claim(t, g.ID))
			beats, err := b.Beats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n, err := b.TakeTickets(t.Context(), beats, []int64{ticket}, nil); n != c.fresh || err != nil {
				t.Errorf("%d generations got a fresh ticket, %v; want %d", n, err, c.fresh)
			}
			var state string
			var told, finalized bool
			err = b.Pool().QueryRow(t.Context(), `
				SELECT state, errors IS NOT NULL, finalized_at IS NOT NULL FROM river.river_job WHERE id = $1`, ticket).Scan(&state, &told, &finalized)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{c.state, c.told, true}, []any{state, told, finalized}); diff != "" {
				t.Errorf("the ticket differs (-want +got):\n%s", diff)
			}
		})
	}
}

// Who has waited in line already does not wait again behind those who came since, unless
// its runs are lost again and again.
func TestTakeTickets_KeepTheirPlaceInLine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orphan := b.queued(t, nil)
	b.exec(t, `INSERT INTO worker (id, slots, batch_slots) VALUES ('w', 1, 1)`)
	b.exec(t, `UPDATE river.river_job SET scheduled_at = scheduled_at - interval '1 second'`)
	since := b.submit(t, b.org(t, "pro"), "", 1)[0] // with a head start
	for run, want := range [][]string{{orphan.ID, since.ID}, {since.ID, orphan.ID}} {
		ticket := b.ticket(t, orphan.ID).RiverJobID
		b.exec(t, `UPDATE river.river_job SET state = 'running', attempt = 1, attempted_by = '{w}' WHERE id = $1`, ticket)
		b.claim(t, orphan.ID)
		beats, err := b.Beats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := b.TakeTickets(t.Context(), beats, []int64{ticket}, nil); n != 1 || err != nil {
			t.Fatalf("%d generations got a fresh ticket, %v", n, err)
		}
		order := b.lines(t, `
			SELECT args ->> 'id' FROM river.river_job WHERE state = 'available'
			ORDER BY priority, scheduled_at, id`)
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("order after run %d differs (-want +got):\n%s", run+1, diff)
		}
	}
}
