package store

import "time"

// Why a generation was not recorded.
const (
	RefusedKey     = "key"     // its key has a monthly limit
	RefusedCredits = "credits" // its organization has too few credits
	RefusedBudget  = "budget"  // its organization wants to spend no more
	// RefusedPeriod: its organization's period has no account yet, a change of plan has
	// just ended it, or what is owed of it has to be taken first. It is let in, or refused
	// for another reason, once OpenPeriod was called.
	RefusedPeriod = "period"
)

// A Refusal says why a generation was not recorded, and what its organization has.
type Refusal struct {
	Why        string
	Needed     int64 // credits, of its whole batch
	Available  int64 // credits
	SpendLimit *int64
	Plan       string
	ResetsAt   *time.Time // when the period is over
	Err        error      // why it could not be found out; nothing else is set
}

// takenSQL lists the generations of keys (json) that an earlier request with the same
// idempotency key has made already.
const takenSQL = `
			-- A look-up for each: a join would read a young table whole.
			SELECT generation_id
			FROM json_to_recordset(@keys) AS mine (project_id text, test boolean, route text, key text, generation_id text)
			WHERE generation_id <> (
				SELECT generation_id FROM idempotency_key AS k
				WHERE (k.project_id, k.test, k.route, k.key) = (mine.project_id, mine.test, mine.route, mine.key))`

// restSQL is what is left of the granted on account a, as CreditAccount.rest has it.
const restSQL = `(a.granted - a.reserved - (a.used - a.reported))`

// availableSQL is what is available on account a, as CreditAccount.Available has it.
const availableSQL = `greatest(` + restSQL + ` - a.owed, least(` + restSQL + `, a.bought + a.given))`

// owedFirstSQL tells whether account a has something that has come back and is owed:
// what was bought or given is told apart from it once it is taken.
const owedFirstSQL = `(a.owed > 0 AND ` + restSQL + ` > a.bought + a.given)`

// payableSQL is what is available on account a, as long as something is to be taken of
// it, without a credit that was bought or given.
const payableSQL = restSQL + ` - a.bought - a.given - a.owed`

// reserveCredits are the CTEs that take what generations cost from their
// organizations' accounts, as far as these reach. Those that are not let in are in
// "denied", with their idempotency keys free again; what the others cost, and from
// which account, is in "bill" and "reserved". A batch is let in whole or not at all.
// What has no account yet is denied, to be submitted again when it has one, and so is
// what has waited for an account that a change of plan has ended meanwhile: from then on
// the account that goes on with that lets it in, though it was created before.
//
// Submissions that share a statement come in the order of their cost, so that no dear
// one keeps out a cheap one: whoever is behind one that is refused costs as much at
// least. Accounts are locked in order, before admission.
//
// refused is a query of those refused already, with id and batch_id.
func reserveCredits(refused string) string {
	return `refused_before AS MATERIALIZED (` + refused + `
		), bill AS MATERIALIZED (
			SELECT r.id, r.org_id, coalesce(r.batch_id, r.id) AS subject, r.credits,
				CASE WHEN a.closed THEN (
					SELECT c.period FROM credit_account AS c
					WHERE c.org_id = r.org_id AND c.period > a.period AND NOT c.closed
					ORDER BY c.period
					LIMIT 1
				) ELSE a.period END AS period
			FROM json_to_recordset(@rows) AS r (id text, org_id text, batch_id text, credits int, created_at timestamptz)
			LEFT JOIN LATERAL (
				SELECT c.period, c.ends_at, c.closed FROM credit_account AS c
				WHERE c.org_id = r.org_id AND c.period <= r.created_at
				ORDER BY c.period DESC
				LIMIT 1
			) AS a ON a.ends_at > r.created_at
			WHERE r.credits IS NOT NULL AND r.id NOT IN (SELECT generation_id FROM taken)
				AND NOT EXISTS (SELECT FROM refused_before AS f WHERE f.id = r.id OR f.batch_id = r.batch_id)
		), ` + reservationSQL + `
		), ` + deniedSQL + `
		), ` + unclaimedSQL + `
		), `
}

