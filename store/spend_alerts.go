package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a SpendAlert is a share of.
const (
	SpendQuota    = "quota"    // the credits of an organization, where that is all there is
	SpendBudget   = "budget"   // an organization's budget
	SpendOperator = "operator" // what providers may cost in a day, of all organizations
)

// A SpendAlert says that use has reached a share of something.
type SpendAlert struct {
	OrgID   string    `json:"org_id"`
	OrgName string    `json:"org_name"`
	Plan    string    `json:"plan"`
	What    string    `json:"what"` // SpendQuota or SpendBudget
	Percent int       `json:"percent"`
	Used    int64     `json:"used"`  // credits
	Whole   int64     `json:"whole"` // credits: what Percent is a share of
	Period  time.Time `json:"period"`
	EndsAt  time.Time `json:"ends_at"`
}

// thresholdsSQL lists the shares of an account a that someone wants to hear of, with
// the use that reaches them.
var thresholdsSQL = `
			SELECT '` + SpendQuota + `' AS what, percent, a.granted AS whole, a.reported + ceil(a.granted * percent / 100.0)::bigint AS credits
			FROM unnest(ARRAY[80, 100]) AS percent
			WHERE a.granted > 0 AND NOT a.metered
			UNION ALL
			SELECT '` + SpendBudget + `', s.percent, b.credits, ` + budgetShareSQL + ` - before.used
			FROM budget AS b, unnest(b.alerts) AS s (percent), (SELECT ` + beforeSQL("used") + ` AS used) AS before
			WHERE b.org_id = a.org_id`

// budgetShareSQL is the use that reaches the percent of s of budget b. Of one of 0
// credits the first is more than any share.
const budgetShareSQL = `greatest(1, ceil(b.credits * s.percent / 100.0))::bigint`

// goesOnSQL is the period of the account whose budget counts what account a uses, where
// a change of plan has ended that; otherwise NULL.
const goesOnSQL = `(
				SELECT max(later.period) FROM credit_account AS later
				WHERE later.org_id = a.org_id AND later.period > a.period AND later.budget_since <= a.period)`

// wasToldSQL tells whether someone was told of threshold t of account a.
const wasToldSQL = `EXISTS (
				SELECT FROM spend_alert AS s
				WHERE (s.org_id, s.period, s.what, s.percent) = (a.org_id, a.period, t.what, t.percent))`

