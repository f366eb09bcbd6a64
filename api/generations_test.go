package api_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

func TestCreateGeneration_AnswersAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.live, "POST", "/v1/generations", `{
		"prompt": "a <banana> & a moon", "model": "dall-e-3", "n": 2, "size": "1280x896", "style": "vivid", "quality": "hd",
		"output_format": "webp", "output_compression": 80, "background": "opaque", "seed": 7, "negative_prompt": "no text",
		"metadata": {"order": "42"}, "tags": ["fruit"], "user": "u1", "deadline_seconds": 60, "priority": "batch"}`)
	if a.status != http.StatusAccepted {
		t.Fatalf("status %d, %s", a.status, a.body)
	}
	id := a.json["id"].(string)
	want := map[string]any{
		"object": "generation", "kind": "generate", "status": "queued", "prompt": "a <banana> & a moon",
		"model": "dall-e-3", "model_used": "gpt-image-2.6-flare",
		"model_notice": "dall-e-3 was shut down by its maker on 2026-05-12; gpt-image-2.6-flare serves it here",
		"provider":     "gemini", "simulated": false, "test": false, "image_errors": []any{}, "requested_n": 2.0,
		"usage": nil, "downgraded": nil, "style": "vivid", "quality": "hd", "format": "webp", "output_compression": 80.0,
		"background": "opaque", "seed": 7.0, "size": "1280x896", "aspect_ratio": nil, "resolution": "1K",
		"negative_prompt": "no text", "priority": "batch", "queue_position": nil, "eta_seconds": 12.0, "progress": 0.0, "stage": "waiting",
		"attempts": []any{}, "error": nil, "project_id": b.project.ID, "metadata": map[string]any{"order": "42"},
		"tags": []any{"fruit"}, "started_at": nil, "completed_at": nil, "expires_at": nil, "data_removed": false,
		"timings": map[string]any{"queue_ms": nil, "provider_ms": nil, "upload_ms": nil},
		"webhook": map[string]any{"url": nil, "events": []any{}, "deliveries": 0.0},
		"urls": map[string]any{
			"self": "/v1/generations/" + id, "cancel": "/v1/generations/" + id + "/cancel", "events": "/v1/generations/" + id + "/events?sig=" + b.signer.SignEvents(id),
		},
	}
	got := a.json
	images := got["images"].([]any)
	for _, varying := range []string{"id", "url", "created_at", "created", "deadline_at", "images"} {
		if got[varying] == nil {
			t.Errorf("%s is missing", varying)
		}
		delete(got, varying)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	for i, img := range images {
		imageID := store.ImageID(id, i)
		wantURL := b.url + "/v1/images/" + imageID + "/content?sig=" + b.signer.Sign(imageID)
		got := []any{img.(map[string]any)["url"], img.(map[string]any)["thumbnail_url"]}
		if diff := cmp.Diff([]any{wantURL, wantURL + "&variant=thumbnail"}, got); diff != "" {
			t.Errorf("URLs of image %d (-want +got):\n%s", i, diff)
		}
	}
	wantHeader := []string{"/v1/generations/" + id, "12", "", "nosniff"}
	gotHeader := []string{
		a.header.Get("Location"), a.header.Get("Retry-After"), a.header.Get("Idempotent-Replayed"), a.header.Get("X-Content-Type-Options"),
	}
	if diff := cmp.Diff(wantHeader, gotHeader); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if !strings.Contains(a.body, "a <banana> & a moon") {
		t.Error("the prompt is escaped")
	}
}

func TestCreateGeneration_AliasAndBaseURL(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.BaseURL = "https://img.example.com/" })
	a := b.do(b.test, "POST", "/v1/generate", `{"prompt":"x"}`)
	if a.status != 202 || a.json["provider"] != "simulator" || a.json["simulated"] != true || a.json["test"] != true {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if url := a.json["url"].(string); !strings.HasPrefix(url, "https://img.example.com/v1/images/img_") {
		t.Errorf("url %s", url)
	}
}

