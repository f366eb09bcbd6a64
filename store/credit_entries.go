package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const prefixCreditEntry = "cre_"

// CreditEntryID is how an entry is named in filters. It tells how many entries there
// are, of all organizations together: those who read it see another name.
func CreditEntryID(id int64) string { return prefixCreditEntry + strconv.FormatInt(id, 10) }

// ValidCreditEntryID reports whether id could be an entry's.
func ValidCreditEntryID(id string) bool {
	_, err := parseCreditEntryID(id)
	return err == nil
}

func parseCreditEntryID(id string) (int64, error) {
	digits, ok := strings.CutPrefix(id, prefixCreditEntry)
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || CreditEntryID(n) != id {
		return 0, ErrNotFound
	}
	return n, nil
}

// Change is what an entry adds to what is available.
func (e *CreditEntry) Change() int { return e.Granted - e.Reserved - e.Used }

// CreditKinds lists the kinds of entries.
func CreditKinds() []string {
	return []string{
		CreditAllowance, CreditGrant, CreditPurchase, CreditAdjust, CreditCarry, CreditRefund, CreditReserve, CreditSettle, CreditRelease,
	}
}

// A CreditEntryFilter selects entries of an organization. Other zero fields select
// everything.
type CreditEntryFilter struct {
	Page // in the order in which they were written

	OrgID        string
	Kind         string
	Period       *time.Time // when it begins
	GenerationID string     // with what reserved its batch
}

// CreditEntries returns the page of an organization's entries that a filter selects.
// After and Before are of CreditEntryID.
func (db *DB) CreditEntries(ctx context.Context, f CreditEntryFilter) ([]*CreditEntry, error) {
	args := pgx.NamedArgs{"org_id": f.OrgID, "kind": f.Kind, "period": f.Period, "limit": f.Limit}
	low, high := f.After, f.Before
	if !f.Ascending {
		low, high = high, low
	}
	for name, bound := range map[string]struct {
		id      string
		nothing int64
	}{"low": {low, 0}, "high": {high, math.MaxInt64}} {
		args[name] = bound.nothing
		if bound.id == "" {
			continue
		}
		id, err := parseCreditEntryID(bound.id)
		if err != nil {
			return nil, fmt.Errorf("list credits of %s behind %q: %w", f.OrgID, bound.id, err)
		}
		args[name] = id
	}
	subject := ""
	if f.GenerationID != "" {
		batch, err := db.batchOf(ctx, f.OrgID, f.GenerationID)
		if err != nil {
			return nil, fmt.Errorf("list credits of %s: %w", f.GenerationID, err)
		}
		subject, args["subjects"] = `AND subject = ANY(@subjects::text[])`, []string{f.GenerationID, batch}
	}
	order := map[bool]string{true: "ASC", false: "DESC"}
	// With an edge at the end, the page is the one that ends there.
	inner := order[f.Ascending == (f.Before == "")]
	entries, err := planned[CreditEntry](ctx, db, `
		SELECT * FROM (
			SELECT `+columns[CreditEntry]("")+` FROM credit_entry
			WHERE org_id = @org_id AND id > @low AND id < @high
				AND (@kind = '' OR kind = @kind)
				AND (@period::timestamptz IS NULL OR period = @period)
				`+subject+`
			ORDER BY id `+inner+`
			LIMIT @limit
		) AS page
		ORDER BY id `+order[f.Ascending], args)
	if err != nil {
		return nil, fmt.Errorf("list credits of %s: %w", f.OrgID, err)
	}
	return entries, nil
}

// batchOf is the batch that a generation was reserved with, or the generation itself.
func (db *DB) batchOf(ctx context.Context, orgID, id string) (string, error) {
	row, err := one[struct{ BatchID *string }](ctx, db, `
		SELECT batch_id FROM generation
		WHERE id = @id AND org_id = @org_id`, pgx.NamedArgs{"id": id, "org_id": orgID})
	switch {
	case errors.Is(err, ErrNotFound), err == nil && row.BatchID == nil:
		return id, nil
	case err != nil:
		return "", err
	}
	return *row.BatchID, nil
}

// CreditAccountsAt returns the accounts of a time that organizations have, as CreditAccount
// does, by organization. One that has asked for nothing in its period may have none.
func (db *DB) CreditAccountsAt(ctx context.Context, orgIDs []string, at time.Time) (map[string]*CreditAccount, error) {
	accounts, err := many[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("a")+`
		FROM unnest(@org_ids::text[]) AS org (id), LATERAL (
			SELECT * FROM credit_account
			WHERE org_id = org.id AND period = `+ongoingPeriodSQL("org.id")+`
			LIMIT 1
		) AS a`, pgx.NamedArgs{"org_ids": orgIDs, "at": at})
	if err != nil {
		return nil, fmt.Errorf("list credits of %d organizations: %w", len(orgIDs), err)
	}
	byOrg := make(map[string]*CreditAccount, len(accounts))
	for _, a := range accounts {
		byOrg[a.OrgID] = a
	}
	return byOrg, nil
}
