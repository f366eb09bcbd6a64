package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// webhookSecretPart is what is shown of a secret: enough to tell it from others.
type webhookSecretPart struct {
	Last4     string     `json:"last4" doc:"Its last four characters"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it stops signing; null is the present one"`
}

func viewWebhookSecrets(secrets []*store.WebhookSecret) []webhookSecretPart {
	shown := make([]webhookSecretPart, len(secrets))
	for i, s := range secrets {
		shown[i] = webhookSecretPart{Last4: s.Last4, CreatedAt: s.CreatedAt.UTC(), ExpiresAt: utc(s.ExpiresAt)}
	}
	return shown
}

// seal prepares a secret for its owner's row.
func (s *server) seal(org, owner, secret string) store.SealedSecret {
	return store.SealedSecret{Sealed: s.opts.Keyring.Seal(secret, org, owner), Last4: secret[len(secret)-4:]}
}

// rotateSecretBody says how long the former secrets go on signing.
type rotateSecretBody struct {
	OverlapSeconds *int `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long deliveries are signed with the former secrets as well; default 86400, a day"`
}

const defaultOverlap = 24 * time.Hour

func (b *rotateSecretBody) overlap() time.Duration {
	if b == nil || b.OverlapSeconds == nil {
		return defaultOverlap
	}
	return time.Duration(*b.OverlapSeconds) * time.Second
}

type rotateWebhookEndpointInput struct {
	ID   string `path:"id" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body *rotateSecretBody
}

type rotateDefaultSecretInput struct {
	Body *rotateSecretBody
}

// webhookSecret is what signs the deliveries to the webhook_url of a project's
// generations, in the mode of the key that asks.
type webhookSecret struct {
	Object  string              `json:"object" enum:"webhook_secret"`
	Key     string              `json:"key" doc:"The present secret. Test keys see that of the project's test mode, live keys that of its live mode." example:"whsec_..."`
	Secrets []webhookSecretPart `json:"secrets" nullable:"false" doc:"All that sign, the newest first"`
}

type webhookSecretOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         webhookSecret
}

func (s *server) getDefaultSecret(ctx context.Context, _ *struct{}) (*webhookSecretOutput, error) {
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	secrets, err := s.db.EnsureProjectSecret(ctx, scope, s.seal(scope.OrgID, scope.SecretOwner(), webhook.NewSecret()))
	if err != nil {
		return nil, err
	}
	key, err := s.opts.Keyring.Open(secrets[0].Sealed, scope.OrgID, scope.SecretOwner())
	if errors.Is(err, webhook.ErrSecretChanged) {
		return nil, refuse("webhook_secret_unreadable", "")
	}
	if err != nil {
		return nil, err
	}
	return answerSecret(key, secrets), nil
}

func (s *server) rotateDefaultSecret(ctx context.Context, in *rotateDefaultSecretInput) (*webhookSecretOutput, error) {
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	key := webhook.NewSecret()
	var secrets []*store.WebhookSecret
	err := s.db.Transact(ctx, func(tx *store.DB) (err error) {
		secrets, err = tx.RotateProjectSecret(ctx, scope, in.Body.overlap(), s.seal(scope.OrgID, scope.SecretOwner(), key))
		if err != nil {
			return err
		}
		after := auditSecrets(secrets)
		after["test"] = scope.Test
		return s.record(ctx, tx, change{
			Action: "webhook_secret.rotate", Kind: "project", ID: scope.ProjectID, ProjectID: scope.ProjectID, After: after,
		})
	})
	if err != nil {
		return nil, err
	}
	return answerSecret(key, secrets), nil
}

func answerSecret(key string, secrets []*store.WebhookSecret) *webhookSecretOutput {
	return &webhookSecretOutput{
		CacheControl: noStore,
		Body:         webhookSecret{Object: "webhook_secret", Key: key, Secrets: viewWebhookSecrets(secrets)},
	}
}
