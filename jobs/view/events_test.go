package view_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

func event(data any) *view.Event {
	return view.NewEvent(noon, view.Event{ID: "evt_1", Type: "generation.succeeded", Sequence: 3, ProjectID: "proj_1", Data: data})
}

func TestEvent_Body(t *testing.T) {
	t.Parallel()
	body, err := event(map[string]string{"a": "<b>"}).Body(webhook.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"evt_1","object":"event","type":"generation.succeeded","api_version":"2026-11-01","created_at":1795258800,` +
		`"timestamp":"2026-11-21T11:00:00Z","sequence":3,"project_id":"proj_1","test":false,"data":{"a":"<b>"}}`
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, data := range []any{json.RawMessage(body), make(chan int)} {
		if body, err := event(data).Body(len(body)); err == nil {
			t.Errorf("%T is no error but %s", data, body)
		}
	}
}

// A generation that fits is sent as GET answers it.
func TestEvent_BodyIsTheGeneration(t *testing.T) {
	t.Parallel()
	shown := newViewer().Generation(sampleArgs())
	body, err := event(shown).Body(webhook.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Data map[string]any }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asMap(t, shown), got.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	exact, err := event(shown).Body(len(body) + 1)
	if err != nil || string(exact) != string(body) {
		t.Errorf("one byte of room is not enough: %s, %v", exact, err)
	}
	if less, err := event(shown).Body(len(body)); err != nil || len(less) >= len(body) {
		t.Errorf("without it: %s, %v", less, err)
	}
}

// monkeys is as long as it says and takes four bytes a character.
func monkeys(n int) string { return strings.Repeat("🐵", n) }

// huge is a generation with everything as long as it may be.
func huge() *view.Generation {
	g, images, attempts := sample()
	g.N, g.Prompt, g.Params.NegativePrompt, g.Metadata, g.Tags = 10, monkeys(32_000), monkeys(32_000), map[string]string{}, nil
	g.WebhookURL = ptr("https://example.com/" + strings.Repeat("w", 2028))
	for i := range 20 {
		g.Tags = append(g.Tags, fmt.Sprintf("%02d%s", i, monkeys(62)))
	}
	for i := range 16 {
		g.Metadata[fmt.Sprintf("%02d%s", i, monkeys(62))] = monkeys(512)
	}
	one := *images[1]
	images = nil
	for i := range 10 {
		image := one
		image.ID, image.Idx, image.SHA256, image.OriginalSHA256 = store.ImageID(g.ID, i), i, make([]byte, 32), make([]byte, 32)
		image.Thumbhash = make([]byte, 25)
		images = append(images, &image)
	}
	v := view.New(view.Options{
		SignImage:  func(string) string { return strings.Repeat("s", 100) },
		SignEvents: func(string) string { return strings.Repeat("s", 100) },
	})
	return v.Generation("https://"+strings.Repeat("long.", 20)+"example.com", g, images, attempts)
}

func TestEvent_BodyShortens(t *testing.T) {
	t.Parallel()
	small := func(change func(*view.Generation)) *view.Generation {
		g := newViewer().Generation(sampleArgs())
		change(g)
		return g
	}
	long := view.GenerationError{Code: "provider_error", Message: monkeys(9000), Moderation: &view.Moderation{ProviderReason: monkeys(9000)}}
	escaped := view.GenerationError{Message: strings.Repeat("\x01", 900), Moderation: &view.Moderation{ProviderReason: strings.Repeat("\x01", 900)}}
	all := []string{"attempts", "prompt", "negative_prompt", "metadata", "tags"}
	for name, c := range map[string]struct {
		shown     *view.Generation
		truncated []string
		prompt    int // characters left
	}{
		"AttemptsOnly": {small(func(g *view.Generation) { g.Attempts = slices.Repeat(g.Attempts, 100) }), all[:1], 22},
		"Prompt":       {small(func(g *view.Generation) { g.Prompt = monkeys(5000) }), all[:2], 1000},
		"BothPrompts": {small(func(g *view.Generation) { g.Prompt, g.NegativePrompt = monkeys(5000), ptr(monkeys(3000)) }),
			all[:3], 1000},
		"Metadata": {small(func(g *view.Generation) { g.Metadata, g.Attempts = map[string]string{"a": monkeys(5000)}, nil }), all[3:4], 22},
		"Tags":     {small(func(g *view.Generation) { g.Tags, g.NegativePrompt = []string{monkeys(5000)}, nil }), []string{"attempts", "metadata", "tags"}, 22},
		"Huge":     {huge(), all, 200},
		"Errors": {small(func(g *view.Generation) { g.Error, g.ImageErrors = &long, []view.ImageError{{Error: long}} }),
			[]string{"attempts", "metadata", "tags", "error", "image_errors"}, 22},
		"ErrorsOfAllImages": {small(func(g *view.Generation) { g.ImageErrors = slices.Repeat([]view.ImageError{{Error: escaped}}, 10) }),
			[]string{"attempts", "metadata", "tags", "image_errors"}, 22},
		"URLs": {small(func(g *view.Generation) { g.Images[0].URL = monkeys(9000) }), []string{"attempts", "metadata", "tags", "images"}, 22},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := asMap(t, c.shown)
			got := decode(t, event(c.shown))
			if diff := cmp.Diff(c.truncated, got.Truncated); diff != "" {
				t.Errorf("truncated (-want +got):\n%s", diff)
			}
			if n := utf8.RuneCountInString(got.Prompt); n != c.prompt {
				t.Errorf("the prompt has %d characters, want %d", n, c.prompt)
			}
			if cut := slices.Contains(got.Truncated, "prompt"); cut != strings.HasSuffix(got.Prompt, "🐵…") {
				t.Errorf("the prompt ends on %q", got.Prompt[len(got.Prompt)-8:])
			}
			if diff := cmp.Diff(before, asMap(t, c.shown)); diff != "" {
				t.Errorf("the generation itself has changed (-want +got):\n%s", diff)
			}
			if err := got.same(c.shown); err != nil {
				t.Error(err)
			}
		})
	}
}

// Short texts are repeated, so that those to try are found by changing little.
func FuzzEvent_Body(f *testing.F) {
	f.Add("a banana", "", "red", "provider error", uint8(1), uint16(1), uint16(400))
	f.Add("🐵", "🐵🍌", "🐵", "🐵", uint8(10), uint16(16_000), uint16(5000))
	f.Add("\x01", "\u2028", `"`, `\`, uint8(10), uint16(20_000), uint16(19_999))
	f.Add("\xff\xfeé\xc3", "\xf0\x9f", "<", "\x01", uint8(9), uint16(9999), uint16(0))
	f.Fuzz(func(t *testing.T, prompt, negative, text, failure string, errors uint8, times, size uint16) {
		long := func(s string) string { return strings.Repeat(s, min(int(times), 40_000/max(len(s), 1))) }
		g, images, attempts := sample()
		g.Prompt, g.Params.NegativePrompt, g.Metadata, g.Tags = long(prompt), long(negative), map[string]string{text: long(text)}, []string{text}
		g.Error = &store.GenerationError{Message: long(failure), Reason: failure, Stage: "input"}
		g.ImageErrors = slices.Repeat([]store.ImageError{{Error: *g.Error}}, int(errors)%(store.MaxImages+1))
		shown := newViewer().Generation(base, g, images, attempts)
		if body, err := event(shown).Body(int(size)); err == nil && (len(body) >= int(size) || !json.Valid(body)) {
			t.Errorf("%d bytes, fewer than %d were wanted: %s", len(body), size, body)
		}
		if err := decode(t, event(shown)).same(shown); err != nil {
			t.Error(err)
		}
	})
}