// utcSQL writes a time as RFC 3339 does, to the second.
func utcSQL(t string) string {
	return `to_char(` + t + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`
}

// isLiveSQL tells whether the organization of an account is not deleted: nobody is told
// of one that is, so that a ticket would find the same use again and again.
func isLiveSQL(account string) string {
	return `EXISTS (SELECT FROM org WHERE org.id = ` + account + `.org_id AND org.deleted_at IS NULL)`
}

// exactUTCSQL does so to the microsecond, as JSON has times elsewhere.
func exactUTCSQL(t string) string {
	return `((to_json(` + t + ` AT TIME ZONE 'UTC') #>> '{}') || 'Z')`
}

// setWarning notes the use of a period that someone wants to hear of next, and queues
// WarnKind where it has been reached already and the organization is not deleted. What
// was told and is true no more, since there is more to use or the budget is gone, is
// forgotten, to be told again. Whatever else is delivered of an account that a change of
// plan has ended is heard of: the budget goes on counting it. The account has to be
// locked.
func (db *DB) setWarning(ctx context.Context, orgID string, period time.Time) error {
	_, err := db.q.Exec(ctx, setWarningSQL, pgx.NamedArgs{"org_id": orgID, "period": period})
	if err != nil {
		return fmt.Errorf("set what %s is told of next: %w", orgID, err)
	}
	return nil
}

var setWarningSQL = `
		WITH forgotten AS (
			DELETE FROM spend_alert AS s
			USING credit_account AS a
			WHERE a.org_id = @org_id AND a.period = @period AND (s.org_id, s.period) = (a.org_id, a.period)
				AND a.used < CASE s.what
					WHEN '` + SpendQuota + `' THEN a.reported + ceil(a.granted * s.percent / 100.0)
					WHEN '` + SpendBudget + `' THEN coalesce((SELECT ` + budgetShareSQL + ` - ` + beforeSQL("used") + ` FROM budget AS b WHERE b.org_id = a.org_id), a.used + 1)
				END
		), changed AS (
			UPDATE credit_account AS a
			SET warn_at = CASE WHEN ` + goesOnSQL + ` IS NOT NULL THEN a.used + 1 ELSE (
				SELECT min(t.credits) FROM (` + thresholdsSQL + `) AS t
				WHERE t.credits > a.used OR NOT ` + wasToldSQL + `) END
			WHERE a.org_id = @org_id AND a.period = @period
			RETURNING org_id, period, ends_at, used, warn_at
		)
		` + warnTickets("changed WHERE used >= warn_at AND ends_at > now() AND "+isLiveSQL("changed"))

// warnTickets returns the statement that queues WarnKind for accounts in from.
func warnTickets(from string) string {
	return `INSERT INTO ` + RiverSchema + `.river_job (args, kind, max_attempts, priority, queue)
		SELECT jsonb_build_object('org', org_id, 'period', period), '` + WarnKind + `', 25, 1, 'maintenance'
		FROM ` + from
}

// QueueLostWarnings queues WarnKind for up to limit accounts, running or ended by a
// change of plan in the last day, whose use has reached what someone wants to hear of,
// and that no ticket is there for. It returns
// for how many. Any number of processes may call it at once.
func (db *DB) QueueLostWarnings(ctx context.Context, limit int) (int, error) {
	tag, err := db.q.Exec(ctx, `
		WITH lost AS (
			SELECT org_id, period FROM credit_account AS a
			WHERE ends_at > now() - interval '1 day' AND used >= warn_at AND (ends_at > now() OR `+goesOnSQL+` IS NOT NULL)
				AND `+isLiveSQL("a")+` AND NOT EXISTS (
				SELECT FROM `+RiverSchema+`.river_job AS j
				WHERE j.kind = '`+WarnKind+`' AND j.state NOT IN ('completed', 'cancelled', 'discarded')
					AND j.args ->> 'org' = a.org_id AND (j.args ->> 'period')::timestamptz = a.period)
			LIMIT @limit
		)
		`+warnTickets("lost"), pgx.NamedArgs{"limit": limit})
	if err != nil {
		return 0, fmt.Errorf("queue lost warnings: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// dueAlert is one that nobody was told of yet.
type dueAlert struct {
	SpendAlert
	Projects []string // whose events tell of it
}

// TellSpending tells of the shares that the use of an organization's running period
// has reached and that nobody was told of: each with an event in every project that is
// not archived and, of several shares of one thing the highest, with a mail to whoever
// may see the organization's billing. It returns the shares. However often and by
// whomever it is called, each is told once; none of a period that is over, but that a
// change of plan has ended: it tells of the one that goes on with it, whose budget counts
// its use. It tells no organization that is deleted.
func (db *DB) TellSpending(ctx context.Context, orgID string, period time.Time) (told []*SpendAlert, err error) {
	err = db.within(ctx, func(tx *DB) error {
		// Whoever else tells waits here, and whoever changes the budget or the credits.
		if _, err := tx.lockAccount(ctx, orgID, period); errors.Is(err, ErrNotFound) {
			return nil // erased
		} else if err != nil {
			return err
		}
		if period, err = tx.goesOn(ctx, orgID, period); err != nil {
			return err
		}
		due, err := many[dueAlert](ctx, tx, `
			SELECT a.org_id, o.name AS org_name, a.plan, t.what, t.percent,
				a.used + CASE t.what WHEN '`+SpendBudget+`' THEN `+beforeSQL("used")+` ELSE -a.reported END AS used, t.whole, a.period, a.ends_at,
				ARRAY(SELECT id FROM project AS p WHERE p.org_id = a.org_id AND p.archived_at IS NULL ORDER BY id) AS projects
			FROM credit_account AS a JOIN org AS o ON o.id = a.org_id, LATERAL (`+thresholdsSQL+`
			) AS t
			WHERE a.org_id = @org_id AND a.period = @period AND a.ends_at > now() AND o.deleted_at IS NULL
				AND t.credits <= a.used AND NOT `+wasToldSQL+`
			ORDER BY t.what, t.percent`, pgx.NamedArgs{"org_id": orgID, "period": period})
		if err != nil {
			return err
		}
		for _, d := range due {
			told = append(told, &d.SpendAlert)
		}
		if err := tx.recordAlerts(ctx, due); err != nil {
			return err
		}
		return tx.setWarning(ctx, orgID, period)
	})
	if err != nil {
		return nil, fmt.Errorf("tell %s of its use: %w", orgID, err)
	}
	return told, nil
}

// goesOn returns the period of the account, which it locks, that goes on with one that
// is locked and that a change of plan has ended, or that one's period. From then on
// what is used of either is heard of anew.
func (db *DB) goesOn(ctx context.Context, orgID string, period time.Time) (time.Time, error) {
	next, err := one[struct{ Period *time.Time }](ctx, db, `
		SELECT `+goesOnSQL+` AS period FROM credit_account AS a
		WHERE org_id = @org_id AND period = @period`, pgx.NamedArgs{"org_id": orgID, "period": period})
	if err != nil || next.Period == nil {
		return period, err
	}
	if err := db.setWarning(ctx, orgID, period); err != nil {
		return period, err
	}
	_, err = db.lockAccount(ctx, orgID, *next.Period)
	return *next.Period, err
}

// recordAlerts records alerts of one organization, with their events and mails.
func (db *DB) recordAlerts(ctx context.Context, due []*dueAlert) error {
	if len(due) == 0 {
		return nil
	}
	type toldEvent struct {
		ID      string `json:"event_id"`
		Project string `json:"project_id"`
		What    string `json:"what"`
		Percent int    `json:"percent"`
	}
	var events []toldEvent
	mails := map[string]string{} // the stems of their ids
	for _, d := range due {
		mails[d.What] = NewMailID()
		for _, p := range d.Projects {
			events = append(events, toldEvent{ID: NewEventID(), Project: p, What: d.What, Percent: d.Percent})
		}
	}
	alerts := make([]SpendAlert, len(due))
	for i, d := range due {
		alerts[i] = d.SpendAlert
	}
	args, err := jsonArgs(map[string]any{"alerts": alerts, "events": events, "mails": mails})
	if err != nil {
		return err
	}
	args["roles"] = []string{RoleOwner, roleAdmin, roleBilling}
	_, err = db.q.Exec(ctx, recordAlertsSQL, withMails(withDeliveries(args)))
	return err
}

var recordAlertsSQL = `
		WITH alert AS MATERIALIZED (
			SELECT * FROM json_to_recordset(@alerts) AS r (org_id text, org_name text, plan text, what text, percent int,
				used bigint, whole bigint, period timestamptz, ends_at timestamptz)
		), told AS (
			INSERT INTO spend_alert (org_id, period, what, percent)
			SELECT org_id, period, what, percent FROM alert
		), mailed AS (
			INSERT INTO mail (id, kind, recipient, account_id, org_id, data)
			SELECT (@mails::jsonb ->> t.what) || '_' || row_number() OVER (PARTITION BY t.what ORDER BY r.account_id),
				CASE
					WHEN t.what = '` + SpendBudget + `' THEN '` + MailBudgetAlert + `'
					WHEN t.percent < 100 THEN '` + MailQuotaWarning + `'
					ELSE '` + MailQuotaExceeded + `'
				END, r.email, r.account_id, t.org_id,
				jsonb_build_object('organization', t.org_name, 'plan', t.plan, 'percent', t.percent::text, 'used', t.used::text,
					'limit', t.whole::text, 'resets_at', ` + utcSQL("t.ends_at") + `)
			FROM (SELECT DISTINCT ON (what) * FROM alert ORDER BY what, percent DESC) AS t, LATERAL (` + recipientsSQL + ` AND m.org_id = t.org_id
			) AS r
			RETURNING id
		), ` + queueMails("mailed") + `, ` + recordEvents(`
			SELECT e.event_id, a.org_id, e.project_id,
				CASE
					WHEN a.what = '`+SpendBudget+`' THEN '`+EventBudgetAlert+`'
					WHEN a.percent < 100 THEN '`+EventQuotaWarning+`'
					ELSE '`+EventQuotaExceeded+`'
				END AS type, false AS test,
				jsonb_build_object('object', 'spend_alert', 'organization_id', a.org_id, 'what', a.what, 'percent', a.percent,
					'used', a.used, 'limit', a.whole, 'period', `+exactUTCSQL("a.period")+`, 'resets_at', `+exactUTCSQL("a.ends_at")+`) AS data,
				NULL::text AS webhook_url, NULL::text[] AS webhook_events
			FROM alert AS a JOIN json_to_recordset(@events) AS e (event_id text, project_id text, what text, percent int) USING (what, percent)`, "") + `
		SELECT FROM errands_announced, mail_announced`

// A CostAlert says that what providers cost in a day has reached a multiple of what
// operators want to hear of.
type CostAlert struct {
	Day     time.Time // (UTC)
	Percent int       // of the limit: 100, 200, 400 and so on
	Micros  int64     // what they cost by then, in millionths of a US dollar
}

// TellCost tells operators by mail of today's and yesterday's (UTC) cost of providers,
// of all organizations together, that has reached limit, in millionths of a US dollar,
// or twice, four times or more of it. It returns what is told, each multiple of a day
// once, whoever calls it; those that were passed at the same time are not.
func (db *DB) TellCost(ctx context.Context, limit int64) ([]*CostAlert, error) {
	told, err := many[CostAlert](ctx, db, tellCostSQL, withMails(pgx.NamedArgs{"limit": limit, "mail": NewMailID()}))
	if err != nil {
		return nil, fmt.Errorf("tell of what providers cost: %w", err)
	}
	return told, nil
}

var tellCostSQL = `
		WITH today AS (
			SELECT date_trunc('day', now(), 'UTC') AS day
		), reached AS MATERIALIZED (
			SELECT day, micros, percent
			FROM (
				SELECT day, sum(provider_micros)::bigint AS micros FROM usage_day
				WHERE day >= (SELECT day - interval '1 day' FROM today)
				GROUP BY 1
			) AS c, LATERAL (
				SELECT max(100 * (1 << k)) AS percent FROM generate_series(0, 20) AS k
				WHERE @limit::numeric * (1 << k) <= c.micros
			) AS p
			WHERE percent IS NOT NULL
		), told AS (
			INSERT INTO spend_alert (org_id, period, what, percent)
			SELECT '', day, '` + SpendOperator + `', percent FROM reached
			ORDER BY day
			ON CONFLICT DO NOTHING
			RETURNING period AS day, percent
		), mailed AS (
			INSERT INTO mail (id, kind, recipient, account_id, data)
			SELECT @mail || '_' || row_number() OVER (ORDER BY t.day, a.id), '` + MailCostAlert + `', a.email, a.id,
				jsonb_build_object('day', to_char(t.day AT TIME ZONE 'UTC', 'YYYY-MM-DD'), 'percent', t.percent::text,
					'cost', round(r.micros / 1000000.0, 2)::text, 'limit', round(@limit::bigint / 1000000.0, 2)::text)
			FROM told AS t JOIN reached AS r USING (day, percent), account AS a
			WHERE a.operator AND a.verified_at IS NOT NULL AND a.suspended_at IS NULL AND a.erased_at IS NULL
			RETURNING id
		), ` + queueMails("mailed") + `
		SELECT t.day, t.percent, r.micros
		FROM told AS t JOIN reached AS r USING (day, percent), mail_announced
		ORDER BY t.day`
