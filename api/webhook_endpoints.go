package api

import (
	"context"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// webhookEndpoint is an endpoint as callers see it.
type webhookEndpoint struct {
	ID             string              `json:"id" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object         string              `json:"object" enum:"webhook_endpoint"`
	URL            string              `json:"url"`
	Events         []string            `json:"events" nullable:"false" doc:"Types it is told of, or patterns of them"`
	Description    string              `json:"description"`
	ProjectID      *string             `json:"project_id"`
	Test           bool                `json:"test" doc:"Told of what test keys ask, or of what live keys ask"`
	APIVersion     string              `json:"api_version" doc:"The form of what is sent"`
	Enabled        bool                `json:"enabled"`
	DisabledAt     *time.Time          `json:"disabled_at"`
	DisabledReason *string             `json:"disabled_reason" enum:"asked,gone,failing" doc:"gone: it answered 410; failing: nothing but failures for five days"`
	FailingSince   *time.Time          `json:"failing_since" doc:"The first failed attempt since the last that succeeded"`
	CreatedAt      time.Time           `json:"created_at"`
	Secret         string              `json:"secret,omitempty" doc:"What deliveries are signed with; only in the answers that make it"`
	Secrets        []webhookSecretPart `json:"secrets" nullable:"false" doc:"All that sign, the newest first"`
}

func viewWebhookEndpoint(e *store.WebhookEndpoint, secrets []*store.WebhookSecret) webhookEndpoint {
	return webhookEndpoint{
		ID: e.ID, Object: "webhook_endpoint", URL: e.URL, Events: e.Events, Description: e.Description,
		ProjectID: e.ProjectID, Test: e.Test, APIVersion: e.APIVersion, Enabled: e.DisabledAt == nil,
		DisabledAt: utc(e.DisabledAt), DisabledReason: e.DisabledReason, FailingSince: utc(e.FailingSince),
		CreatedAt: e.CreatedAt.UTC(), Secrets: viewWebhookSecrets(secrets),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}

// scopeOf is what the request's key reaches.
func scopeOf(ctx context.Context) store.Scope {
	caller := auth.FromContext(ctx)
	return store.Scope{OrgID: caller.OrgID, ProjectID: caller.ProjectID, Test: caller.Test}
}

type webhookEndpointOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         webhookEndpoint
}

// Answers that hold a secret are kept by nobody.
const noStore = "no-store"

func (s *server) getWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*webhookEndpointOutput, error) {
	return s.answerEndpoint(ctx, in.ID, s.db.WebhookEndpoint)
}

func (s *server) updateWebhookEndpoint(ctx context.Context, in *updateWebhookEndpointInput) (*webhookEndpointOutput, error) {
	change, err := in.Body.change(s.opts.Egress)
	if err != nil {
		return nil, err
	}
	return s.changeEndpoint(ctx, in.ID, *change)
}

func (s *server) enableWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*webhookEndpointOutput, error) {
	enabled := true
	return s.changeEndpoint(ctx, in.ID, store.WebhookEndpointChange{Enabled: &enabled})
}

func (s *server) disableWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*webhookEndpointOutput, error) {
	enabled := false
	return s.changeEndpoint(ctx, in.ID, store.WebhookEndpointChange{Enabled: &enabled})
}

func (s *server) changeEndpoint(ctx context.Context, id string, change store.WebhookEndpointChange) (*webhookEndpointOutput, error) {
	return s.answerEndpoint(ctx, id, func(ctx context.Context, scope store.Scope, id string) (*store.WebhookEndpoint, error) {
		return s.db.UpdateWebhookEndpoint(ctx, scope, id, change)
	})
}

// answerEndpoint shows the endpoint that find returns.
func (s *server) answerEndpoint(ctx context.Context, id string, find func(context.Context, store.Scope, string) (*store.WebhookEndpoint, error)) (*webhookEndpointOutput, error) {
	if err := checkEndpointID(id); err != nil {
		return nil, err
	}
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	e, err := find(ctx, scope, id)
	if err != nil {
		return nil, err
	}
	secrets, err := s.db.WebhookSecrets(ctx, scope.OrgID, id)
	if err != nil {
		return nil, err
	}
	return &webhookEndpointOutput{CacheControl: "private, no-cache", Body: viewWebhookEndpoint(e, secrets)}, nil
}

// checkEndpointID refuses an id that no endpoint has, before Postgres sees it.
func checkEndpointID(id string) error {
	if !store.ValidWebhookEndpointID(id) {
		return fmt.Errorf("webhook endpoint %q: %w", id, store.ErrNotFound)
	}
	return nil
}

func (s *server) deleteWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*struct{}, error) {
	if err := checkEndpointID(in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.db.DeleteWebhookEndpoint(ctx, scopeOf(ctx), in.ID)
}

func (s *server) rotateWebhookEndpoint(ctx context.Context, in *rotateWebhookEndpointInput) (*webhookEndpointOutput, error) {
	if err := checkEndpointID(in.ID); err != nil {
		return nil, err
	}
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	e, err := s.db.WebhookEndpoint(ctx, scope, in.ID)
	if err != nil {
		return nil, err
	}
	secret := webhook.NewSecret()
	secrets, err := s.db.RotateWebhookSecret(ctx, scope, in.ID, in.Body.overlap(), s.seal(scope.OrgID, in.ID, secret))
	if err != nil {
		return nil, err
	}
	shown := viewWebhookEndpoint(e, secrets)
	shown.Secret = secret
	return &webhookEndpointOutput{CacheControl: noStore, Body: shown}, nil
}

type testWebhookEndpointOutput struct{ Body *view.Event }

func (s *server) testWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*testWebhookEndpointOutput, error) {
	if err := checkEndpointID(in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	e, err := s.db.PingWebhookEndpoint(ctx, scopeOf(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &testWebhookEndpointOutput{Body: view.NewEvent(e.CreatedAt, view.Event{
		ID: e.ID, Type: e.Type, Sequence: e.Sequence, ProjectID: e.ProjectID, Test: e.Test, Data: e.Data,
	})}, nil
}
