package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// ended ends a claimed run with images of these credits, and errors for what is missing.
func (b *bundle) ended(c *store.Claim, credits []int, missing ...int) {
	b.Helper()
	o := &store.Outcome{Status: store.StatusSucceeded, Charge: new(0), Attempts: []*store.AttemptOutcome{{
		GenerationID: c.ID, N: 1, Outcome: store.AttemptSucceeded, FinishedAt: time.Now(), ImageTokens: 1120, CostMicros: 33_673,
	}}}
	for i, n := range credits {
		*o.Charge += n
		o.Images = append(o.Images, &store.NewImage{
			ID: store.ImageID(c.ID, i), GenerationID: c.ID, Index: i, BlobKey: fmt.Sprint(c.ID, i), MediaType: "image/png",
			Bytes: 1, Width: 1024, Height: 1024, SHA256: []byte{1}, Credits: &n,
		})
	}
	for _, i := range missing {
		o.ImageErrors = append(o.ImageErrors, store.ImageError{Index: i, Error: store.GenerationError{Code: "content_moderated", Message: "refused"}})
	}
	b.end(c, o)
}

// without returns a JSON object without what varies.
func without(v any, names ...string) map[string]any {
	object, _ := v.(map[string]any)
	for _, name := range names {
		delete(object, name)
	}
	return object
}

func usd(amount string) map[string]any { return map[string]any{"amount": amount, "currency": "usd"} }

func TestReceipt(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("hobby")
	id := b.submit(b.live, `{"prompt":"x","model":"banana","size":"2048x2048","n":3}`)
	path := "/v1/generations/" + id + "/receipt"
	begins, ends := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	want := map[string]any{
		"object": "receipt", "generation_id": id, "status": "queued", "free": false, "plan": "hobby", "release_reason": nil,
		"period":  map[string]any{"starts_at": begins.Format(time.RFC3339), "ends_at": ends.Format(time.RFC3339)},
		"credits": map[string]any{"reserved": 6.0, "charged": 0.0, "released": 0.0, "per_image": 2.0}, "unit_price": "0.0180", "cost": usd("0.0000"),
		"entries": []any{map[string]any{"kind": "reserve", "credits": 6.0, "released": 0.0, "reason": nil, "batch_id": nil}}, "attempts": []any{},
	}
	line := func(i int, credits float64, cost string, reason any) map[string]any {
		return map[string]any{"index": float64(i), "image_id": nil, "delivered": false, "reason": reason, "model": nil, "credits": credits, "cost": usd(cost)}
	}
	want["lines"] = []any{line(0, 0, "0.0000", "pending"), line(1, 0, "0.0000", "pending"), line(2, 0, "0.0000", "pending")}
	check := func(when string, a *answer, cost string) {
		t.Helper()
		for _, e := range a.json["entries"].([]any) {
			without(e, "at")
		}
		for _, attempt := range a.json["attempts"].([]any) {
			without(attempt, "started_at", "ms")
		}
		if diff := cmp.Diff(want, a.json); diff != "" || a.header.Get("X-NB-Cost-Micros") != cost {
			t.Errorf("%s, the header has %q (-want +got):\n%s", when, a.header.Get("X-NB-Cost-Micros"), diff)
		}
	}
	check("queued", b.do(b.live, "GET", path, ""), "")

	b.ended(b.claim(id), []int{2, 1}, 2)
	want["status"], want["release_reason"], want["cost"] = "succeeded", "content_moderated", usd("0.0540")
	want["credits"] = map[string]any{"reserved": 6.0, "charged": 3.0, "released": 3.0, "per_image": 2.0}
	made, substituted := line(0, 2, "0.0360", nil), line(1, 1, "0.0180", "substituted")
	made["delivered"], made["image_id"], made["model"] = true, store.ImageID(id, 0), "banana"
	substituted["delivered"], substituted["image_id"] = true, store.ImageID(id, 1)
	want["lines"] = []any{made, substituted, line(2, 0, "0.0000", "content_moderated")}
	want["entries"] = append(want["entries"].([]any), map[string]any{"kind": "settle", "credits": 3.0, "released": 3.0, "reason": "content_moderated", "batch_id": nil})
	want["attempts"] = []any{map[string]any{"image_index": 0.0, "provider": "gemini", "model": "gemini-nano-banana-2.1", "outcome": "succeeded"}}
	check("succeeded", b.do(b.live, "GET", path, ""), "54000")

	shown := b.do(b.live, "GET", "/v1/generations/"+id, "").json["usage"].(map[string]any)["cost"]
	events := b.do(b.live, "GET", "/v1/events?order=asc", "").json["data"].([]any)
	told := events[len(events)-1].(map[string]any)["data"].(map[string]any)["usage"].(map[string]any)["cost"]
	wantCost := map[string]any{
		"amount": "0.0540", "currency": "usd", "unit": "credit", "unit_price": "0.0180", "credits": 3.0, "images": 2.0,
		"credits_released": 3.0, "release_reason": "content_moderated",
	}
	if diff := cmp.Diff([]any{wantCost, wantCost}, []any{shown, told}); diff != "" {
		t.Errorf("cost in the generation and its event (-want +got):\n%s", diff)
	}

	// What it cost is told for as long as the generation is.
	if a := b.do(b.live, "DELETE", "/v1/generations/"+id, ""); a.status != http.StatusNoContent {
		t.Fatal(a.body)
	}
	check("removed", b.do(b.live, "GET", path, ""), "54000")
	if a := b.do(b.other, "GET", path, ""); a.code() != "not_found" {
		t.Errorf("another project's: %s", a.body)
	}
	if a := b.do(b.test, "GET", path, ""); a.code() != "not_found" {
		t.Errorf("with a test key: %s", a.body)
	}
}