func TestGeneration_Receipt(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("pay_as_you_go")
	id := b.done(b.live, `{"prompt":"x"}`, []byte("image bytes"))
	a := b.do(b.live, "GET", "/v1/generations/"+id, "")
	want := map[string]any{
		"prompt_tokens": 23.0, "image_tokens": 1120.0, "text_tokens": 5.0, "total_tokens": 1148.0, "billable_images": 1.0,
		"cost": map[string]any{
			"amount": "0.0200", "currency": "usd", "unit": "credit", "unit_price": "0.0200", "credits": 1.0, "images": 1.0,
			"credits_released": 0.0, "release_reason": nil,
		},
	}
	if diff := cmp.Diff(want, a.json["usage"]); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	image := a.json["images"].([]any)[0].(map[string]any)
	delete(image, "url")
	if image["expires_at"] == nil || image["expires_at"] != a.json["expires_at"] {
		t.Errorf("expires_at of the image is %v, of the generation %v", image["expires_at"], a.json["expires_at"])
	}
	delete(image, "expires_at")
	delete(image, "thumbnail_url")
	wantImage := map[string]any{
		"id": store.ImageID(id, 0), "index": 0.0, "filetype": "png", "size": "1024x1024", "width": 1024.0, "height": 1024.0,
		"bytes": 11.0, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte("image bytes"))),
		"thumbhash": nil, "original": nil,
	}
	if diff := cmp.Diff(wantImage, image); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	attempt := a.json["attempts"].([]any)[0].(map[string]any)
	if attempt["outcome"] != "succeeded" || attempt["model"] != "gemini-nano-banana-2.1" || attempt["ms"] == nil {
		t.Errorf("attempt %v", attempt)
	}
	if got := []any{a.json["progress"], a.json["stage"], a.json["eta_seconds"], a.header.Get("Retry-After"), a.header.Get("X-NB-Cost-Micros")}; !cmp.Equal([]any{1.0, "done", nil, "", "20000"}, got) {
		t.Errorf("progress, stage, eta, Retry-After, cost: %v", got)
	}
}

func TestGeneration_Failed(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	b.end(b.claim(id), &store.Outcome{Status: store.StatusFailed, Error: &store.GenerationError{
		Code: "content_moderated", Message: "The prompt was refused.", Provider: "gemini", Reason: "PROHIBITED_CONTENT", Stage: "input",
	}})
	a := b.do(b.live, "GET", "/v1/generations/"+id, "")
	want := map[string]any{
		"code": "content_moderated", "message": "The prompt was refused.", "retryable": false, "attempts": 1.0, "charged": false,
		"moderation": map[string]any{"stage": "input", "provider": "gemini", "provider_reason": "PROHIBITED_CONTENT"},
	}
	if diff := cmp.Diff(want, a.json["error"]); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{}, a.json["images"]); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestGeneration_ImageErrorsCountTheirAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","n":2}`)
	claim := b.claim(id) // which begins an attempt for the first image
	_, err := b.db.BeginAttempt(t.Context(), claim, store.NewAttempt{ImageIndex: 1, Route: "gemini", Provider: "gemini", Model: "gemini-nano-banana-2.1"}, nil, nil)
	b.must(err)
	failure := store.GenerationError{Code: "provider_error", Message: "It failed."}
	b.end(claim, &store.Outcome{
		Status: store.StatusFailed, Error: &failure,
		ImageErrors: []store.ImageError{{Index: 0, Error: failure}, {Index: 1, Error: failure}},
	})
	a := b.do(b.live, "GET", "/v1/generations/"+id, "")
	var got []any
	for _, e := range a.json["image_errors"].([]any) {
		got = append(got, e.(map[string]any)["error"].(map[string]any)["attempts"])
	}
	if diff := cmp.Diff([]any{1.0, 1.0}, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s\n%s", diff, a.body)
	}
}

func TestGetGeneration_ETag(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	path := "/v1/generations/" + id
	first := b.do(b.live, "GET", path, "")
	if first.json["queue_position"] != 1.0 {
		t.Errorf("queue_position %v, want 1", first.json["queue_position"])
	}
	tag := first.header.Get("ETag")
	same := b.do(b.live, "GET", path, "", "If-None-Match: \"other\", "+tag)
	if same.status != http.StatusNotModified || same.body != "" || same.header.Get("Retry-After") == "" {
		t.Errorf("unchanged: status %d, %q, Retry-After %q", same.status, same.body, same.header.Get("Retry-After"))
	}
	b.finish(b.claim(id), []byte("x"))
	if changed := b.do(b.live, "GET", path, "", "If-None-Match: "+tag); changed.status != 200 || changed.header.Get("ETag") == tag {
		t.Errorf("changed: status %d, ETag %s", changed.status, changed.header.Get("ETag"))
	}
}