func sampleArgs() (string, *store.Generation, []*store.Image, []*store.Attempt) {
	g, images, attempts := sample()
	return base, g, images, attempts
}

func asMap(t *testing.T, v any) map[string]any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// received is the data of an event that was sent.
type received struct {
	Truncated []string
	Prompt    string
	data      map[string]any
	t         *testing.T
}

// decode sends an event and reads its data.
func decode(t *testing.T, e *view.Event) *received {
	t.Helper()
	body, err := e.Body(webhook.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) >= webhook.MaxBody || !utf8.Valid(body) {
		t.Fatalf("%d bytes of UTF-8, fewer than %d were wanted: %s", len(body), webhook.MaxBody, body)
	}
	var whole struct{ Data json.RawMessage }
	got := &received{t: t}
	for _, err := range []error{json.Unmarshal(body, &whole), json.Unmarshal(whole.Data, got), json.Unmarshal(whole.Data, &got.data)} {
		if err != nil {
			t.Fatal(err, string(body))
		}
	}
	return got
}

// same tells of what differs from the generation shown and is not said to.
func (r *received) same(shown *view.Generation) error {
	want := asMap(r.t, shown)
	got := r.data
	if len(got) > len(want) != (len(r.Truncated) > 0) {
		return fmt.Errorf("%d members instead of %d, truncated: %v", len(got), len(want), r.Truncated)
	}
	delete(got, "truncated")
	for _, member := range r.Truncated {
		if cmp.Equal(want[member], got[member]) {
			return fmt.Errorf("%s is said to be cut, and is not", member)
		}
		delete(want, member)
		delete(got, member)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("cut without saying so (-want +got):\n%s", diff)
	}
	return nil
}
