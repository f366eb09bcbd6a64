package view

import (
	"context"

	"github.com/nanobanana/nanobanana/store"
)

// Rows are what a generation's JSON shows beside the generation itself, by its id.
type Rows struct {
	Images     map[string][]*store.Image
	Attempts   map[string][]*store.Attempt
	Deliveries map[string]int // attempts to tell its webhook_url
}

// Read returns the rows of generations of a project. Images need a query if one has
// ended, attempts if one has begun, and deliveries if one has a webhook_url.
func Read(ctx context.Context, db *store.DB, project string, list []*store.Generation) (*Rows, error) {
	var begun, telling []string
	var ended []*store.Generation
	for _, g := range list {
		if g.WebhookURL != nil {
			telling = append(telling, g.ID)
		}
		if g.Fence == 0 {
			continue
		}
		begun = append(begun, g.ID)
		if g.Status.Terminal() {
			ended = append(ended, g)
		}
	}
	rows := &Rows{}
	if len(ended) > 0 {
		images, err := db.Images(ctx, project, ended)
		if err != nil {
			return nil, err
		}
		rows.Images = groupBy(images, func(i *store.Image) string { return i.GenerationID })
	}
	if len(begun) > 0 {
		attempts, err := db.Attempts(ctx, project, begun)
		if err != nil {
			return nil, err
		}
		rows.Attempts = groupBy(attempts, func(a *store.Attempt) string { return a.GenerationID })
	}
	if len(telling) > 0 {
		deliveries, err := db.RequestDeliveries(ctx, project, telling)
		if err != nil {
			return nil, err
		}
		rows.Deliveries = deliveries
	}
	return rows, nil
}

// Load shows generations of a project, in the order given. base begins the
// absolute URLs, as in Generation.
func (v *Viewer) Load(ctx context.Context, db *store.DB, project, base string, list []*store.Generation) ([]*Generation, error) {
	rows, err := Read(ctx, db, project, list)
	if err != nil {
		return nil, err
	}
	views := make([]*Generation, len(list))
	for i, g := range list {
		views[i] = v.show(base, g, rows)
	}
	return views, nil
}

// show is Generation with all that was read of it.
func (v *Viewer) show(base string, g *store.Generation, rows *Rows) *Generation {
	shown := v.Generation(base, g, rows.Images[g.ID], rows.Attempts[g.ID])
	shown.Webhook.Deliveries = rows.Deliveries[g.ID]
	return shown
}

func groupBy[T any](rows []*T, id func(*T) string) map[string][]*T {
	groups := make(map[string][]*T, 1)
	for _, row := range rows {
		groups[id(row)] = append(groups[id(row)], row)
	}
	return groups
}
