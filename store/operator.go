package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// States of accounts and organizations that operators search by.
const (
	StateActive     = "active"
	StateUnverified = "unverified" // accounts only
	StateSuspended  = "suspended"
	StateErased     = "erased"  // accounts only
	StateDeleted    = "deleted" // organizations only
)

// operatorPage runs a query, which ends with a WHERE, for one page of what it
// selects.
func operatorPage[T any](ctx context.Context, db *DB, query, id string, p Page, args pgx.NamedArgs) ([]*T, error) {
	args["low"], args["high"], args["limit"] = p.After, p.Before, p.Limit
	if !p.Ascending {
		args["low"], args["high"] = p.Before, p.After
	}
	order := map[bool]string{true: "ASC", false: "DESC"}
	// With an edge at the end, the page is the one that ends there.
	inner := order[p.Ascending == (p.Before == "")]
	return planned[T](ctx, db, `
		SELECT * FROM (
			`+query+` AND `+id+` > @low AND (@high = '' OR `+id+` < @high)
			ORDER BY `+id+` `+inner+`
			LIMIT @limit
		) AS page
		ORDER BY id `+order[p.Ascending], args)
}

// beginningWith are the rows of a table that match a condition, if text is not empty.
// They are found by the condition's index before anything else: a planner that hopes to
// meet enough of them in the order of ids may read the table whole.
func beginningWith(table, condition, text string) string {
	if text == "" {
		return table
	}
	return `(SELECT * FROM ` + table + ` WHERE ` + condition + ` OFFSET 0) AS ` + table
}

// beginning is the pattern of LIKE for texts that begin with one.
func beginning(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}

// An OperatorAccount is an account as operators see it.
type OperatorAccount struct {
	ID          string
	Email       string
	Name        string
	Operator    bool
	CreatedAt   time.Time
	VerifiedAt  *time.Time
	SuspendedAt *time.Time
	ErasedAt    *time.Time
}

// An AccountFilter selects accounts. Zero fields select everything.
type AccountFilter struct {
	Page

	Email    string // the beginning of the address, in any case
	ID       string
	State    string
	Operator *bool
}

// OperatorAccounts returns the page of all accounts that a filter selects.
func (db *DB) OperatorAccounts(ctx context.Context, f AccountFilter) ([]*OperatorAccount, error) {
	page, err := operatorPage[OperatorAccount](ctx, db, `
			SELECT `+columns[OperatorAccount]("")+` FROM `+beginningWith("account", "email_key LIKE @beginning", f.Email)+`
			WHERE (@id = '' OR id = @id)
				AND (@operator::boolean IS NULL OR operator = @operator)
				AND CASE @state
					WHEN 'erased' THEN erased_at IS NOT NULL
					WHEN 'suspended' THEN erased_at IS NULL AND suspended_at IS NOT NULL
					WHEN 'unverified' THEN erased_at IS NULL AND suspended_at IS NULL AND verified_at IS NULL
					WHEN 'active' THEN erased_at IS NULL AND suspended_at IS NULL AND verified_at IS NOT NULL
					ELSE true
				END`, "id", f.Page,
		pgx.NamedArgs{
			"beginning": beginning(EmailKey(f.Email)), "id": f.ID, "operator": f.Operator, "state": f.State,
		})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return page, nil
}

// OperatorAccount returns any account, or ErrNotFound. In a transaction it keeps
// others from changing it.
func (db *DB) OperatorAccount(ctx context.Context, id string) (*OperatorAccount, error) {
	account, err := one[OperatorAccount](ctx, db, `
		SELECT `+columns[OperatorAccount]("")+` FROM account
		WHERE id = @id `+db.forUpdate(),
		pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", id, err)
	}
	return account, nil
}

// forUpdate locks rows that are read to be changed. It lets the foreign keys of
// others' inserts pass.
func (db *DB) forUpdate() string {
	if db.tx == nil {
		return ""
	}
	return "FOR NO KEY UPDATE"
}

// SuspendAccount suspends an account that is not erased, which ends its sessions, or
// ends that, and returns the account, or ErrNotFound. Suspending twice keeps the first
// time. It belongs into a transaction.
func (db *DB) SuspendAccount(ctx context.Context, id string, suspended bool) (*OperatorAccount, error) {
	account, err := one[OperatorAccount](ctx, db, `
		UPDATE account
		SET suspended_at = CASE WHEN @suspended THEN coalesce(suspended_at, now()) END
		WHERE id = @id AND erased_at IS NULL
		RETURNING `+columns[OperatorAccount](""),
		pgx.NamedArgs{"id": id, "suspended": suspended})
	if err != nil {
		return nil, fmt.Errorf("suspend account %s: %w", id, err)
	}
	if suspended {
		_, err = db.EndSessions(ctx, id, "", EndSuspended)
	}
	return account, err
}

// SetOperator makes the owner of a verified address an operator, or no longer one. It
// returns the account, and whether that changed anything; or ErrNotFound if nobody
// has shown the address to be theirs.
func (db *DB) SetOperator(ctx context.Context, email string, operator bool) (account *OperatorAccount, changed bool, err error) {
	type row struct {
		OperatorAccount

		Changed bool
	}
	set, err := one[row](ctx, db, `
		WITH before AS (
			SELECT id, operator FROM account
			WHERE email_key = @email AND verified_at IS NOT NULL AND erased_at IS NULL
			FOR NO KEY UPDATE
		)
		UPDATE account AS a
		SET operator = @operator
		FROM before
		WHERE a.id = before.id
		RETURNING `+columns[OperatorAccount]("a")+`, before.operator <> @operator AS changed`,
		pgx.NamedArgs{"email": EmailKey(email), "operator": operator})
	if err != nil {
		return nil, false, fmt.Errorf("set operator %s: %w", email, err)
	}
	return &set.OperatorAccount, set.Changed, nil
}
