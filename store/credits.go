package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of entries.
const (
	CreditAllowance = "allowance" // what the plan grants for the period
	CreditGrant     = "grant"     // by an operator
	CreditPurchase  = "purchase"  // bought apart from the plan
	CreditAdjust    = "adjust"    // set by an operator, or a change of plans
	CreditCarry     = "carry"     // bought, from one period to the next
	CreditRefund    = "refund"    // a purchase was given back
	CreditReserve   = "reserve"   // a generation or a batch was accepted
	CreditSettle    = "settle"    // a generation delivered images
	CreditRelease   = "release"   // a generation delivered none
)

// ErrTooFewCredits reports that fewer credits are there than are to be taken away.
var ErrTooFewCredits = errors.New("the organization has fewer credits than that")

// ErrCreditRange reports a change by more than 2^31 credits at once.
var ErrCreditRange = errors.New("the change is too large")

// ErrBoughtCredits reports that more credits were bought and are left than are to be
// there: what was paid for is taken by name, with CreditChange.Bought, or not at all.
var ErrBoughtCredits = errors.New("the organization has more bought credits left than that")

// A CreditAccount is what an organization may use in a period, in credits.
type CreditAccount struct {
	OrgID        string
	Period       time.Time // when it begins
	EndsAt       time.Time
	Plan         string
	Metered      bool // what is used beyond the granted is let in, and billed afterwards
	CreditMicros int  // what a used credit costs, in millionths of a US dollar
	Granted      int64
	Reserved     int64 // for what is under way
	Used         int64
	Reported     int64  // of the used, what is in reports for Stripe: it is billed, and takes nothing of the granted
	Bought       int64  // of the granted: what the next period gets as far as it is left
	Given        int64  // of the granted, by operators: what a change of plan leaves, as far as it is left
	Owed         int64  // what could not be taken back, since it is used or reserved: it is not available, and goes on into later periods
	Closed       bool   // a change of plan has ended it: nothing more is let in, but in the account that goes on with it
	Withheld     bool   // what the plan grants waits for its payment
	SpendLimit   *int64 // reserved and used, here and before, reach it at most together
	// BudgetSince is when the first account begins that changes of plan have ended within
	// the budget's period; nil: there is none.
	BudgetSince *time.Time
	Held        bool   // nothing is let in beyond the granted, though it is metered: the subscription is not paid
	WarnAt      *int64 // used credits that someone wants to hear of next

	// What those accounts have used and have under way. CreditAccount and OpenPeriod
	// tell; otherwise both are 0.
	SpentBefore    int64 `db:"-"`
	UnderWayBefore int64 `db:"-"`
}

// Available is what is left of the granted, less what is owed, which takes nothing that
// was bought or given; it is below 0 where use is metered.
func (a *CreditAccount) Available() int64 {
	return max(a.rest()-a.Owed, min(a.rest(), a.Bought+a.Given))
}

// Spendable is what is left of the budget, which may be below 0; nil: there is no limit.
func (a *CreditAccount) Spendable() *int64 {
	if a.SpendLimit == nil {
		return nil
	}
	return new(*a.SpendLimit - a.SpentBefore - a.UnderWayBefore - a.Reserved - a.Used)
}

// rest is what is left of the granted.
func (a *CreditAccount) rest() int64 { return a.Granted - a.Reserved - (a.Used - a.Reported) }

// spare is what of the rest can be taken: neither bought nor given.
func (a *CreditAccount) spare() int64 { return max(0, a.rest()-a.Bought-a.Given) }

// BoughtLeft is what is left of the bought, as everything else is used before it.
func (a *CreditAccount) BoughtLeft() int64 { return max(0, min(a.Bought, a.Available())) }

