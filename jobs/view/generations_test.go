package view_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden holds a value's JSON against a file.
func golden(t *testing.T, path string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestViewer_Generation(t *testing.T) {
	t.Parallel()
	g, images, attempts := sample()
	golden(t, "testdata/generation.json", newViewer().Generation(base, g, images, attempts))
}

// What an event of an earlier state shows does not depend on what came later, nor
// on when it is read.
func TestViewer_GenerationAsOf(t *testing.T) {
	t.Parallel()
	for _, status := range []store.Status{store.StatusQueued, store.StatusProcessing} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			ended, images, attempts := sample()
			at := newViewer().At(*after(2 * time.Second))
			shown := at.Generation(base, view.AsOf(ended, status), images, attempts)
			golden(t, "testdata/generation_"+string(status)+".json", shown)

			live, _, _ := sample()
			live.Status, live.Fence, live.Error, live.ImageErrors, live.FinishedAt = status, 0, nil, nil, nil
			if status == store.StatusQueued {
				live.StartedAt = nil
			}
			if diff := cmp.Diff(at.Generation(base, live, nil, nil), shown); diff != "" {
				t.Errorf("it was shown otherwise then (-then +now):\n%s", diff)
			}
		})
	}
}

func TestAsOf(t *testing.T) {
	t.Parallel()
	g, _, _ := sample()
	g.Error = &store.GenerationError{Code: "internal_error"}
	queued := *g
	queued.Status, queued.Fence, queued.Tries, queued.Attempts, queued.Worker = store.StatusQueued, 0, 0, 0, nil
	queued.Error, queued.ImageErrors, queued.StartedAt, queued.FinishedAt = nil, nil, nil, nil
	processing := queued
	processing.Status, processing.StartedAt = store.StatusProcessing, g.StartedAt
	before := *g
	for status, want := range map[store.Status]*store.Generation{
		store.StatusQueued: &queued, store.StatusProcessing: &processing, store.StatusSucceeded: &before,
	} {
		got := view.AsOf(g, status)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", status, diff)
		}
		got.Prompt = "changed"
	}
	if diff := cmp.Diff(&before, g); diff != "" {
		t.Errorf("the original has changed (-want +got):\n%s", diff)
	}
}

// A running generation nears its end with the clock, and never reaches it.
func TestViewer_Guesses(t *testing.T) {
	t.Parallel()
	g, _, attempts := sample()
	g.Status, g.FinishedAt = store.StatusProcessing, nil
	type guess struct {
		Progress float64
		ETA      int
	}
	at := func(moment time.Duration) guess {
		shown := newViewer().At(*after(moment)).Generation(base, g, nil, attempts)
		return guess{shown.Progress, *shown.ETASeconds}
	}
	start, end := at(time.Second), at(time.Hour)
	if diff := cmp.Diff(guess{0.95, 1}, end); diff != "" {
		t.Errorf("an hour later (-want +got):\n%s", diff)
	}
	if start.Progress != 0 || start.ETA < 2 {
		t.Errorf("at its start it is %+v", start)
	}
	half := at(time.Second + time.Duration(start.ETA)*time.Second/2)
	if half.Progress < 0.4 || half.Progress > 0.6 || half.ETA >= start.ETA {
		t.Errorf("half way it is %+v, after %+v", half, start)
	}
}

func TestViewer_LiveProvider(t *testing.T) {
	t.Parallel()
	g, _, _ := sample()
	g.Fence = 0
	for want, live := range map[string][]string{"simulator": nil, "gemini": {"openai", "gemini"}, "openai": {"openai"}} {
		v := view.New(view.Options{SignImage: func(string) string { return "" }, LiveProviders: live})
		if diff := cmp.Diff(want, v.Generation(base, g, nil, nil).Provider); diff != "" {
			t.Errorf("%v (-want +got):\n%s", live, diff)
		}
	}
}

// A quality that was lowered is shown with the one it was.
func TestViewer_Downgraded(t *testing.T) {
	t.Parallel()
	g, images, attempts := sample()
	for name, c := range map[string]struct {
		params store.Params
		want   *view.Downgraded
	}{
		"AsAsked": {store.Params{Quality: "low"}, nil},
		"Lowered": {store.Params{Quality: "low", DowngradedFrom: "high"}, &view.Downgraded{From: "high", To: "low", Reason: "budget"}},
	} {
		g.Params = c.params
		if diff := cmp.Diff(c.want, newViewer().Generation(base, g, images, attempts).Downgraded); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
