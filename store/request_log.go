package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RequestRetention is how long requests are remembered.
const RequestRetention = 30 * 24 * time.Hour

const prefixRequest = "req"

// NewRequestID returns an id for a request: those of later requests sort behind it.
func NewRequestID() string { return NewID(prefixRequest) }

// ValidRequestID reports whether id could be a request's.
func ValidRequestID(id string) bool { return validID(id, prefixRequest) }

// A LoggedRequest is a request as its organization finds it afterwards. It has nothing
// of the query, of headers that name who asks, or of the body.
type LoggedRequest struct {
	ID           string // the answer's X-Request-Id
	OrgID        string
	ProjectID    *string
	APIKeyID     *string
	AccountID    *string
	Method       string
	Path         string
	Operation    *string // its name in the document
	Status       int16
	Code         *string // of the problem
	Ms           int     // until the answer was written
	IP           string
	UserAgent    string
	GenerationID *string
	Test         bool
	CreatedAt    time.Time
}

// RecordRequests writes requests, all or none. One that was written before is no error,
// if all were: so a call that failed may be repeated as it was.
func (db *DB) RecordRequests(ctx context.Context, rows []LoggedRequest) error {
	_, err := db.Pool().CopyFrom(ctx, pgx.Identifier{"request_log"}, []string{
		"id", "org_id", "project_id", "api_key_id", "account_id", "method", "path", "operation", "status", "code", "ms", "ip", "user_agent",
		"generation_id", "test", "created_at",
	}, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		r := &rows[i]
		return []any{
			r.ID, r.OrgID, r.ProjectID, r.APIKeyID, r.AccountID, r.Method, r.Path, r.Operation, r.Status, r.Code, r.Ms, r.IP, r.UserAgent,
			r.GenerationID, r.Test, r.CreatedAt,
		}, nil
	}))
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return nil // ids are of this process alone, and a COPY is written whole
	}
	if err != nil {
		return fmt.Errorf("record %d requests: %w", len(rows), err)
	}
	return nil
}

// A RequestFilter selects requests of an organization. Other zero fields select
// everything.
type RequestFilter struct {
	Page

	OrgID         string
	ProjectID     string
	Test          bool // only those in test mode
	Status        int  // 404, or 4 for all of 400 to 499
	Method        string
	APIKeyID      string
	Operation     string
	GenerationID  string
	CreatedAfter  *time.Time
	CreatedBefore *time.Time
}

// LoggedRequests returns the page of an organization's requests that a filter selects.
func (db *DB) LoggedRequests(ctx context.Context, f RequestFilter) ([]*LoggedRequest, error) {
	sql, args := requestsSQL(f)
	rows, err := planned[LoggedRequest](ctx, db, sql, args)
	if err != nil {
		return nil, fmt.Errorf("list requests of %s: %w", f.OrgID, err)
	}
	return rows, nil
}

func requestsSQL(f RequestFilter) (sql string, args pgx.NamedArgs) {
	args = pgx.NamedArgs{
		"org_id": f.OrgID, "project_id": f.ProjectID, "test": f.Test, "status": f.Status, "method": f.Method, "api_key_id": f.APIKeyID,
		"operation": f.Operation, "generation_id": f.GenerationID, "created_after": f.CreatedAfter, "created_before": f.CreatedBefore,
		"low": "", "high": "~", "limit": f.Limit,
	}
	low, high := f.After, f.Before
	if !f.Ascending {
		low, high = high, low
	}
	// Ids are of the time at which the request began, but for what clocks are apart.
	const apart = time.Minute
	if f.CreatedAfter != nil {
		low = max(low, requestIDAt(f.CreatedAfter.Add(-apart)))
	}
	if f.CreatedBefore != nil {
		if bound := requestIDAt(f.CreatedBefore.Add(apart)); high == "" || bound < high {
			high = bound
		}
	}
	args["low"] = low
	if high != "" {
		args["high"] = high
	}
	order := map[bool]string{true: "ASC", false: "DESC"}
	// With an edge at the end, the page is the one that ends there.
	inner := order[f.Ascending == (f.Before == "")]
	broken := ""
	if f.Status == 5 || f.Status >= 500 {
		broken = `
				AND status >= 500` // which has an index
	}
	return `
		SELECT * FROM (
			SELECT ` + columns[LoggedRequest]("") + ` FROM request_log
			WHERE org_id = @org_id AND id > @low AND id < @high` + broken + `
				AND (@project_id = '' OR project_id = @project_id)
				AND (@test = false OR test)
				AND (@status::int = 0 OR status = @status OR status / 100 = @status)
				AND (@method = '' OR method = @method)
				AND (@api_key_id = '' OR api_key_id = @api_key_id)
				AND (@operation = '' OR operation = @operation)
				AND (@generation_id = '' OR generation_id = @generation_id)
				AND (@created_after::timestamptz IS NULL OR created_at > @created_after)
				AND (@created_before::timestamptz IS NULL OR created_at < @created_before)
			ORDER BY id ` + inner + `
			LIMIT @limit
		) AS page
		ORDER BY id ` + order[f.Ascending], args
}

// LoggedRequest returns a request of an organization, or ErrNotFound.
func (db *DB) LoggedRequest(ctx context.Context, orgID, id string) (*LoggedRequest, error) {
	r, err := one[LoggedRequest](ctx, db, `
		SELECT `+columns[LoggedRequest]("")+` FROM request_log
		WHERE id = @id AND org_id = @org_id`, pgx.NamedArgs{"id": id, "org_id": orgID})
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", id, err)
	}
	return r, nil
}

// ExpireRequests forgets up to limit requests from before a time, the oldest, and
// returns how many.
func (db *DB) ExpireRequests(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.number(ctx, `
		WITH gone AS (
			DELETE FROM request_log
			WHERE id = ANY(ARRAY(
				SELECT id FROM request_log
				WHERE id < @before
				ORDER BY id
				LIMIT @limit
				FOR UPDATE SKIP LOCKED))
			RETURNING 1
		)
		SELECT count(*)::int FROM gone`, pgx.NamedArgs{"before": requestIDAt(before), "limit": limit})
	if err != nil {
		return 0, fmt.Errorf("expire requests: %w", err)
	}
	return n, nil
}

// requestIDAt is what the ids of requests from a time on sort behind: a UUIDv7 begins
// with 48 bits of milliseconds (RFC 9562, section 5.7).
func requestIDAt(t time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(max(0, t.UnixMilli()))<<16)
	return prefixRequest + "_" + idEncoding.EncodeToString(raw[:])
}
