package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How someone signed in.
const (
	MethodPassword = "password"
	MethodOIDC     = "oidc"
)

// Why a session ended before its time.
const (
	EndLogout    = "logout"
	EndRevoked   = "revoked"
	EndReuse     = "reuse" // a refresh token came again: someone else has a copy
	EndPassword  = "password"
	EndSuspended = "suspended"
)

// How long a session lasts: from its last refresh, and at most.
const (
	SessionIdle = 30 * 24 * time.Hour
	SessionMost = 90 * 24 * time.Hour
)

// RefreshGrace is how long the refresh token before the last may come again: the answer
// that brought the last was lost, or two pages asked at once.
const RefreshGrace = 10 * time.Second

// A Session is a sign-in.
type Session struct {
	ID          string
	AccountID   string
	Method      string
	Refresh     int // the number of the only refresh token that is good
	RefreshedAt time.Time
	CreatedAt   time.Time
	ExpiresAt   time.Time
	EndedAt     *time.Time
	EndedReason *string
	IP          string // where it began
	UserAgent   string
}

const prefixSession = "ses"

// ValidSessionID reports whether id could be a session's.
func ValidSessionID(id string) bool {
	_, err := decodeID(id, prefixSession+"_")
	return err == nil
}

// CreateSession records a sign-in from its AccountID, Method, IP and UserAgent.
func (db *DB) CreateSession(ctx context.Context, s Session) (*Session, error) {
	session, err := one[Session](ctx, db, `
		INSERT INTO session (id, account_id, method, expires_at, ip, user_agent)
		VALUES (@id, @account_id, @method, now() + @idle::interval, @ip, @user_agent)
		RETURNING `+columns[Session](""),
		pgx.NamedArgs{
			"id": NewID(prefixSession), "account_id": s.AccountID, "method": s.Method, "idle": SessionIdle,
			"ip": s.IP, "user_agent": s.UserAgent,
		})
	if err != nil {
		return nil, fmt.Errorf("create session of %s: %w", s.AccountID, err)
	}
	return session, nil
}

// A SessionState is what whoever asks within a session has to be told of it.
type SessionState struct {
	AccountID   string
	Ended       bool // or past its time
	SuspendedAt *time.Time
	Operator    bool
	Orgs        []string // that the account belongs to, in the order it joined, without deleted ones
	Roles       []string // of the account in each
	Suspended   []bool   // each of them
}

// SessionState returns a session's state, or ErrNotFound.
func (db *DB) SessionState(ctx context.Context, id string) (*SessionState, error) {
	state, err := one[SessionState](ctx, db, sessionStateSQL, pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("session %s: %w", id, err)
	}
	return state, nil
}

// Each part is found by its key, whatever the planner believes of a young table.
const sessionStateSQL = `
	SELECT a.id AS account_id, s.ended_at IS NOT NULL OR s.expires_at <= now() AS ended, a.suspended_at, a.operator, m.orgs, m.roles, m.suspended
	FROM session AS s
	CROSS JOIN LATERAL (
		SELECT id, suspended_at, operator FROM account
		WHERE id = s.account_id AND erased_at IS NULL
		LIMIT 1
	) AS a
	CROSS JOIN LATERAL (
		SELECT coalesce(array_agg(org_id ORDER BY created_at, org_id), '{}') AS orgs,
			coalesce(array_agg(role ORDER BY created_at, org_id), '{}') AS roles,
			coalesce(array_agg(org.suspended ORDER BY created_at, org_id), '{}') AS suspended
		FROM membership
		CROSS JOIN LATERAL (
			SELECT suspended_at IS NOT NULL AS suspended FROM org
			WHERE org.id = membership.org_id AND deleted_at IS NULL
			LIMIT 1
		) AS org
		WHERE account_id = a.id
	) AS m
	WHERE s.id = @id`

// What became of a refresh token.
var (
	ErrSessionEnded     = errors.New("the session has ended")
	ErrTokenReused      = errors.New("the refresh token was used before")
	ErrAccountSuspended = errors.New("the account is suspended")
)

// A ReuseError is ErrTokenReused of the token that has just ended a session.
type ReuseError struct{ Session *Session }

// Error says what ErrTokenReused does.
func (e *ReuseError) Error() string { return ErrTokenReused.Error() }

// Unwrap is ErrTokenReused.
func (e *ReuseError) Unwrap() error { return ErrTokenReused }

