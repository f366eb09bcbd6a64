package api

import (
	"context"

	"github.com/nanobanana/nanobanana/store"
)

type adminListKeysInput struct {
	OrgID string `query:"org_id" maxLength:"100" doc:"Only those of this organization"`
	PageInput
}

func (s *server) adminListKeys(ctx context.Context, in *adminListKeysInput) (*pageOutput[apiKey], error) {
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
	return pageOf(&in.PageInput, rows, func(k *store.APIKey) string { return k.ID }, viewKey), nil
}
