package api

import (
	"context"
	"fmt"
	"reflect"
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
	if err := checkEndpointID(in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	e, err := s.db.WebhookEndpoint(ctx, scopeOf(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return s.answerEndpoint(ctx, e)
}

func (s *server) updateWebhookEndpoint(ctx context.Context, in *updateWebhookEndpointInput) (*webhookEndpointOutput, error) {
	change, err := in.Body.change(s.opts.Egress)
	if err != nil {
		return nil, err
	}
	return s.changeEndpoint(ctx, in.ID, "webhook_endpoint.update", *change)
}

func (s *server) enableWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*webhookEndpointOutput, error) {
	enabled := true
	return s.changeEndpoint(ctx, in.ID, "webhook_endpoint.enable", store.WebhookEndpointChange{Enabled: &enabled})
}

func (s *server) disableWebhookEndpoint(ctx context.Context, in *webhookEndpointInput) (*webhookEndpointOutput, error) {
	enabled := false
	return s.changeEndpoint(ctx, in.ID, "webhook_endpoint.disable", store.WebhookEndpointChange{Enabled: &enabled})
}

// changeEndpoint changes an endpoint and shows it. What changes nothing leaves no trace.
func (s *server) changeEndpoint(ctx context.Context, id, action string, change store.WebhookEndpointChange) (*webhookEndpointOutput, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var after *store.WebhookEndpoint
	err := s.onEndpoint(ctx, id, func(tx *store.DB, before *store.WebhookEndpoint) (err error) {
		after, err = tx.UpdateWebhookEndpoint(ctx, scopeOf(ctx), id, change)
		if err != nil || reflect.DeepEqual(before, after) {
			return err
		}
		return s.recordEndpoint(ctx, tx, action, before, after)
	})
	if err != nil {
		return nil, err
	}
	return s.answerEndpoint(ctx, after)
}

// onEndpoint runs a change of one of the caller's endpoints in a transaction.
func (s *server) onEndpoint(ctx context.Context, id string, do func(*store.DB, *store.WebhookEndpoint) error) error {
	if err := checkEndpointID(id); err != nil {
		return err
	}
	return s.db.Transact(ctx, func(tx *store.DB) error {
		before, err := tx.WebhookEndpoint(ctx, scopeOf(ctx), id)
		if err != nil {
			return err
		}
		return do(tx, before)
	})
}

// answerEndpoint shows an endpoint with what signs its deliveries.
func (s *server) answerEndpoint(ctx context.Context, e *store.WebhookEndpoint) (*webhookEndpointOutput, error) {
	secrets, err := s.db.WebhookSecrets(ctx, e.OrgID, e.ID)
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
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.onEndpoint(ctx, in.ID, func(tx *store.DB, before *store.WebhookEndpoint) error {
		if err := tx.DeleteWebhookEndpoint(ctx, scopeOf(ctx), in.ID); err != nil {
			return err
		}
		return s.recordEndpoint(ctx, tx, "webhook_endpoint.delete", before, nil)
	})
}

func (s *server) rotateWebhookEndpoint(ctx context.Context, in *rotateWebhookEndpointInput) (*webhookEndpointOutput, error) {
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	secret := webhook.NewSecret()
	var shown webhookEndpoint
	err := s.onEndpoint(ctx, in.ID, func(tx *store.DB, e *store.WebhookEndpoint) error {
		secrets, err := tx.RotateWebhookSecret(ctx, scope, in.ID, in.Body.overlap(), s.seal(scope.OrgID, in.ID, secret))
		if err != nil {
			return err
		}
		shown = viewWebhookEndpoint(e, secrets)
		shown.Secret = secret
		return s.record(ctx, tx, change{
			Action: "webhook_endpoint.rotate", Kind: "webhook_endpoint", ID: e.ID, ProjectID: scope.ProjectID, After: auditSecrets(secrets),
		})
	})
	if err != nil {
		return nil, err
	}
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