// CreditAccount returns the account of the period that a time is in or, where a change of
// plan has ended that, the one that goes on with it: what a submission of that time takes
// its credits from. It returns ErrNotFound while there is none.
func (db *DB) CreditAccount(ctx context.Context, orgID string, at time.Time) (*CreditAccount, error) {
	account, err := db.ongoingAccount(ctx, orgID, at)
	if err == nil && account == nil {
		err = ErrNotFound
	}
	if err == nil && account.BudgetSince != nil {
		err = db.readSpentBefore(ctx, account)
	}
	if err != nil {
		return nil, fmt.Errorf("credits of %s: %w", orgID, err)
	}
	return account, nil
}

// CreditAccounts returns an organization's accounts, the latest first, at most limit.
func (db *DB) CreditAccounts(ctx context.Context, orgID string, limit int) ([]*CreditAccount, error) {
	accounts, err := many[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("")+` FROM credit_account
		WHERE org_id = @org_id
		ORDER BY period DESC
		LIMIT @limit`, pgx.NamedArgs{"org_id": orgID, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list credits of %s: %w", orgID, err)
	}
	return accounts, nil
}

// A CreditEntry says what was added to an account and why. It is never changed.
type CreditEntry struct {
	ID        int64
	OrgID     string
	Period    time.Time // names the account
	Kind      string
	Granted   int
	Reserved  int
	Used      int
	Bought    int
	Micros    int64   // what was used costs, in millionths of a US dollar
	Subject   *string // a generation, a batch, or what else happens once
	Reason    *string
	Actor     *string
	CreatedAt time.Time
}

// given is what an entry adds to what operators have given.
func (e *CreditEntry) given() int {
	if e.Kind == CreditGrant || e.Kind == CreditCarry {
		return e.Granted - e.Bought
	}
	return 0
}

// enter writes an entry, and adds it to its account, which it locks. Before anything is
// granted, what was bought or given and is used counts as that no more. It fails with
// ErrTooFewCredits where the account has less than is to be taken.
func (db *DB) enter(ctx context.Context, e CreditEntry) error {
	if e.Granted > max(0, e.Bought) {
		if err := db.forgetUsed(ctx, e.OrgID, e.Period); err != nil {
			return err
		}
	}
	changed, err := db.number(ctx, `
		WITH entry AS (
			INSERT INTO credit_entry (org_id, period, kind, granted, bought, subject, reason, actor)
			VALUES (@org_id, @period, @kind, @granted, @bought, @subject, @reason, @actor)
		), changed AS (
			UPDATE credit_account
			SET granted = granted + @granted, bought = bought + @bought, given = greatest(0, given + @given)
			WHERE org_id = @org_id AND period = @period
			RETURNING 1
		)
		SELECT count(*)::int FROM changed`,
		pgx.NamedArgs{
			"org_id": e.OrgID, "period": e.Period, "kind": e.Kind, "granted": e.Granted, "bought": e.Bought,
			"subject": e.Subject, "reason": e.Reason, "actor": e.Actor, "given": e.given(),
		})
	switch {
	case isCheckViolation(err):
		return ErrTooFewCredits
	case err == nil && changed == 0:
		return fmt.Errorf("account of %s: %w", e.OrgID, ErrNotFound)
	case err != nil:
		return err
	}
	return db.setWarning(ctx, e.OrgID, e.Period)
}

// forgetUsed lowers what was bought and given of an account, which it locks, to what of
// it is not used: else as much of what is granted next would count as bought or given.
func (db *DB) forgetUsed(ctx context.Context, orgID string, period time.Time) error {
	_, err := db.q.Exec(ctx, `
		WITH account AS MATERIALIZED (
			SELECT org_id, period, bought, given, greatest(0, granted - (used - reported)) AS unused FROM credit_account
			WHERE org_id = @org_id AND period = @period
			FOR UPDATE
		), changed AS (
			UPDATE credit_account AS a
			SET bought = least(a.bought, o.unused), given = least(a.given, greatest(0, o.unused - a.bought))
			FROM account AS o
			WHERE (a.org_id, a.period) = (o.org_id, o.period) AND o.bought + o.given > o.unused
		)
		INSERT INTO credit_entry (org_id, period, kind, bought, reason)
		SELECT org_id, period, '`+CreditAdjust+`', unused - bought, 'bought, and used' FROM account
		WHERE bought > unused`, pgx.NamedArgs{"org_id": orgID, "period": period})
	return err
}

// A CreditChange gives an organization credits, or takes some.
type CreditChange struct {
	OrgID   string
	Kind    string // CreditGrant, CreditPurchase, CreditAdjust or CreditRefund
	Amount  int    // below 0: takes
	Bought  bool   // what is left of them goes on into later periods
	Subject string // what happens once: a second change with the same does nothing
	Reason  string
	Actor   string
}

// ChangeCredits changes the credits of the period that a time is in, and returns the
// account as it is then, and whether this call changed it. It fails with
// ErrTooFewCredits where fewer are left than are to be taken, and with ErrBoughtCredits
// where an operator would take some that were bought without saying so.
func (db *DB) ChangeCredits(ctx context.Context, c CreditChange, at time.Time) (account *CreditAccount, changed bool, err error) {
	if c.Amount > math.MaxInt32 || c.Amount < -math.MaxInt32 {
		return nil, false, fmt.Errorf("change credits of %s: a change by %d is too large", c.OrgID, c.Amount)
	}
	err = db.within(ctx, func(tx *DB) error {
		opened, err := tx.OpenPeriod(ctx, c.OrgID, at)
		if err != nil {
			return err
		}
		if c.Subject != "" {
			n, err := tx.number(ctx, `
				SELECT count(*)::int FROM credit_entry
				WHERE subject = @subject AND (kind = 'reserve') = false AND org_id = @org_id`,
				pgx.NamedArgs{"subject": c.Subject, "org_id": c.OrgID})
			if err != nil || n > 0 {
				account = opened
				return err
			}
		}
		if c.Kind == CreditGrant && c.Amount < 0 && !c.Bought {
			if err := tx.spareBought(ctx, opened, func(a *CreditAccount) int64 { return a.Available() + int64(c.Amount) }); err != nil {
				return err
			}
		}
		e := CreditEntry{OrgID: c.OrgID, Period: opened.Period, Kind: c.Kind, Granted: c.Amount, Reason: textOrNil(c.Reason), Actor: textOrNil(c.Actor), Subject: textOrNil(c.Subject)}
		if c.Bought {
			e.Bought = c.Amount
		}
		if c.Amount < 0 {
			if err := tx.spareUnbilled(ctx, opened, -c.Amount); err != nil {
				return err
			}
		}
		if err := tx.enter(ctx, e); err != nil {
			return err
		}
		changed = true
		account, err = tx.lockAccount(ctx, c.OrgID, opened.Period)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("change credits of %s: %w", c.OrgID, err)
	}
	return account, changed, nil
}

// SetCredits makes so many credits available from now on in the period that a time is
// in, whatever was used, was given or is owed, of earlier periods too, and returns the
// account. Where use is metered and costs nothing, they are all there is until the period
// is over: nothing beyond is let in. Where use is billed, so is what was used before, and
// what is used beyond them. It fails with ErrBoughtCredits where more than these were
// bought and are left.
func (db *DB) SetCredits(ctx context.Context, orgID string, available int, reason, actor string, at time.Time) (account *CreditAccount, err error) {
	if available > math.MaxInt32 || available < -math.MaxInt32 {
		return nil, fmt.Errorf("set credits of %s to %d: %w", orgID, available, ErrCreditRange)
	}
	err = db.within(ctx, func(tx *DB) error {
		opened, err := tx.OpenPeriod(ctx, orgID, at)
		if err != nil {
			return err
		}
		owing, err := tx.lockCarried(ctx, orgID, opened.Period)
		if err != nil {
			return err
		}
		// Submissions wait, so that what is set is what is there.
		if err := tx.spareBought(ctx, opened, func(*CreditAccount) int64 { return int64(available) }); err != nil {
			return err
		}
		if err := tx.billUsed(ctx, opened, at); err != nil {
			return err
		}
		if err := tx.endOwed(ctx, owing); err != nil {
			return err
		}
		for change := int64(available) - opened.rest(); change != 0; {
			step := max(-math.MaxInt32, min(math.MaxInt32, change)) // what an entry holds
			change -= step
			if err := tx.enter(ctx, CreditEntry{
				OrgID: orgID, Period: opened.Period, Kind: CreditAdjust, Granted: int(step),
				Reason: textOrNil(reason), Actor: textOrNil(actor),
			}); err != nil {
				return err
			}
		}
		if err := tx.limitGiven(ctx, opened, int64(available)); err != nil {
			return err
		}
		if opened.Metered && opened.CreditMicros == 0 {
			if err := tx.endMetering(ctx, opened); err != nil {
				return err
			}
		}
		account, err = tx.lockAccount(ctx, orgID, opened.Period)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("set credits of %s: %w", orgID, err)
	}
	return account, nil
}

// limitGiven makes what was given of an account, which is locked, at most what of so
// many available credits is not bought.
func (db *DB) limitGiven(ctx context.Context, a *CreditAccount, available int64) error {
	_, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET given = least(given, greatest(0, @available - bought))
		WHERE org_id = @org_id AND period = @period`,
		pgx.NamedArgs{"org_id": a.OrgID, "period": a.Period, "available": available})
	return err
}

// spareBought locks an account, reads it anew, and fails with ErrBoughtCredits if less
// would be available than was bought and is left, and not less than nothing.
func (db *DB) spareBought(ctx context.Context, a *CreditAccount, available func(*CreditAccount) int64) error {
	locked, err := db.lockAccount(ctx, a.OrgID, a.Period)
	if err != nil {
		return err
	}
	*a = *locked
	if after, left := available(a), a.BoughtLeft(); 0 <= after && after < left {
		return fmt.Errorf("%d are left: %w", left, ErrBoughtCredits)
	}
	return nil
}

// spareUnbilled locks an account, and fails with ErrTooFewCredits if it has less than is
// to be taken: where use is metered, what was used would be billed for it, or what never
// was.
func (db *DB) spareUnbilled(ctx context.Context, a *CreditAccount, taken int) error {
	locked, err := db.lockAccount(ctx, a.OrgID, a.Period)
	if err == nil && locked.Metered && int64(taken) > locked.rest() {
		err = ErrTooFewCredits
	}
	return err
}

// billUsed reports what was used by now of an account, which is locked, if it is billed:
// what comes to the account takes nothing off that.
func (db *DB) billUsed(ctx context.Context, a *CreditAccount, at time.Time) error {
	if !a.Metered || a.CreditMicros == 0 {
		return nil
	}
	report, err := db.ReportUse(ctx, UnreportedUse{OrgID: a.OrgID, Period: a.Period}, at)
	if report != nil {
		a.Reported += report.Credits
	}
	return err
}

// endMetering lets nothing in beyond what an account, which is locked, grants.
func (db *DB) endMetering(ctx context.Context, a *CreditAccount) error {
	if _, err := db.q.Exec(ctx, `
		UPDATE credit_account
		SET metered = false
		WHERE org_id = @org_id AND period = @period`, pgx.NamedArgs{"org_id": a.OrgID, "period": a.Period}); err != nil {
		return err
	}
	return db.setWarning(ctx, a.OrgID, a.Period)
}

func (db *DB) lockAccount(ctx context.Context, orgID string, period time.Time) (*CreditAccount, error) {
	return one[CreditAccount](ctx, db, `
		SELECT `+columns[CreditAccount]("")+` FROM credit_account
		WHERE org_id = @org_id AND period = @period
		FOR UPDATE`, pgx.NamedArgs{"org_id": orgID, "period": period})
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
