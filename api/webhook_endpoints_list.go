package api

import (
	"context"

	"github.com/nanobanana/nanobanana/store"
)

// listWebhookEndpointsInput selects a page.
type listWebhookEndpointsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After  string `query:"after" doc:"The id to start behind, in the order asked"`
	Before string `query:"before" doc:"The id to end before, in the order asked"`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"By time of creation"`
}

// filter returns what the input selects, one more than the page holds.
func (in *listWebhookEndpointsInput) filter() (store.WebhookEndpointFilter, error) {
	for name, cursor := range map[string]string{"after": in.After, "before": in.Before} {
		if cursor != "" && !store.ValidWebhookEndpointID(cursor) {
			return store.WebhookEndpointFilter{}, refuse("invalid_cursor", "%s is not the id of a webhook endpoint; use first_id, last_id or next_cursor of an earlier page.", name)
		}
	}
	if in.After != "" && in.Before != "" {
		return store.WebhookEndpointFilter{}, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	return store.WebhookEndpointFilter{
		After: in.After, Before: in.Before, Ascending: in.Order == "asc", Limit: in.Limit + 1,
	}, nil
}

// webhookEndpointList is one page.
type webhookEndpointList struct {
	Object     string            `json:"object" enum:"list"`
	Data       []webhookEndpoint `json:"data" nullable:"false"`
	HasMore    bool              `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string           `json:"first_id"`
	LastID     *string           `json:"last_id"`
	NextCursor *string           `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

type listWebhookEndpointsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         webhookEndpointList
}

func (s *server) listWebhookEndpoints(ctx context.Context, in *listWebhookEndpointsInput) (*listWebhookEndpointsOutput, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	scope := scopeOf(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	page, err := s.db.WebhookEndpoints(ctx, scope, filter)
	if err != nil {
		return nil, err
	}
	list := webhookEndpointList{Object: "list"}
	page, list.HasMore = cutPage(page, in.Limit, in.Before != "")
	if list.Data, err = s.viewWebhookEndpoints(ctx, scope.OrgID, page); err != nil {
		return nil, err
	}
	list.FirstID, list.LastID, list.NextCursor = edgesOf(page, func(e *store.WebhookEndpoint) string { return e.ID }, list.HasMore, in.Before != "")
	return &listWebhookEndpointsOutput{CacheControl: "private, no-cache", Body: list}, nil
}

func (s *server) viewWebhookEndpoints(ctx context.Context, org string, page []*store.WebhookEndpoint) ([]webhookEndpoint, error) {
	ids := make([]string, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	secrets, err := s.db.WebhookSecrets(ctx, org, ids...)
	if err != nil {
		return nil, err
	}
	of := make(map[string][]*store.WebhookSecret, len(page))
	for _, secret := range secrets {
		of[secret.Owner] = append(of[secret.Owner], secret)
	}
	shown := make([]webhookEndpoint, len(page))
	for i, e := range page {
		shown[i] = viewWebhookEndpoint(e, of[e.ID])
	}
	return shown, nil
}