// What a run has delivered before the cancel came is charged as it would be at the end.
func TestReceipt_CanceledAfterAnImage(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("hobby")
	id := b.submit(b.live, `{"prompt":"x","model":"banana","size":"2048x2048","n":2}`)
	c := b.claim(id)
	b.end(c, &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusQueued, Images: []*store.NewImage{{
		ID: store.ImageID(c.ID, 1), GenerationID: c.ID, Index: 1, BlobKey: c.ID, MediaType: "image/png",
		Bytes: 1, Width: 2048, Height: 2048, SHA256: []byte{1}, Credits: new(2),
	}}})
	a := b.do(b.live, "POST", "/v1/generations/"+id+"/cancel", "")
	usage, _ := a.json["usage"].(map[string]any)
	if a.json["status"] != "canceled" || a.header.Get("X-NB-Cost-Micros") != "36000" || usage["billable_images"] != 1.0 {
		t.Errorf("canceled, it costs %q: %s", a.header.Get("X-NB-Cost-Micros"), a.body)
	}
	a = b.do(b.live, "GET", "/v1/generations/"+id+"/receipt", "")
	got := []any{a.json["credits"], a.json["release_reason"]}
	for _, l := range a.json["lines"].([]any) {
		got = append(got, without(l, "index", "model"))
	}
	want := []any{
		map[string]any{"reserved": 4.0, "charged": 2.0, "released": 2.0, "per_image": 2.0}, "canceled",
		map[string]any{"image_id": nil, "delivered": false, "reason": "canceled", "credits": 0.0, "cost": usd("0.0000")},
		map[string]any{"image_id": store.ImageID(id, 1), "delivered": true, "reason": nil, "credits": 2.0, "cost": usd("0.0360")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

func TestReceipt_OfATestKeyIsFree(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("hobby")
	id := b.done(b.test, `{"prompt":"x"}`, []byte("image"))
	a := b.do(b.test, "GET", "/v1/generations/"+id+"/receipt", "")
	got := without(a.json, "lines", "attempts")
	want := map[string]any{
		"object": "receipt", "generation_id": id, "status": "succeeded", "free": true, "plan": nil, "period": nil, "release_reason": nil,
		"credits": map[string]any{"reserved": 0.0, "charged": 0.0, "released": 0.0, "per_image": 0.0}, "unit_price": "0.0000", "cost": usd("0.0000"), "entries": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

// Of a batch's reservation each generation has its own part.
func TestReceipt_OfABatch(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("hobby")
	queue, err := jobs.NewQueue(jobs.Options{DB: b.db})
	b.must(err)
	t.Cleanup(queue.Close)
	of := func(model string) jobs.Submission {
		return jobs.Submission{OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", Request: jobs.GenerationRequest{Prompt: "x", Model: model}}
	}
	batch, list, err := queue.SubmitBatch(t.Context(), []jobs.Submission{of("banana"), of("banana-pro")})
	b.must(err)
	a := b.do(b.live, "POST", "/v1/generations/"+list[1].ID+"/cancel", "")
	if a.header.Get("X-NB-Cost-Micros") != "0" {
		t.Errorf("canceled, it costs %q", a.header.Get("X-NB-Cost-Micros"))
	}
	a = b.do(b.live, "GET", "/v1/generations/"+list[1].ID+"/receipt", "")
	var got []map[string]any
	for _, e := range a.json["entries"].([]any) {
		got = append(got, without(e, "at"))
	}
	want := []map[string]any{
		{"kind": "reserve", "credits": 4.0, "released": 0.0, "reason": nil, "batch_id": batch},
		{"kind": "release", "credits": 4.0, "released": 4.0, "reason": "canceled", "batch_id": nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