// RefreshSession takes a session's refresh token by its number and returns the session,
// with the number of the token to use from now on. The one before the last gets the
// same number once more within RefreshGrace; any other ends the session, with a
// ReuseError, and ErrTokenReused is all that its tokens get from then on. Other errors
// are ErrSessionEnded and ErrAccountSuspended.
func (db *DB) RefreshSession(ctx context.Context, id string, n int) (*Session, error) {
	found, err := many[Session](ctx, db, `
		UPDATE session
		SET refresh = refresh + (refresh = @n)::int,
			refreshed_at = CASE WHEN refresh = @n THEN now() ELSE refreshed_at END,
			expires_at = CASE WHEN refresh = @n THEN least(now() + @idle::interval, created_at + @most::interval) ELSE expires_at END,
			ended_at = CASE WHEN `+reusedSQL+` THEN now() END,
			ended_reason = CASE WHEN `+reusedSQL+` THEN 'reuse' END
		WHERE id = @id AND ended_at IS NULL AND expires_at > now()
			AND (SELECT suspended_at IS NULL AND erased_at IS NULL FROM account WHERE account.id = session.account_id)
		RETURNING `+columns[Session](""),
		pgx.NamedArgs{"id": id, "n": n, "idle": SessionIdle, "most": SessionMost, "grace": RefreshGrace})
	switch {
	case err != nil:
	case len(found) == 0:
		err = db.whyEnded(ctx, id)
	case found[0].EndedAt != nil:
		err = &ReuseError{found[0]}
	}
	if err != nil {
		return nil, fmt.Errorf("refresh session %s: %w", id, err)
	}
	return found[0], nil
}

const reusedSQL = `refresh <> @n AND NOT (refresh = @n + 1 AND refreshed_at > now() - @grace::interval)`

func (db *DB) whyEnded(ctx context.Context, id string) error {
	why, err := one[struct {
		Suspended bool
		Reason    *string
	}](ctx, db, `
		SELECT a.suspended_at IS NOT NULL AS suspended, s.ended_reason AS reason
		FROM session AS s JOIN account AS a ON a.id = s.account_id
		WHERE s.id = @id AND a.erased_at IS NULL`,
		pgx.NamedArgs{"id": id})
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrSessionEnded
	case err != nil:
		return err
	case why.Suspended:
		return ErrAccountSuspended
	case why.Reason != nil && *why.Reason == EndReuse:
		return ErrTokenReused
	}
	return ErrSessionEnded
}

// EndSession ends a session of an account for a reason and returns it, or ErrNotFound.
// One that has ended keeps its time and reason.
func (db *DB) EndSession(ctx context.Context, accountID, id, reason string) (*Session, error) {
	s, err := one[Session](ctx, db, `
		UPDATE session
		SET ended_at = coalesce(ended_at, now()), ended_reason = coalesce(ended_reason, @reason)
		WHERE id = @id AND account_id = @account_id
		RETURNING `+columns[Session](""),
		pgx.NamedArgs{"id": id, "account_id": accountID, "reason": reason})
	if err != nil {
		return nil, fmt.Errorf("end session %s: %w", id, err)
	}
	return s, nil
}

// EndSessions ends all sessions of an account for a reason, but for the one named, if
// any, and returns how many there were.
func (db *DB) EndSessions(ctx context.Context, accountID, except, reason string) (int, error) {
	tag, err := db.q.Exec(ctx, `
		UPDATE session
		SET ended_at = now(), ended_reason = @reason
		WHERE account_id = @account_id AND id <> @except AND ended_at IS NULL AND expires_at > now()`,
		pgx.NamedArgs{"account_id": accountID, "except": except, "reason": reason})
	if err != nil {
		return 0, fmt.Errorf("end sessions of %s: %w", accountID, err)
	}
	return int(tag.RowsAffected()), nil
}

// Sessions returns the page of an account's sessions that have not ended.
func (db *DB) Sessions(ctx context.Context, accountID string, page Page) ([]*Session, error) {
	sessions, err := paged[Session](ctx, db, `
			SELECT `+columns[Session]("")+` FROM session
			WHERE account_id = @account_id AND ended_at IS NULL AND expires_at > now()`,
		"id", page, pgx.NamedArgs{"account_id": accountID})
	if err != nil {
		return nil, fmt.Errorf("list sessions of %s: %w", accountID, err)
	}
	return sessions, nil
}

// SessionIsRecent reports whether a session of an account began within a time.
func (db *DB) SessionIsRecent(ctx context.Context, accountID, id string, within time.Duration) (bool, error) {
	found, err := many[struct{ ID string }](ctx, db, `
		SELECT id FROM session
		WHERE id = @id AND account_id = @account_id AND created_at > now() - @within::interval`,
		pgx.NamedArgs{"id": id, "account_id": accountID, "within": within})
	if err != nil {
		return false, fmt.Errorf("age of session %s: %w", id, err)
	}
	return len(found) == 1, nil
}
