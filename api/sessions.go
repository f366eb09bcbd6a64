package api

import (
	"context"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// session is a sign-in as its owner sees it.
type session struct {
	ID          string    `json:"id" example:"ses_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object      string    `json:"object" enum:"session"`
	Current     bool      `json:"current" doc:"Whether it is the one that asks"`
	Method      string    `json:"method" enum:"password,oidc"`
	IP          string    `json:"ip" doc:"Where it began"`
	UserAgent   string    `json:"user_agent"`
	CreatedAt   time.Time `json:"created_at"`
	RefreshedAt time.Time `json:"refreshed_at" doc:"When it last got an access token"`
	ExpiresAt   time.Time `json:"expires_at"`
}

func viewSession(s *store.Session, current string) session {
	return session{
		ID: s.ID, Object: "session", Current: s.ID == current, Method: s.Method, IP: s.IP, UserAgent: s.UserAgent,
		CreatedAt: s.CreatedAt.UTC(), RefreshedAt: s.RefreshedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(),
	}
}

// listSessionsInput selects a page.
type listSessionsInput struct{ PageInput }

func (s *server) listSessions(ctx context.Context, in *listSessionsInput) (*pageOutput[session], error) {
	selected, err := in.page("a session", store.ValidSessionID)
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.db.Sessions(ctx, caller.AccountID, selected)
	if err != nil {
		return nil, err
	}
	view := func(row *store.Session) session { return viewSession(row, caller.SessionID) }
	return pageOf(&in.PageInput, rows, func(s *store.Session) string { return s.ID }, view), nil
}

type endSessionInput struct {
	ID string `path:"id" example:"ses_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

func (s *server) endSession(ctx context.Context, in *endSessionInput) (*struct{}, error) {
	if !store.ValidSessionID(in.ID) {
		return nil, fmt.Errorf("session %q: %w", in.ID, store.ErrNotFound)
	}
	account := auth.FromContext(ctx).AccountID
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.db.Transact(ctx, func(tx *store.DB) error {
		if _, err := tx.EndSession(ctx, account, in.ID, store.EndRevoked); err != nil {
			return err
		}
		return s.record(ctx, tx, change{Action: "session.revoke", Kind: "session", ID: in.ID})
	})
}

type endedSessions struct {
	Object string `json:"object" enum:"ended_sessions"`
	Count  int    `json:"count" doc:"How many there were"`
}

type endOtherSessionsOutput struct{ Body endedSessions }

func (s *server) endOtherSessions(ctx context.Context, _ *struct{}) (*endOtherSessionsOutput, error) {
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	ended := endedSessions{Object: "ended_sessions"}
	err := s.db.Transact(ctx, func(tx *store.DB) (err error) {
		if ended.Count, err = tx.EndSessions(ctx, caller.AccountID, caller.SessionID, store.EndRevoked); err != nil || ended.Count == 0 {
			return err
		}
		return s.record(ctx, tx, change{
			Action: "session.revoke", Kind: "account", ID: caller.AccountID, After: map[string]int{"sessions_ended": ended.Count},
		})
	})
	return &endOtherSessionsOutput{Body: ended}, err
}
