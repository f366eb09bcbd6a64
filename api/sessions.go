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
	ID          string     `json:"id" example:"ses_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Object      string     `json:"object" enum:"session"`
	Current     bool       `json:"current" doc:"Whether it is the one that asks"`
	Method      string     `json:"method" enum:"password,oidc"`
	IP          string     `json:"ip" doc:"Where it began"`
	UserAgent   string     `json:"user_agent"`
	CreatedAt   time.Time  `json:"created_at"`
	RefreshedAt time.Time  `json:"refreshed_at" doc:"When it last got an access token"`
	ExpiresAt   time.Time  `json:"expires_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	EndedReason *string    `json:"ended_reason,omitempty"`
}

func viewSession(s *store.Session, current string) session {
	return session{
		ID: s.ID, Object: "session", Current: s.ID == current, Method: s.Method, IP: s.IP, UserAgent: s.UserAgent,
		CreatedAt: s.CreatedAt.UTC(), RefreshedAt: s.RefreshedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(),
		EndedAt: utc(s.EndedAt), EndedReason: s.EndedReason,
	}
}

// listSessionsInput selects a page.
type listSessionsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After  string `query:"after" doc:"The id to start behind, in the order asked"`
	Before string `query:"before" doc:"The id to end before, in the order asked"`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"By time of creation"`
}

func (in *listSessionsInput) filter() (store.SessionFilter, error) {
	for name, cursor := range map[string]string{"after": in.After, "before": in.Before} {
		if cursor != "" && !store.ValidSessionID(cursor) {
			return store.SessionFilter{}, refuse("invalid_cursor", "%s is not the id of a session; use first_id, last_id or next_cursor of an earlier page.", name)
		}
	}
	if in.After != "" && in.Before != "" {
		return store.SessionFilter{}, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	return store.SessionFilter{After: in.After, Before: in.Before, Ascending: in.Order == "asc", Limit: in.Limit + 1}, nil
}

// sessionList is one page.
type sessionList struct {
	Object     string    `json:"object" enum:"list"`
	Data       []session `json:"data" nullable:"false"`
	HasMore    bool      `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string   `json:"first_id"`
	LastID     *string   `json:"last_id"`
	NextCursor *string   `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

type listSessionsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         sessionList
}

func (s *server) listSessions(ctx context.Context, in *listSessionsInput) (*listSessionsOutput, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	page, err := s.db.Sessions(ctx, caller.AccountID, filter)
	if err != nil {
		return nil, err
	}
	list := sessionList{Object: "list", Data: []session{}}
	page, list.HasMore = cutPage(page, in.Limit, in.Before != "")
	for _, row := range page {
		list.Data = append(list.Data, viewSession(row, caller.SessionID))
	}
	list.FirstID, list.LastID, list.NextCursor = edgesOf(page, func(s *store.Session) string { return s.ID }, list.HasMore, in.Before != "")
	return &listSessionsOutput{CacheControl: noStore, Body: list}, nil
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
