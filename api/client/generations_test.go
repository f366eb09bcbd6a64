package client_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestSubmit_SendsWhatIsSet(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(202, `{"id":"gen_1","status":"queued"}`))
	seed, percent := int32(0), 80
	_, err := b.Submit(t.Context(), &client.GenerateRequest{
		Prompt: "a banana", Model: "banana-pro", N: 2, Size: "1024x1024", Style: "vivid", NegativePrompt: "text",
		Quality: "high", Format: "jpeg", Compression: &percent, Background: "opaque", Seed: &seed,
		Metadata: map[string]string{"a": "b"}, Tags: []string{"t"}, Deadline: 60, IdempotencyKey: "mine",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`POST /v1/generations {"prompt":"a banana","model":"banana-pro","n":2,"size":"1024x1024","style":"vivid",` +
		`"negative_prompt":"text","quality":"high","format":"jpeg","output_compression":80,"background":"opaque","seed":0,` +
		`"metadata":{"a":"b"},"tags":["t"],"deadline_seconds":60}`}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for header, want := range map[string]string{
		"Idempotency-Key": "mine", "Authorization": "Bearer " + key, "User-Agent": "nanobanana-go", "Content-Type": "application/json",
	} {
		if got := b.sent(0, header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func TestSubmit_ToAnotherService(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"hello":"world"}`))
	if _, err := b.Submit(t.Context(), &client.GenerateRequest{Prompt: "x"}); err == nil {
		t.Error("took an answer without an id for a generation")
	}
}

func TestGeneration_NullsAndRaw(t *testing.T) {
	t.Parallel()
	const body = `{"id":"gen_1","status":"queued","images":[{"id":"img_1","index":0,"url":"http://x/i","filetype":null,"size":null,` +
		`"width":null,"height":null,"bytes":null,"sha256":null,"expires_at":null,"thumbnail_url":"http://x/t","thumbhash":null,"original":null}],"usage":null,"style":null,"seed":null,` +
		`"queue_position":3,"eta_seconds":6,"error":null,"created_at":"2025-01-27T12:00:00Z","deadline_at":"2025-01-27T13:00:00Z",` +
		`"attempts":[{"provider":"gemini","ms":null,"outcome":null,"error":null,"started_at":"2025-01-27T12:00:00Z"}],"novelty":1}`
	b := setup(t, answer(200, body))
	got, err := b.Get(t.Context(), "gen_1")
	if err != nil {
		t.Fatal(err)
	}
	created := time.Date(2025, 1, 27, 12, 0, 0, 0, time.UTC)
	deadline := created.Add(time.Hour)
	want := &client.Generation{
		ID: "gen_1", Status: client.StatusQueued, Images: []client.Image{{ID: "img_1", URL: "http://x/i", ThumbnailURL: "http://x/t"}},
		QueuePosition: 3, ETASeconds: 6, CreatedAt: created, DeadlineAt: &deadline,
		Attempts: []client.Attempt{{Provider: "gemini", StartedAt: created}}, Raw: []byte(body),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("generation (-want +got):\n%s", diff)
	}
}

func TestGeneration_WhatIsBesideAnImage(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"id":"gen_1","images":[{"id":"img_1","thumbhash":"3wcKPxpw",`+
		`"original":{"url":"http://x/o","filetype":"jpeg","bytes":12,"sha256":"ab"}}]}`))
	got, err := b.Get(t.Context(), "gen_1")
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Image{{
		ID: "img_1", Thumbhash: []byte{0xdf, 0x07, 0x0a, 0x3f, 0x1a, 0x70},
		Original: &client.Original{URL: "http://x/o", FileType: "jpeg", Bytes: 12, SHA256: "ab"},
	}}
	if diff := cmp.Diff(want, got.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestGenerate_WaitsForTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(202, `{"id":"gen_1","status":"queued"}`),
		answer(200, `{"id":"gen_1","status":"queued"}`),
		problem(503, "service_unavailable"), // a restart
		answer(200, `{"id":"gen_1","status":"processing"}`),
		answer(200, `{"id":"gen_1","status":"succeeded"}`),
	)
	g, err := b.Generate(t.Context(), &client.GenerateRequest{Prompt: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if g.Status != client.StatusSucceeded {
		t.Errorf("status %q, want succeeded", g.Status)
	}
	wait := "GET /v1/generations/gen_1?wait=20"
	want := []string{`POST /v1/generations {"prompt":"x"}`, wait, wait, wait, wait}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	// The pauses after the answers that came early, and the retry.
	if got := []bool{b.delays[0] == time.Second, b.delays[1] < time.Second, b.delays[2] == time.Second}; !cmp.Equal(got, []bool{true, true, true}) {
		t.Errorf("slept %s", b.delays)
	}
}

func TestGenerate_Failed(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(202, `{"id":"gen_1","status":"queued"}`),
		answer(200, `{"id":"gen_1","status":"failed","error":{"code":"content_moderated","message":"Refused.","retryable":false,
			"attempts":1,"moderation":{"stage":"input","provider":"gemini","provider_reason":"SAFETY"}}}`),
	)
	g, err := b.Generate(t.Context(), &client.GenerateRequest{Prompt: "x"})
	var cause *client.GenerationError
	if !errors.As(err, &cause) || cause.Code != "content_moderated" {
		t.Errorf("err = %v, want content_moderated", err)
	}
	if want := "generation gen_1 failed: Refused. (gemini: SAFETY) [content_moderated]"; err == nil || err.Error() != want {
		t.Errorf("err = %v, want %s", err, want)
	}
	if g == nil || g.Status != client.StatusFailed {
		t.Errorf("generation %v, want the failed one", g)
	}
}

// A canceled generation may have images that are charged for; the error says which.
func TestGeneration_ErrDelivered(t *testing.T) {
	t.Parallel()
	g := &client.Generation{ID: "gen_1", Status: client.StatusCanceled, Images: []client.Image{{URL: "https://x/img_1"}}, Usage: &client.Usage{Cost: client.Cost{Credits: 4}}}
	const want = "generation gen_1 canceled: it was canceled; what was made before stays (images: 1, credits charged: 4): https://x/img_1 [canceled]"
	if got := g.Err(); got == nil || got.Error() != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestGeneration_Err(t *testing.T) {
	t.Parallel()
	for status, code := range map[client.Status]string{
		client.StatusQueued: "", client.StatusProcessing: "", client.StatusSucceeded: "", "an unknown one": "",
		client.StatusFailed: "unknown", client.StatusCanceled: "canceled", client.StatusExpired: "deadline_exceeded",
	} {
		var got string
		var cause *client.GenerationError
		if errors.As((&client.Generation{Status: status}).Err(), &cause) {
			got = cause.Code
		}
		if got != code {
			t.Errorf("%s: code %q, want %q", status, got, code)
		}
	}
}

func TestWait_TellsProgress(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(200, `{"id":"gen_1","status":"queued"}`),
		answer(200, `{"id":"gen_1","status":"processing"}`),
		answer(200, `{"id":"gen_1","status":"canceled"}`),
	)
	var got []client.Status
	c := b.client(t, client.Options{LongPoll: 1500 * time.Millisecond})
	if _, err := c.Wait(t.Context(), "gen_1", func(g *client.Generation) { got = append(got, g.Status) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]client.Status{"queued", "processing", "canceled"}, got); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if got := b.requests()[0]; !strings.HasSuffix(got, "?wait=1") {
		t.Errorf("asked %s, want wait=1", got)
	}
}

func TestCancelAndDelete(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"id":"gen_1","status":"canceled"}`), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}, problem(404, "not_found"))
	if g, err := b.Cancel(t.Context(), "gen_1"); err != nil || g.Status != client.StatusCanceled {
		t.Errorf("cancel: %v, %v", g, err)
	}
	if err := b.Delete(t.Context(), "gen/1"); err != nil {
		t.Errorf("delete: %v", err)
	}
	var refused *client.Error
	if err := b.Delete(t.Context(), "gen_2"); !errors.As(err, &refused) || refused.Code != "not_found" {
		t.Errorf("delete of an unknown one: %v", err)
	}
	want := []string{"POST /v1/generations/gen_1/cancel", "DELETE /v1/generations/gen%2F1", "DELETE /v1/generations/gen_2"}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	first := answer(200, `{"object":"list","data":[{"id":"gen_3"},{"id":"gen_2"}],"has_more":true,"next_cursor":"gen_2"}`)
	last := answer(200, `{"object":"list","data":[{"id":"gen_1"}],"has_more":false,"next_cursor":null}`)
	for name, c := range map[string]struct {
		options  *client.ListOptions
		answers  []http.HandlerFunc
		stopAt   string
		ids      []string
		err      bool
		requests []string
	}{
		"AllPages": {
			answers: []http.HandlerFunc{first, last}, ids: []string{"gen_3", "gen_2", "gen_1"},
			requests: []string{"GET /v1/generations", "GET /v1/generations?after=gen_2"},
		},
		"StopsWithTheLoop": {
			answers: []http.HandlerFunc{first, last}, stopAt: "gen_2", ids: []string{"gen_3", "gen_2"},
			requests: []string{"GET /v1/generations"},
		},
		"ErrorInTheMiddle": {
			answers: []http.HandlerFunc{first, problem(401, "key_revoked")}, ids: []string{"gen_3", "gen_2"}, err: true,
			requests: []string{"GET /v1/generations", "GET /v1/generations?after=gen_2"},
		},
		"SamePageAgain": {
			answers: []http.HandlerFunc{first}, ids: []string{"gen_3", "gen_2", "gen_3", "gen_2"}, err: true,
			requests: []string{"GET /v1/generations", "GET /v1/generations?after=gen_2"},
		},
		"Filters": {
			options: &client.ListOptions{
				Status: client.StatusFailed, Model: "banana", Tag: "t", Metadata: map[string]string{"k": "v"}, Query: "a b",
				CreatedAfter: time.Unix(0, 0), CreatedBefore: time.Unix(1, 5e8), Ascending: true, After: "gen_0", PageSize: 5,
			},
			answers: []http.HandlerFunc{last}, ids: []string{"gen_1"},
			requests: []string{"GET /v1/generations?after=gen_0&created_after=1970-01-01T00%3A00%3A00Z&created_before=1970-01-01T00%3A00%3A01.5Z" +
				"&limit=5&metadata%5Bk%5D=v&model=banana&order=asc&q=a+b&status=failed&tag=t"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.answers...)
			var ids []string
			var failed bool
			for g, err := range b.List(t.Context(), c.options) {
				if err != nil {
					failed = true
					continue
				}
				ids = append(ids, g.ID)
				if g.ID == c.stopAt {
					break
				}
			}
			if diff := cmp.Diff(c.ids, ids); diff != "" || failed != c.err {
				t.Errorf("error %t, want %t; ids (-want +got):\n%s", failed, c.err, diff)
			}
			if diff := cmp.Diff(c.requests, b.requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"object":"list","data":[{"id":"banana","default":true,"sizes":["1024x1024"],"shutdown_at":null,
		"resolutions":[{"name":"1K","credits":1,"price":{"amount":"0.0336","currency":"usd"}}]}]}`))
	got, err := b.Models(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Model{{
		ID: "banana", Default: true, Sizes: []string{"1024x1024"},
		Resolutions: []client.Resolution{{Name: "1K", Credits: 1, Price: client.Money{Amount: "0.0336", Currency: "usd"}}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
}
