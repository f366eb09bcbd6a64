package api

import (
	"context"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// apiKey is a key as its callers see it.
type apiKey struct {
	ID             string     `json:"id" example:"key_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object         string     `json:"object" enum:"api_key"`
	Name           string     `json:"name"`
	Kind           string     `json:"kind" enum:"live,test,master" doc:"live runs on the providers, test on the simulator, free; master administers the organization"`
	OrganizationID string     `json:"organization_id"`
	ProjectID      *string    `json:"project_id" doc:"null for a master key"`
	Prefix         string     `json:"prefix" example:"nb_live_" doc:"What the key begins with"`
	Last4          string     `json:"last4" doc:"What it ends with"`
	Scopes         []string   `json:"scopes" nullable:"false" doc:"What it may do"`
	IPAllowlist    []string   `json:"ip_allowlist" doc:"Addresses and CIDR ranges it may be used from; null: any"`
	MonthlyLimit   *int       `json:"monthly_limit" doc:"Generations a calendar month (UTC); null: any number"`
	RateLimit      *int       `json:"rate_limit" doc:"Generations an hour, within the project's and the organization's; null: those alone"`
	Operator       bool       `json:"operator,omitempty" doc:"Whether it administers the whole service"`
	ExpiresAt      *time.Time `json:"expires_at" doc:"null: never"`
	RevokedAt      *time.Time `json:"revoked_at"`
	LastUsedAt     *time.Time `json:"last_used_at" doc:"To the minute, and a minute or two behind"`
	CreatedAt      time.Time  `json:"created_at"`
	CreatedBy      *string    `json:"created_by" doc:"The account or key that made it; null: the command line"`
	ReplacedBy     *string    `json:"replaced_by" doc:"The key that rotation made"`
	Key            string     `json:"key,omitempty" doc:"The key itself: only in the answer that makes it, and kept nowhere"`
}

func viewKey(k *store.APIKey) apiKey {
	shown := apiKey{
		ID: k.ID, Object: "api_key", Name: k.Name, Kind: k.Kind, OrganizationID: k.OrgID, ProjectID: k.ProjectID,
		Prefix: "nb_" + k.Kind + "_", Last4: k.Last4, Scopes: k.Scopes, IPAllowlist: k.IPAllowlist,
		MonthlyLimit: k.MonthlyLimit, RateLimit: k.RateLimit, Operator: k.Operator,
		ExpiresAt: utc(k.ExpiresAt), RevokedAt: utc(k.RevokedAt), LastUsedAt: utc(k.LastUsedAt), CreatedAt: k.CreatedAt.UTC(),
		CreatedBy: k.CreatedBy, ReplacedBy: k.ReplacedBy,
	}
	if k.Kind == store.KeyMaster {
		shown.Scopes = auth.MasterGrants()
	}
	return shown
}

type keyInput struct {
	ID string `path:"id" example:"key_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

type keyOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         apiKey
}

// checkKeyID refuses an id that no key has, before Postgres sees it.
func checkKeyID(id string) error {
	if !store.ValidAPIKeyID(id) {
		return fmt.Errorf("API key %q: %w", id, store.ErrNotFound)
	}
	return nil
}

func (s *server) getKey(ctx context.Context, in *keyInput) (*keyOutput, error) {
	if err := checkKeyID(in.ID); err != nil {
		return nil, err
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	key, err := s.db.APIKey(ctx, orgID, in.ID)
	if err != nil {
		return nil, err
	}
	return &keyOutput{CacheControl: notKept, Body: viewKey(key)}, nil
}

// listKeysInput selects a page.
type listKeysInput struct {
	PageInput
	Kind      string `query:"kind" enum:"live,test,master"`
	ProjectID string `query:"project_id" doc:"Keys of this project"`
	Active    string `query:"active" enum:"true,false" doc:"true: those that are neither revoked nor expired; false: the others"`
}

func (s *server) listKeys(ctx context.Context, in *listKeysInput) (*pageOutput[apiKey], error) {
	selected, err := in.page("an API key", store.ValidAPIKeyID)
	if err != nil {
		return nil, err
	}
	filter := store.APIKeyFilter{ProjectID: in.ProjectID, Kind: in.Kind}
	if in.Active != "" {
		active := in.Active == "true"
		filter.Active = &active
	}
	orgID := auth.FromContext(ctx).OrgID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.APIKeys(ctx, orgID, filter, selected)
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, func(k *store.APIKey) string { return k.ID }, viewKey), nil
}
