package api

import (
	"context"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

// viewGeneration shows one generation of the caller's project.
func (s *server) viewGeneration(ctx context.Context, g *store.Generation) (*view.Generation, error) {
	views, err := s.viewGenerations(ctx, g.ProjectID, []*store.Generation{g})
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// viewGenerations shows generations of a project.
func (s *server) viewGenerations(ctx context.Context, project string, list []*store.Generation) ([]*view.Generation, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.views.Load(ctx, s.db, project, s.base(requestOf(ctx).http), list)
}

// retryAfter is the header of that name: none once the generation has ended.
func retryAfter(g *view.Generation) string {
	if g.ETASeconds == nil {
		return ""
	}
	return strconv.Itoa(retrySeconds(time.Duration(*g.ETASeconds) * time.Second))
}

// costMicros is the header X-NB-Cost-Micros: none until the generation has ended.
func costMicros(g *view.Generation) string {
	if g.Usage == nil {
		return ""
	}
	return strconv.FormatInt(g.Usage.Cost.Micros, 10)
}

// retrySeconds is when to ask again for what may end at eta.
func retrySeconds(eta time.Duration) int {
	const most = 30
	return min(max(int(eta.Seconds()), 1), most)
}
