package api

import (
	"context"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// adminKey is an API key as operators see it.
type adminKey struct {
	ID           string     `json:"id" example:"key_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object       string     `json:"object" enum:"api_key"`
	Name         string     `json:"name"`
	Kind         string     `json:"kind" enum:"live,test,master"`
	OrgID        string     `json:"organization_id"`
	ProjectID    *string    `json:"project_id"`
	Last4        string     `json:"last4"`
	Scopes       []string   `json:"scopes" nullable:"false"`
	IPAllowlist  []string   `json:"ip_allowlist"`
	MonthlyLimit *int       `json:"monthly_limit"`
	RateLimit    *int       `json:"rate_limit"`
	Operator     bool       `json:"operator" doc:"Administers the service"`
	CreatedAt    time.Time  `json:"created_at"`
	CreatedBy    *string    `json:"created_by" doc:"null: the command line"`
	ExpiresAt    *time.Time `json:"expires_at"`
	RevokedAt    *time.Time `json:"revoked_at"`
	ReplacedBy   *string    `json:"replaced_by"`
	LastUsedAt   *time.Time `json:"last_used_at"`
}

func viewAdminKey(k *store.APIKey) adminKey {
	return adminKey{
		ID: k.ID, Object: "api_key", Name: k.Name, Kind: k.Kind, OrgID: k.OrgID, ProjectID: k.ProjectID, Last4: k.Last4,
		Scopes: k.Scopes, IPAllowlist: k.IPAllowlist, MonthlyLimit: k.MonthlyLimit, RateLimit: k.RateLimit, Operator: k.Operator,
		CreatedAt: k.CreatedAt.UTC(), CreatedBy: k.CreatedBy, ExpiresAt: utc(k.ExpiresAt), RevokedAt: utc(k.RevokedAt),
		ReplacedBy: k.ReplacedBy, LastUsedAt: utc(k.LastUsedAt),
	}
}

type adminListKeysInput struct {
	OrgID string `query:"org_id" maxLength:"100" doc:"Only those of this organization"`
	pageInput
}

func (s *server) adminListKeys(ctx context.Context, in *adminListKeysInput) (*pageOutput[adminKey], error) {
	selected, err := in.page("an API key", store.ValidAPIKeyID)
	if err != nil {
		return nil, err
	}
	var rows []*store.APIKey
	err = s.search(ctx, tooSlow, func(ctx context.Context) error {
		rows, err = s.db.OperatorKeys(ctx, in.OrgID, selected)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pageOf(&in.pageInput, rows, func(k *store.APIKey) string { return k.ID }, viewAdminKey), nil
}
