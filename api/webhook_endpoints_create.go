package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// idempotencyTTL is how long an endpoint's Idempotency-Key is kept.
const idempotencyTTL = 24 * time.Hour

type createWebhookEndpointOutput struct {
	Location     string `header:"Location" doc:"The endpoint's path"`
	Replayed     string `header:"Idempotent-Replayed" doc:"true if an earlier request with this Idempotency-Key made the endpoint"`
	CacheControl string `header:"Cache-Control"`
	Body         webhookEndpoint
}

func (s *server) createWebhookEndpoint(ctx context.Context, in *createWebhookEndpointInput) (*createWebhookEndpointOutput, error) {
	header, err := idempotencyKey(requestOf(ctx).http.Header)
	if err != nil {
		return nil, err
	}
	scope := scopeOf(ctx)
	if in.Body.ProjectID != "" && in.Body.ProjectID != scope.ProjectID {
		return nil, refuse("not_found", "project_id is not the key's own project; leave it out.")
	}
	e, err := in.Body.endpoint(s.opts.Egress, s.opts.Now())
	if err != nil {
		return nil, err
	}
	e.ID = store.NewWebhookEndpointID()
	secret := webhook.NewSecret()
	sealed := s.seal(scope.OrgID, e.ID, secret)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	made, first, err := s.makeEndpoint(ctx, scope, *e, sealed, s.endpointKey(scope, e, header))
	if err != nil {
		return nil, err
	}
	if first != nil {
		return s.replayEndpoint(ctx, scope, first.GenerationID)
	}
	shown := viewWebhookEndpoint(made, []*store.WebhookSecret{{Last4: sealed.Last4, CreatedAt: made.CreatedAt}})
	shown.Secret = secret
	return &createWebhookEndpointOutput{Location: endpointPath(made.ID), CacheControl: noStore, Body: shown}, nil
}

func endpointPath(id string) string { return "/v1/webhook_endpoints/" + id }

// endpointKey binds an Idempotency-Key to an endpoint and what was asked for; nil
// without one.
func (s *server) endpointKey(scope store.Scope, e *store.WebhookEndpoint, key string) *store.IdempotencyKey {
	if key == "" {
		return nil
	}
	asked, err := json.Marshal([]any{e.URL, e.Events, e.Description, e.APIVersion, e.DisabledAt == nil})
	if err != nil {
		panic(err) // texts always encode
	}
	sum := sha256.Sum256(asked)
	return &store.IdempotencyKey{
		OrgID: scope.OrgID, ProjectID: scope.ProjectID, Test: scope.Test, Route: "webhook_endpoints", Key: key,
		Fingerprint: sum[:], GenerationID: e.ID, ExpiresAt: s.opts.Now().Add(idempotencyTTL),
	}
}

// makeEndpoint records an endpoint and takes its key, in one transaction. If the
// key is taken it records nothing and returns the key as it is held.
func (s *server) makeEndpoint(ctx context.Context, scope store.Scope, e store.WebhookEndpoint, sealed store.SealedSecret, key *store.IdempotencyKey) (made *store.WebhookEndpoint, first *store.IdempotencyKey, err error) {
	err = s.db.Transact(ctx, func(tx *store.DB) error {
		if key != nil {
			held, err := tx.ClaimIdempotencyKeys(ctx, []*store.IdempotencyKey{key})
			switch {
			case errors.Is(err, store.ErrKeyBusy):
				return jobs.ErrIdempotencyInFlight
			case err != nil:
				return err
			case len(held) > 0 && !bytes.Equal(held[0].Fingerprint, key.Fingerprint):
				return jobs.ErrIdempotencyKeyReused
			case len(held) > 0:
				first = held[0]
				return nil
			}
		}
		if made, err = tx.CreateWebhookEndpoint(ctx, scope, e, sealed); err != nil {
			return err
		}
		return s.recordEndpoint(ctx, tx, "webhook_endpoint.create", nil, made)
	})
	return made, first, err
}

// replayEndpoint answers as the request did that made the endpoint, with the
// endpoint as it is now. Its first secret is shown while it signs.
func (s *server) replayEndpoint(ctx context.Context, scope store.Scope, id string) (*createWebhookEndpointOutput, error) {
	e, err := s.db.WebhookEndpoint(ctx, scope, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse("not_found", "The webhook endpoint that this Idempotency-Key made has been deleted; use a new key to make another.")
	}
	if err != nil {
		return nil, err
	}
	secrets, err := s.db.WebhookSecrets(ctx, scope.OrgID, id)
	if err != nil {
		return nil, err
	}
	shown := viewWebhookEndpoint(e, secrets)
	for _, secret := range secrets {
		if secret.N != 1 {
			continue
		}
		shown.Secret, err = s.opts.Keyring.Open(secret.Sealed, scope.OrgID, id)
		if err != nil && !errors.Is(err, webhook.ErrSecretChanged) {
			return nil, err
		}
	}
	return &createWebhookEndpointOutput{Location: endpointPath(id), Replayed: "true", CacheControl: noStore, Body: shown}, nil
}