func TestGetGeneration_QueuePositionBehindTheCap(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	_, err := b.db.Pool().Exec(t.Context(), `INSERT INTO worker (id, slots, batch_slots, seen_at) VALUES ('w', 1, 0, 'infinity')`)
	b.must(err)
	ids := []string{b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`)}
	ids = append(ids, b.submit(b.live, `{"prompt":"x","priority":"batch"}`))
	positions := func() []any {
		var list []any
		for _, id := range ids {
			a := b.do(b.live, "GET", "/v1/generations/"+id, "")
			list = append(list, a.json["status"], a.json["priority"], a.json["queue_position"])
		}
		return list
	}
	want := []any{"queued", "standard", 1.0, "queued", "standard", 2.0, "queued", "standard", 3.0, "queued", "batch", 1.0}
	if diff := cmp.Diff(want, positions()); diff != "" {
		t.Errorf("status, priority and position of each (-want +got):\n%s", diff)
	}
	b.do(b.live, "POST", "/v1/generations/"+ids[0]+"/cancel", "")
	want = []any{"canceled", "standard", nil, "queued", "standard", 1.0, "queued", "standard", 2.0, "queued", "batch", 1.0}
	if diff := cmp.Diff(want, positions()); diff != "" {
		t.Errorf("after the first was canceled (-want +got):\n%s", diff)
	}
}

func TestCancelGeneration(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	queued, running := b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`)
	b.claim(running)
	finished := b.done(b.live, `{"prompt":"x"}`, []byte("x"))
	for name, c := range map[string]struct{ id, want string }{
		"Queued": {queued, "canceled"}, "Running": {running, "canceled"}, "Finished": {finished, "succeeded"},
	} {
		for range 2 {
			a := b.do(b.live, "POST", "/v1/generations/"+c.id+"/cancel", "")
			if a.status != 200 || a.json["status"] != c.want {
				t.Errorf("%s: status %d, %v, want %s", name, a.status, a.json["status"], c.want)
			}
		}
	}
}

func TestDeleteGeneration(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.done(b.live, `{"prompt":"private","metadata":{"a":"b"},"tags":["t"]}`, []byte("x"))
	url := "/v1/images/" + store.ImageID(id, 0) + "/content"
	live := b.submit(b.live, `{"prompt":"private"}`)
	for range 2 {
		for _, path := range []string{id, live} {
			if a := b.do(b.live, "DELETE", "/v1/generations/"+path, ""); a.status != 204 || a.body != "" {
				t.Errorf("status %d, %q, want 204 without a body", a.status, a.body)
			}
		}
	}
	a := b.do(b.live, "GET", "/v1/generations/"+id, "")
	if a.json["data_removed"] != true || strings.Contains(a.body, "private") || len(a.json["images"].([]any)) != 0 {
		t.Errorf("after the deletion: %s", a.body)
	}
	if a := b.do(b.live, "GET", url, ""); a.status != 410 || a.code() != "data_removed" {
		t.Errorf("the image: %d %s, want 410 data_removed", a.status, a.code())
	}
	if a := b.do(b.live, "GET", "/v1/generations/"+live, ""); a.json["status"] != "canceled" {
		t.Errorf("the live one is %v, want canceled", a.json["status"])
	}
}

// The receipt says of every call who was asked over which account, how long it
// took, how it ended and what was counted.
func TestGeneration_ReceiptOfEveryCall(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	claim := b.claim(id)
	n, err := b.db.BeginAttempt(t.Context(), claim, store.NewAttempt{Route: "openai", Provider: "openai", Model: "gpt-image-2"}, nil, nil)
	b.must(err)
	b.must(b.db.RerouteAttempt(t.Context(), claim, 1, store.NewAttempt{Route: "gemini-2", Provider: "gemini", Model: "gemini-nano-banana-2.1"}))
	start := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	b.end(claim, &store.Outcome{Status: store.StatusFailed, ModelUsed: "banana-pro", Error: &store.GenerationError{Code: "provider_error"}, Attempts: []*store.AttemptOutcome{
		{GenerationID: id, N: 1, Outcome: "rate_limited", Code: "RESOURCE_EXHAUSTED", StartedAt: start, FinishedAt: start.Add(time.Second)},
		{GenerationID: id, N: n, Outcome: "no_image", StartedAt: start.Add(2 * time.Second), FinishedAt: start.Add(5 * time.Second), PromptTokens: 23, TextTokens: 5, CostMicros: 73},
	}})
	a := b.do(b.live, "GET", "/v1/generations/"+id, "")
	want := []any{
		map[string]any{
			"image_index": 0.0, "provider": "gemini", "account": "gemini-2", "model": "gemini-nano-banana-2.1",
			"started_at": "2026-11-21T10:00:00Z", "ms": 1000.0, "outcome": "rate_limited", "error": "RESOURCE_EXHAUSTED",
			"tokens": nil,
		},
		map[string]any{
			"image_index": 0.0, "provider": "openai", "account": "openai", "model": "gpt-image-2",
			"started_at": "2026-11-21T10:00:02Z", "ms": 3000.0, "outcome": "no_image", "error": nil,
			"tokens": map[string]any{"prompt": 23.0, "image": 0.0, "text": 5.0},
		},
	}
	if diff := cmp.Diff(want, a.json["attempts"]); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	timings := a.json["timings"].(map[string]any)
	if timings["provider_ms"] != 5000.0 || timings["queue_ms"] == nil || a.json["provider"] != "openai" || a.json["model_used"] != "banana-pro" {
		t.Errorf("timings %v, provider %v, model used %v; want 5000 ms of openai, banana-pro", timings, a.json["provider"], a.json["model_used"])
	}
}
