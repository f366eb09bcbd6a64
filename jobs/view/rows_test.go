package view_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// Each generation is shown with rows of its own, and no more is asked of the
// database than there can be.
func TestViewer_Load(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	org, err := db.CreateOrg(t.Context(), "org", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	project, err := db.CreateProject(t.Context(), org.ID, "project")
	if err != nil {
		t.Fatal(err)
	}
	var rows []*store.NewGeneration
	for range 3 { // one stays queued, one runs, one ends
		rows = append(rows, &store.NewGeneration{
			ID: store.NewGenerationID(), OrgID: org.ID, ProjectID: project.ID, APIKeyID: "key_1", Kind: store.KindGenerate, Model: "banana",
			ModelUsed: "banana", Prompt: "a banana", N: 1, CreatedAt: time.Now(), DeadlineAt: time.Now().Add(time.Hour),
		})
	}
	if err := db.InsertGenerations(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	var tickets []store.Ticket
	for _, row := range rows[1:] {
		tickets = append(tickets, store.Ticket{GenerationID: row.ID, RiverJobID: *row.RiverJobID})
	}
	claims, err := db.ClaimGenerations(t.Context(), store.Claimer{Worker: "w", Calls: map[string]store.NewAttempt{
		store.CallKey(false, "banana"): {Route: "main", Provider: "gemini", Model: "gemini-nano-banana-2.1"},
	}}, tickets)
	if err != nil || claims[1] == nil {
		t.Fatal(claims, err)
	}
	last := claims[1]
	if _, err := db.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{{
		GenerationID: last.ID, Fence: last.Fence, Status: store.StatusSucceeded,
		Images: []*store.NewImage{{
			ID: store.ImageID(last.ID, 0), GenerationID: last.ID, BlobKey: "k", MediaType: "image/png", Bytes: 3, Width: 1, Height: 1, SHA256: []byte{1},
		}},
		Attempts: []*store.AttemptOutcome{{GenerationID: last.ID, N: 1, Outcome: store.AttemptSucceeded, FinishedAt: time.Now()}},
	}}); err != nil {
		t.Fatal(err)
	}
	var list []*store.Generation
	for _, row := range rows {
		g, err := db.Generation(t.Context(), project.ID, row.ID)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, g)
	}
	type found struct{ Images, Made, Attempts, Queries int }
	load := func(project string, list ...*store.Generation) (all []found) {
		before := db.Pool().Stat().AcquireCount()
		views, err := newViewer().Load(t.Context(), db, project, base, list)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range views {
			f := found{Images: len(v.Images), Attempts: len(v.Attempts), Queries: int(db.Pool().Stat().AcquireCount() - before)}
			for _, image := range v.Images {
				if image.Bytes != nil {
					f.Made++
				}
			}
			if v.ID != list[i].ID {
				t.Errorf("%s stands in the place of %s", v.ID, list[i].ID)
			}
			all = append(all, f)
		}
		return all
	}
	for name, c := range map[string]struct{ want, got []found }{
		"Queued":       {[]found{{1, 0, 0, 0}}, load(project.ID, list[0])},
		"Running":      {[]found{{1, 0, 1, 1}}, load(project.ID, list[1])},
		"Ended":        {[]found{{1, 1, 1, 2}}, load(project.ID, list[2])},
		"Together":     {[]found{{1, 1, 1, 2}, {1, 0, 0, 2}, {1, 0, 1, 2}}, load(project.ID, list[2], list[0], list[1])},
		"AsOf":         {[]found{{1, 0, 0, 0}}, load(project.ID, view.AsOf(list[2], store.StatusProcessing))},
		"OtherProject": {[]found{{0, 0, 0, 2}}, load("proj_other", list[2])},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
