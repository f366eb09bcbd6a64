package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What an organization is told of an operator who has changed something of it.
const (
	ActorOperator = "operator"
	OperatorName  = "service operator"
)

// An AuditRecord is an entry as it is read.
type AuditRecord struct {
	AuditEntry

	Sequence   int64   // its place in the log
	ActorEmail *string // of a person who has an account still
}

// An AuditFilter selects entries. Zero fields select everything.
type AuditFilter struct {
	OrgID         string // only the organization's; empty: all there are
	Action        string // the beginning of the action
	Actor         string // id
	Target        string // id
	CreatedAfter  *time.Time
	CreatedBefore *time.Time

	Page // in the order of their places, which is that of time but for what happens at once

	// Mask shows operators as no more than that, and finds them by no other name:
	// for readers who do not run the service.
	Mask bool
}

// AuditEntries returns the page of the log that a filter selects. It fails with
// ErrNotFound if After or Before is the id of no entry that the filter's organization
// has.
//
// An entry is shown once everything that was begun before it has been committed or
// rolled back, within moments. So who reads on behind the last entry they have seen,
// in ascending order, misses none.
func (db *DB) AuditEntries(ctx context.Context, f AuditFilter) ([]*AuditRecord, error) {
	args, err := db.auditPlaces(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	inner, outer := "DESC", "DESC"
	if f.Ascending {
		inner, outer = "ASC", "ASC"
	}
	if f.Before != "" { // the page is the one that ends there
		inner = map[bool]string{true: "DESC", false: "ASC"}[f.Ascending]
	}
	page, err := planned[AuditRecord](ctx, db, `
		SELECT page.*, account.email AS actor_email
		FROM (
			SELECT `+columns[AuditEntry]("")+`, sequence FROM audit_entry
			WHERE sequence > @low AND sequence <= @high
				AND (@org_id = '' OR org_id = @org_id)
				AND (@action = '' OR starts_with(action, @action))
				AND (@actor = '' OR @actor = CASE WHEN @mask AND `+byOperator+` THEN '`+OperatorName+`' ELSE actor_id END)
				AND (@target = '' OR target_id = @target)
				AND (@created_after::timestamptz IS NULL OR at > @created_after)
				AND (@created_before::timestamptz IS NULL OR at < @created_before)
			ORDER BY sequence `+inner+`
			LIMIT @limit
		) AS page
		LEFT JOIN account ON page.actor_kind = 'account' AND account.id = page.actor_id AND account.erased_at IS NULL
		ORDER BY sequence `+outer, args)
	if err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	if f.Mask {
		for _, r := range page {
			r.mask()
		}
	}
	return page, nil
}

// byOperator selects what operators did: those of the API and of the command line.
const byOperator = `(operator OR actor_kind = '` + ActorCommand + `')`

// mask hides which operator it was.
func (r *AuditRecord) mask() {
	if !r.Operator && r.ActorKind != ActorCommand {
		return
	}
	r.ActorKind, r.ActorID, r.ActorEmail = ActorOperator, OperatorName, nil
	r.IP, r.UserAgent = "", ""
}

// auditPlaces returns the arguments of a filter, with the places between which its
// page is. It is a statement of its own: what it finds complete, only a later one is
// sure to see.
func (db *DB) auditPlaces(ctx context.Context, f AuditFilter) (pgx.NamedArgs, error) {
	type places struct{ Horizon, After, Before *int64 }
	rows, err := planned[places](ctx, db, `
		SELECT audit_entry_horizon() AS horizon,
			(SELECT sequence FROM audit_entry WHERE id = @after AND (@org_id = '' OR org_id = @org_id)) AS after,
			(SELECT sequence FROM audit_entry WHERE id = @before AND (@org_id = '' OR org_id = @org_id)) AS before`,
		pgx.NamedArgs{"after": f.After, "before": f.Before, "org_id": f.OrgID})
	if err != nil {
		return nil, err
	}
	found := rows[0]
	if f.After != "" && found.After == nil || f.Before != "" && found.Before == nil {
		return nil, fmt.Errorf("cursor: %w", ErrNotFound)
	}
	low, high := int64(0), *found.Horizon
	above, below := found.After, found.Before
	if !f.Ascending {
		above, below = below, above
	}
	if above != nil {
		low = *above
	}
	if below != nil {
		high = min(high, *below-1)
	}
	return pgx.NamedArgs{
		"low": low, "high": high, "org_id": f.OrgID, "action": f.Action, "actor": f.Actor, "target": f.Target, "mask": f.Mask,
		"created_after": f.CreatedAfter, "created_before": f.CreatedBefore, "limit": f.Limit,
	}, nil
}

// planned does as many, with a plan for the values of each call: one that was made
// for any, while a table was young, would read it whole for long after.
func planned[T any](ctx context.Context, db *DB, sql string, args pgx.NamedArgs) ([]*T, error) {
	rows, err := db.q.Query(ctx, sql, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
}
