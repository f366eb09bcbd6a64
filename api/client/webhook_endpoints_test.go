package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

const endpointJSON = `{"id":"whep_1","object":"webhook_endpoint","url":"https://example.com","events":["*"],"description":"","project_id":"proj_1",` +
	`"test":false,"api_version":"2026-11-01","enabled":false,"disabled_at":"2026-11-06T00:00:00Z","disabled_reason":"gone","failing_since":null,` +
	`"created_at":"2026-11-01T00:00:00Z","secret":"whsec_x","secrets":[{"last4":"abc=","created_at":"2026-11-01T00:00:00Z","expires_at":null}]}`

func TestWebhookEndpoints(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(201, endpointJSON), answer(200, endpointJSON), answer(200, endpointJSON), answer(200, endpointJSON), answer(200, endpointJSON),
		answer(200, endpointJSON), answer(202, `{"id":"evt_1","object":"event"}`), answer(200, `{"object":"list","data":[`+endpointJSON+`]}`), answer(204, ``))
	ctx := t.Context()
	off := false
	created, err := b.CreateWebhookEndpoint(ctx, &client.WebhookEndpointRequest{
		URL: "https://example.com", Events: []string{"*"}, Description: "d", Enabled: &off, IdempotencyKey: "mine",
	})
	if err != nil {
		t.Fatal(err)
	}
	disabled, made := time.Date(2026, 11, 6, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	want := &client.WebhookEndpoint{
		ID: "whep_1", URL: "https://example.com", Events: []string{"*"}, ProjectID: "proj_1", APIVersion: "2026-11-01",
		DisabledAt: &disabled, DisabledReason: "gone", CreatedAt: made, Secret: "whsec_x",
		Secrets: []client.SecretState{{Last4: "abc=", CreatedAt: made}},
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text := ""
	for name, call := range []func() (*client.WebhookEndpoint, error){
		func() (*client.WebhookEndpoint, error) { return b.WebhookEndpoint(ctx, "whep_1") },
		func() (*client.WebhookEndpoint, error) {
			return b.UpdateWebhookEndpoint(ctx, "whep_1", &client.WebhookEndpointUpdate{Description: &text, Enabled: &off})
		},
		func() (*client.WebhookEndpoint, error) { return b.EnableWebhookEndpoint(ctx, "whep_1") },
		func() (*client.WebhookEndpoint, error) { return b.DisableWebhookEndpoint(ctx, "whep_1") },
		func() (*client.WebhookEndpoint, error) { return b.RotateWebhookEndpoint(ctx, "whep_1", time.Hour) },
	} {
		if got, err := call(); err != nil || !cmp.Equal(want, got) {
			t.Errorf("call %d: %+v, %v", name, got, err)
		}
	}
	if id, err := b.TestWebhookEndpoint(ctx, "whep_1"); id != "evt_1" || err != nil {
		t.Errorf("test: %q, %v", id, err)
	}
	if list, err := b.WebhookEndpoints(ctx); err != nil || !cmp.Equal([]*client.WebhookEndpoint{want}, list) {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := b.DeleteWebhookEndpoint(ctx, "whep/1"); err != nil {
		t.Error(err)
	}
	sent := []string{
		`POST /v1/webhook_endpoints {"url":"https://example.com","events":["*"],"description":"d","enabled":false}`,
		`GET /v1/webhook_endpoints/whep_1`,
		`PATCH /v1/webhook_endpoints/whep_1 {"description":"","enabled":false}`,
		`POST /v1/webhook_endpoints/whep_1/enable`,
		`POST /v1/webhook_endpoints/whep_1/disable`,
		`POST /v1/webhook_endpoints/whep_1/rotate {"overlap_seconds":3600}`,
		`POST /v1/webhook_endpoints/whep_1/test`,
		`GET /v1/webhook_endpoints?limit=100`,
		`DELETE /v1/webhook_endpoints/whep%2F1`,
	}
	if diff := cmp.Diff(sent, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := b.sent(0, "Idempotency-Key"); got != "mine" {
		t.Errorf("Idempotency-Key %q", got)
	}
}

// A retry after a lost answer must not make a second endpoint.
func TestCreateWebhookEndpoint_RetriesWithOneKey(t *testing.T) {
	t.Parallel()
	b := setup(t, hangUp, answer(201, endpointJSON))
	if _, err := b.CreateWebhookEndpoint(t.Context(), &client.WebhookEndpointRequest{URL: "https://example.com"}); err != nil {
		t.Fatal(err)
	}
	first, second := b.sent(0, "Idempotency-Key"), b.sent(1, "Idempotency-Key")
	if first == "" || first != second {
		t.Errorf("the keys are %q and %q", first, second)
	}
}

func TestDefaultWebhookSecret(t *testing.T) {
	t.Parallel()
	b := setup(t, answer(200, `{"object":"webhook_secret","key":"whsec_x","secrets":[]}`), answer(200, `{"key":"whsec_y"}`), problem(409, "webhook_secret_limit"))
	read, err := b.DefaultWebhookSecret(t.Context())
	if err != nil || read.Key != "whsec_x" {
		t.Errorf("%+v, %v", read, err)
	}
	rotated, err := b.RotateDefaultWebhookSecret(t.Context(), 0)
	if err != nil || rotated.Key != "whsec_y" {
		t.Errorf("%+v, %v", rotated, err)
	}
	var refused *client.Error
	if _, err := b.RotateDefaultWebhookSecret(t.Context(), time.Minute); !errors.As(err, &refused) || refused.Code != "webhook_secret_limit" {
		t.Errorf("refused: %v", err)
	}
	want := []string{
		`GET /v1/webhooks/default/secret`, `POST /v1/webhooks/default/rotate {"overlap_seconds":0}`, `POST /v1/webhooks/default/rotate {"overlap_seconds":60}`,
	}
	if diff := cmp.Diff(want, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
