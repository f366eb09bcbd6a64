package api

import (
	"context"
	"fmt"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// A reach is which generations someone may see, with their images and streams: those of
// a project, or of these only what was asked for in test mode. So a test key, which is
// not guarded as a live one is, shows and deletes nothing that matters.
type reach struct {
	project string
	test    bool
}

func reachOf(caller *auth.Caller) reach {
	return reach{project: caller.ProjectID, test: caller.Test}
}

// readGeneration returns a generation within reach, or store.ErrNotFound.
func (s *server) readGeneration(ctx context.Context, within reach, id string) (*store.Generation, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	g, err := s.db.Generation(ctx, within.project, id)
	if err == nil && within.test && !g.Test {
		return nil, fmt.Errorf("generation %s, which is not of test mode: %w", id, store.ErrNotFound)
	}
	return g, err
}

// checkReach refuses an id that no generation within reach has, with store.ErrNotFound.
// Of those that are of the project it need not ask the database.
func (s *server) checkReach(ctx context.Context, within reach, id string) error {
	if err := checkID(id); err != nil || !within.test {
		return err
	}
	_, err := s.readGeneration(ctx, within, id)
	return err
}
