package jobs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
)

func TestGenerationRequest_WebhookFaults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := func(url string, events ...string) jobs.GenerationRequest {
		return jobs.GenerationRequest{Prompt: "x", WebhookURL: url, WebhookEvents: events}
	}
	for name, c := range map[string]struct {
		request jobs.GenerationRequest
		want    []string // param and code
	}{
		"none":            {at(""), nil},
		"good":            {at("https://example.com/hook?a=b"), nil},
		"good events":     {at("https://example.com", "generation.*", "generation.queued", "*"), nil},
		"never sent":      {at("https://example.com", "test.ping"), []string{"webhook_events unsupported_value"}},
		"one never sent":  {at("https://example.com", "generation.*", "webhook_endpoint.*"), []string{"webhook_events unsupported_value"}},
		"http":            {at("http://example.com"), []string{"webhook_url webhook_url_forbidden"}},
		"private":         {at("https://10.0.0.1/"), []string{"webhook_url webhook_url_forbidden"}},
		"odd port":        {at("https://example.com:22/"), []string{"webhook_url webhook_url_forbidden"}},
		"loopback":        {at("http://localhost:8080/"), []string{"webhook_url webhook_url_forbidden"}},
		"no URL":          {at("banana"), []string{"webhook_url webhook_url_forbidden"}},
		"events alone":    {at("", "*"), []string{"webhook_events conflict"}},
		"unknown event":   {at("https://example.com", "generation.dreamt"), []string{"webhook_events unsupported_value"}},
		"too many events": {at("https://example.com", make([]string, 31)...), []string{"webhook_events unsupported_value"}},
		"everything":      {at("", "x"), []string{"webhook_events conflict", "webhook_events unsupported_value"}},
	} {
		var got []string
		for _, f := range b.queue.Faults(&c.request) {
			got = append(got, f.Param+" "+f.Code)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Who asks for an event that a webhook_url is never told of learns which ones it is.
func TestGenerationRequest_WebhookEventsAllowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	allowed := []string{
		"*", "generation.*", "generation.canceled", "generation.expired", "generation.failed", "generation.progress",
		"generation.queued", "generation.started", "generation.succeeded",
	}
	want := []jobs.Fault{{
		Param: "webhook_events", Code: "unsupported_value", Allowed: allowed,
		Message: `webhook_events: "test.ping" is not an event of a generation; use any of ` + strings.Join(allowed, ", "),
	}}
	got := b.queue.Faults(&jobs.GenerationRequest{Prompt: "x", WebhookURL: "https://example.com", WebhookEvents: []string{"test.ping"}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A development machine may be told where it is allowed.
func TestSubmit_WebhookToLoopback(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dev, err := jobs.NewQueue(jobs.Options{DB: b.db, LiveSimulated: true, Egress: egress.Policy{Loopback: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	s := b.submission("")
	s.Request.WebhookURL = "http://localhost:8080/hook"
	accepted, err := dev.SubmitGeneration(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := b.db.Generation(t.Context(), b.project.ID, accepted.Generation.ID)
	if err != nil {
		t.Fatal(err)
	}
	ends := []string{"generation.succeeded", "generation.failed", "generation.canceled", "generation.expired"}
	if stored.WebhookURL == nil || *stored.WebhookURL != s.Request.WebhookURL || !cmp.Equal(ends, stored.WebhookEvents) {
		t.Errorf("stored %v, %v", stored.WebhookURL, stored.WebhookEvents)
	}
	if diff := cmp.Diff(accepted.Generation, stored); diff != "" {
		t.Errorf("accepted is not what is stored (-accepted +stored):\n%s", diff)
	}
	var invalid *jobs.InvalidError
	if _, err := b.queue.SubmitGeneration(t.Context(), s); !errors.As(err, &invalid) || invalid.Faults[0].Code != jobs.CodeWebhookURL {
		t.Errorf("where it is not allowed: %v", err)
	}
}
