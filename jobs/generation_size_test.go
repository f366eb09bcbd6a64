package jobs_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
)

// TestSubmit_PromisesPixels reads what a submission promises and what the model is
// asked for.
func TestSubmit_PromisesPixels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		request jobs.GenerationRequest
		want    string // pixels, ratio, resolution
	}{
		"Nothing":      {jobs.GenerationRequest{}, "1024x1024 1:1 1K"},
		"Auto":         {jobs.GenerationRequest{Size: "auto"}, "1024x1024 1:1 1K"},
		"Standard":     {jobs.GenerationRequest{Size: "1280x896"}, "1280x896 3:2 2K"},
		"StandardLite": {jobs.GenerationRequest{Size: "1408x768", Model: "banana-lite"}, "1408x768 16:9 1K"},
		"Native":       {jobs.GenerationRequest{Size: "1376x768"}, "1376x768 16:9 1K"},
		"Exact":        {jobs.GenerationRequest{Size: "1008x784", Model: "gpt-image"}, "1008x784  1K"},
		"ExactCut":     {jobs.GenerationRequest{Size: "1000x777", Model: "gpt-image"}, "1000x777  1K"},
		"ExactSmall":   {jobs.GenerationRequest{Size: "256x256", Model: "gpt-image"}, "256x256  1K"},
		"Any":          {jobs.GenerationRequest{Size: "500x333"}, "500x333 3:2 1K"},
		"RatioAndSize": {jobs.GenerationRequest{Size: "300x300", AspectRatio: "square"}, "300x300 1:1 1K"},
		"Square":       {jobs.GenerationRequest{AspectRatio: "square"}, "1024x1024 1:1 1K"},
		"Portrait":     {jobs.GenerationRequest{AspectRatio: "portrait"}, "896x1200 3:4 1K"},
		"Landscape":    {jobs.GenerationRequest{AspectRatio: "landscape"}, "1200x896 4:3 1K"},
		"Widescreen":   {jobs.GenerationRequest{AspectRatio: "widescreen"}, "1376x768 16:9 1K"},
		"Ultrawide":    {jobs.GenerationRequest{AspectRatio: "ultrawide"}, "1584x672 21:9 1K"},
		"Vertical":     {jobs.GenerationRequest{AspectRatio: "vertical"}, "768x1376 9:16 1K"},
	} {
		s := b.submission("")
		s.Request = c.request
		s.Request.Prompt = "x"
		accepted, err := b.queue.SubmitGeneration(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g, err := b.db.Generation(t.Context(), b.project.ID, accepted.Generation.ID)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%dx%d %s %s", g.Params.Width, g.Params.Height, g.Params.AspectRatio, g.Params.Resolution)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
