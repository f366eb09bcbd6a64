package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExpireEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"*"}, "")
	now := time.Now().UTC().Truncate(time.Microsecond)
	ages := []time.Duration{50 * time.Hour, 50*time.Hour - time.Second, 49 * time.Hour, 40 * time.Hour, 0}
	var ids []string
	for i, age := range ages {
		ids = append(ids, b.queuedEvent(t, nil))
		b.exec(t, `UPDATE event SET created_at = $1 WHERE id = $2`, now.Add(-age), ids[i])
		b.exec(t, `UPDATE webhook_delivery SET created_at = $1 WHERE event_id = $2`, now.Add(-age), ids[i])
	}
	b.exec(t, `UPDATE river.river_job SET state = 'running' WHERE args ->> 'event' = $1`, ids[0])
	left := func() []string {
		return b.lines(t, `SELECT id FROM event JOIN webhook_delivery ON event_id = id ORDER BY id`)
	}
	for i, c := range []struct {
		age  time.Duration
		n    int
		left []string
	}{
		{50 * time.Hour, 0, ids},
		{49 * time.Hour, 2, ids[2:]},
		{49 * time.Hour, 0, ids[2:]},
		{41 * time.Hour, 1, ids[3:]},
	} {
		n, err := b.ExpireEvents(t.Context(), now.Add(-c.age), 5)
		if err != nil || n != c.n {
			t.Errorf("%d: %d, %v", i, n, err)
		}
		if diff := cmp.Diff(c.left, left()); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
	want := []string{ids[0] + " running", ids[3] + " available", ids[4] + " available"}
	if diff := cmp.Diff(want, b.errandTickets(t)); diff != "" {
		t.Errorf("tickets (-want +got):\n%s", diff)
	}
	if n, err := b.ExpireEvents(t.Context(), now.Add(time.Hour), 1); n != 1 || err != nil || !slices.Equal(left(), ids[4:]) {
		t.Errorf("a limit of one: %d, %v, %v are left", n, err, left())
	}
	if len(b.lines(t, `SELECT id FROM generation`)) != len(ages) {
		t.Error("a generation is gone with its events")
	}
}

func TestExpireWebhookSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	for n, expires := range []any{nil, now.Add(-time.Minute), now.Add(time.Minute)} {
		b.exec(t, `INSERT INTO webhook_secret (owner, n, org_id, sealed, last4, expires_at) VALUES ('whep_1', $1, 'org_1', 'x', 'abcd', $2)`, n, expires)
	}
	if err := b.ExpireWebhookSecrets(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0", "2"}, b.lines(t, `SELECT n::text FROM webhook_secret ORDER BY n`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGenerationsByID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	found, err := b.GenerationsByID(t.Context(), b.project.ID, []string{g.ID, "gen_unknown"})
	if err != nil || len(found) != 1 || found[0].ID != g.ID {
		t.Errorf("%v, %v", found, err)
	}
	found, err = b.GenerationsByID(t.Context(), "proj_other", []string{g.ID, other.ID})
	if err != nil || len(found) > 0 {
		t.Errorf("another project sees %d, %v", len(found), err)
	}
}