// reservationSQL are the CTEs that reserve what "bill" lists: the accounts let in of
// their claims, the smallest first, as many as there is enough for.
var reservationSQL = `claim AS MATERIALIZED (
			SELECT org_id, period, subject, credits, row_number() OVER w AS place, sum(credits) OVER w AS total
			FROM (
				SELECT org_id, period, subject, sum(credits) AS credits FROM bill
				WHERE subject NOT IN (SELECT subject FROM bill WHERE period IS NULL)
				GROUP BY org_id, period, subject
			) AS s
			WINDOW w AS (PARTITION BY org_id, period ORDER BY credits, subject ROWS UNBOUNDED PRECEDING)
		), reserved AS (
			INSERT INTO credit_account AS a (org_id, period, ends_at, plan)
			SELECT org_id, period, 'infinity'::timestamptz, '' FROM claim -- all of them are there
			GROUP BY org_id, period
			ORDER BY org_id, period
			ON CONFLICT (org_id, period) DO UPDATE
			SET (reserved, let_in) = (
				SELECT a.reserved + coalesce(sum(c.credits), 0), count(*)
				FROM claim AS c
				WHERE (c.org_id, c.period) = (a.org_id, a.period) AND NOT a.closed
					AND (a.metered AND NOT a.held OR c.total <= CASE WHEN ` + owedFirstSQL + ` THEN ` + payableSQL + ` ELSE ` + availableSQL + ` END)
					AND (a.spend_limit IS NULL OR c.total <= a.spend_limit - a.reserved - a.used - ` + beforeSQL("used + reserved") + `)
			)
			RETURNING org_id, period, ends_at, plan, let_in, credit_micros, metered AND NOT held AS unbounded, spend_limit,
				` + availableSQL + ` AS available, closed, CASE WHEN ` + owedFirstSQL + ` THEN ` + payableSQL + ` END AS payable
		), reservation AS (
			INSERT INTO credit_entry (org_id, period, kind, subject, reserved)
			SELECT org_id, period, 'reserve', subject, claim.credits
			FROM claim JOIN reserved USING (org_id, period)
			WHERE place <= let_in
			ORDER BY org_id, subject`

// deniedSQL is the CTE of what was not let in, and why.
const deniedSQL = `denied AS MATERIALIZED (
			SELECT r.id, '` + RefusedKey + `' AS why, 0::bigint AS needed, 0::bigint AS available, NULL::bigint AS spend_limit,
				NULL::text AS plan, NULL::timestamptz AS resets_at
			FROM json_to_recordset(@rows) AS r (id text, batch_id text)
			WHERE EXISTS (SELECT FROM refused_before AS f WHERE f.id = r.id OR f.batch_id = r.batch_id)
			UNION ALL
			SELECT id, '` + RefusedPeriod + `', 0, 0, NULL, NULL, NULL FROM bill
			WHERE subject IN (SELECT subject FROM bill WHERE period IS NULL)
			UNION ALL
			SELECT b.id,
				CASE
					WHEN r.closed THEN '` + RefusedPeriod + `'
					WHEN NOT r.unbounded AND c.credits > r.available THEN '` + RefusedCredits + `'
					WHEN NOT r.unbounded AND c.credits > r.payable THEN '` + RefusedPeriod + `'
					ELSE '` + RefusedBudget + `'
				END,
				c.credits, r.available, r.spend_limit, r.plan, r.ends_at
			FROM bill AS b
			JOIN claim AS c ON (c.org_id, c.period, c.subject) = (b.org_id, b.period, b.subject)
			JOIN reserved AS r ON (r.org_id, r.period) = (b.org_id, b.period)
			WHERE c.place > r.let_in`

// unclaimedSQL is the CTE that gives back the idempotency keys of these.
const unclaimedSQL = `unclaimed AS (
			DELETE FROM idempotency_key
			WHERE ctid = ANY(ARRAY(
				SELECT k.ctid
				FROM denied
				JOIN json_to_recordset(@keys) AS mine (project_id text, test boolean, route text, key text, generation_id text)
					ON mine.generation_id = denied.id,
				LATERAL (
					SELECT ctid FROM idempotency_key AS i
					WHERE (i.project_id, i.test, i.route, i.key) = (mine.project_id, mine.test, mine.route, mine.key)
						AND i.generation_id = mine.generation_id
					LIMIT 1
				) AS k))`
