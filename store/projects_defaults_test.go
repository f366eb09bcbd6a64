package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// A generation without a webhook_url gets its project's; one with keeps its own.
func TestSubmitGenerations_TheProjectsWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second, err := b.InsertProject(t.Context(), store.Project{
		ID: store.NewProjectID(), OrgID: b.project.OrgID, Name: "second",
		WebhookURL: ptr("https://example.com/usual"), WebhookEvents: []string{"generation.*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := func(g *store.NewGeneration) { g.ProjectID = second.ID }
	none, usual := b.unqueued(nil), b.unqueued(in)
	own := b.unqueued(func(g *store.NewGeneration) {
		in(g)
		g.WebhookURL, g.WebhookEvents = ptr("https://example.com/own"), []string{"generation.failed"}
	})
	type hook struct {
		URL    *string
		Events []string
	}
	rows := []*store.NewGeneration{none, usual, own}
	if err := b.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	wants := []hook{
		{},
		{ptr("https://example.com/usual"), []string{"generation.*"}},
		{ptr("https://example.com/own"), []string{"generation.failed"}},
	}
	for i, row := range rows {
		stored, err := b.Generation(t.Context(), row.ProjectID, row.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wants[i], hook{stored.WebhookURL, stored.WebhookEvents}); diff != "" {
			t.Errorf("generation %d is stored with (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff(wants[i], hook{row.Row().WebhookURL, row.Row().WebhookEvents}); diff != "" {
			t.Errorf("generation %d is answered with (-want +got):\n%s", i, diff)
		}
	}
	told := b.count(t, `SELECT count(*)::int FROM webhook_delivery WHERE project_id = $1 AND endpoint_id = 'request'`, second.ID)
	if told != 1 {
		t.Errorf("%d webhooks are told that a generation is queued, want the project's", told)
	}
}

func TestFinishGenerations_RetentionIsTheShorter(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		org, project *int
		want         *time.Duration
	}{
		"none":           {nil, nil, nil},
		"org's":          {ptr(30), nil, ptr(30 * day)},
		"project's":      {nil, ptr(7), ptr(7 * day)},
		"shorter":        {ptr(30), ptr(7), ptr(7 * day)},
		"plan downgrade": {ptr(30), ptr(365), ptr(30 * day)},
	} {
		b := setup(t)
		b.exec(t, `UPDATE org SET retention_days = $1`, c.org)
		b.exec(t, `UPDATE project SET retention_days = $1`, c.project)
		g := b.queued(t, nil)
		b.finish(t, succeeded(b.claim(t, g.ID)))
		var got *time.Duration
		if err := b.Pool().QueryRow(t.Context(), `SELECT expires_at - created_at FROM image`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// However many projects there are, submitting and finishing look one of them up.
func TestPlans_OneProjectIsRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `
		INSERT INTO project (id, org_id, name, slug)
		SELECT 'proj_' || i, $1, i, 'slug-' || i FROM generate_series(1, 5000) AS i`, b.project.OrgID)
	n := b.rowsRead(t, func(tx *store.DB) error {
		g := b.unqueued(nil)
		if err := tx.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
			return err
		}
		claims, err := tx.ClaimGenerations(t.Context(), claimer, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
		if err != nil {
			return err
		}
		_, err = tx.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{succeeded(claims[0])})
		return err
	})
	if n > 1000 {
		t.Errorf("%d rows are read", n)
	}
}
