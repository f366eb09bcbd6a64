package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/providers"
)

// moneyInvariants are those of credits: of what the rows say, and of what customers
// and operators were told.
func moneyInvariants() []invariant {
	return []invariant{
		{"charged_once", harmChargedTwice, "a generation is reserved once and settled or released once, and nobody is charged for more than was delivered", findOvercharged},
		{"grants_once", harmChargedTwice, "what an operator granted once is entered once", findGrants(func(entries int) bool { return entries > 1 })},
		{"reservations_live", harmHeldCredits, "what is reserved is for what is under way", rowsOf(sqlIdleReservations)},
		{"refused_free", harmHeldCredits, "what was refused for want of credits was not made, and has nothing reserved", findPaidRefusals},
		{"accepted_reserved", harmUncharged, "what a customer was given an id for is reserved at its price", findUnreserved},
		{"delivered_charged", harmUncharged, "every image that was delivered is charged at its price", findUncharged},
		{"grants_kept", harmUncharged, "what an operator granted is entered", findGrants(func(entries int) bool { return entries < 1 })},
		{"credits_agree", "", "accounts, entries, generations and use agree with each other", findCreditFaults},
	}
}

// sqlIdleReservations finds what is reserved beyond, or short of, what is under way:
// of each generation or batch, and on each account.
const sqlIdleReservations = `
	SELECT format('%s has %s credits reserved, %s of them for what is under way', subject, coalesce(kept, 0), coalesce(live, 0))
	FROM (
		SELECT coalesce(g.batch_id, e.subject) AS subject, sum(e.reserved) AS kept
		FROM credit_entry AS e LEFT JOIN generation AS g ON g.id = e.subject
		WHERE e.kind IN ('reserve', 'settle', 'release')
		GROUP BY 1
	) AS e FULL JOIN (
		SELECT coalesce(batch_id, id) AS subject, sum(credits) AS live FROM generation
		WHERE finished_at IS NULL AND credits IS NOT NULL
		GROUP BY 1
	) AS g USING (subject)
	WHERE coalesce(kept, 0) <> coalesce(live, 0)
	UNION ALL
	SELECT format('the account of %s has %s credits reserved, %s of them for what is under way', org_id, coalesce(reserved, 0), coalesce(live, 0))
	FROM credit_account FULL JOIN (
		SELECT org_id, credit_period AS period, sum(credits) AS live FROM generation
		WHERE finished_at IS NULL AND credits IS NOT NULL
		GROUP BY 1, 2
	) AS g USING (org_id, period)
	WHERE coalesce(reserved, 0) <> coalesce(live, 0)
	ORDER BY 1`

// sqlWrongAccounts finds accounts that differ from their entries or from what is under
// way, or that are overdrawn: whatever changes one of these changes all of them.
const sqlWrongAccounts = `
	SELECT format('%s: %s granted, %s reserved and %s used; the entries say %s, %s and %s, and %s are under way',
		org_id, a.granted, a.reserved, a.used, coalesce(e.granted, 0), coalesce(e.reserved, 0), coalesce(e.used, 0), coalesce(live, 0))
	FROM credit_account AS a LEFT JOIN (
		SELECT org_id, period, sum(granted) AS granted, sum(reserved) AS reserved, sum(used) AS used FROM credit_entry
		GROUP BY 1, 2
	) AS e USING (org_id, period) LEFT JOIN (
		SELECT org_id, credit_period AS period, sum(credits) AS live FROM generation
		WHERE finished_at IS NULL AND credits IS NOT NULL
		GROUP BY 1, 2
	) AS g USING (org_id, period)
	WHERE (a.granted, a.reserved, a.used, a.reserved)
			<> (coalesce(e.granted, 0), coalesce(e.reserved, 0), coalesce(e.used, 0), coalesce(live, 0))
		OR NOT metered AND a.granted < a.reserved + a.used - a.reported
	ORDER BY 1`

// A chaosBill is what the entries say of a generation, beside what was to be paid for
// it.
type chaosBill struct {
	Token        string
	ID           string
	Status       string
	Images       int // that it has
	Substitutes  int // of these, that a cheaper model has made or may have made
	Saved        int // credits, by these
	Reservations int
	Reserved     int
	Settlements  int // and releases
	Charged      int

	job *chaosJob `db:"-"`
}

// bills returns that of every generation of the jobs, in order.
func bills(ctx context.Context, e *chaosEvidence) ([]*chaosBill, error) {
	rows, err := e.db.Pool().Query(ctx, `
		SELECT metadata ->> 'job' AS token, g.id, status,
			i.images, i.substitutes, i.saved, reservations, reserved, settlements, c.charged
		FROM generation AS g, LATERAL (
			SELECT count(*) FILTER (WHERE kind = 'reserve') AS reservations,
				coalesce(sum(reserved) FILTER (WHERE kind = 'reserve'), 0) AS reserved,
				count(*) FILTER (WHERE kind <> 'reserve') AS settlements, coalesce(sum(used), 0) AS charged
			FROM credit_entry
			WHERE subject = g.id
		) AS c, LATERAL (
			SELECT count(*) AS images, count(*) FILTER (WHERE image.credits < g.credits / g.n) AS substitutes,
				coalesce(sum(g.credits / g.n - image.credits) FILTER (WHERE image.credits < g.credits / g.n), 0) AS saved
			FROM image WHERE generation_id = g.id
		) AS i
		ORDER BY g.id`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByNameLax[chaosBill])
	if err != nil {
		return nil, err
	}
	jobs := map[string]*chaosJob{}
	for _, j := range e.jobs {
		jobs[j.token] = j
	}
	for _, b := range all {
		b.job = jobs[b.Token]
	}
	return slices.DeleteFunc(all, func(b *chaosBill) bool { return b.job == nil }), nil
}

// delivered is how many images the customer has: what it was told, or else what the
// rows say.
func (b *chaosBill) delivered() int {
	j := b.job
	switch {
	case j.status != "" && slices.Equal(j.ids, []string{b.ID}):
		return j.images
	case b.Status == "succeeded", b.Status == "canceled":
		return b.Images
	}
	return 0
}

// due is what is to be charged at least and at most. A substitute's image costs one
// credit at least, and no more than one of the model that was asked for.
func (b *chaosBill) due() (least, most int) {
	if b.job.org.free {
		return 0, 0
	}
	n, price := b.delivered(), b.job.price()
	return max(n*price-b.Saved, n*price-b.Substitutes*(price-1)), n * price
}

// price is what an image of the job costs, in credits.
func (j *chaosJob) price() int {
	m, _ := providers.Lookup(j.model) // an unknown one costs 1
	return m.Credits(providers.OperationGenerate, "1K", "", 0, 0)
}

// findBills returns a check of every bill. A line is empty where nothing is wrong.
func findBills(ctx context.Context, e *chaosEvidence, check func(*chaosBill) []string) ([]string, error) {
	all, err := bills(ctx, e)
	var found []string
	for _, b := range all {
		found = append(found, check(b)...)
	}
	return found, err
}

func findOvercharged(ctx context.Context, e *chaosEvidence) ([]string, error) {
	return findBills(ctx, e, func(b *chaosBill) (found []string) {
		if b.Reservations > 1 {
			found = append(found, fmt.Sprintf("%s was reserved %d times", b.ID, b.Reservations))
		}
		if b.Settlements > 1 {
			found = append(found, fmt.Sprintf("%s was settled or released %d times", b.ID, b.Settlements))
		}
		if _, most := b.due(); b.Charged > most {
			found = append(found, fmt.Sprintf("%s was charged %d credits for %d images, at most %d are due", b.ID, b.Charged, b.delivered(), most))
		}
		return found
	})
}

func findUncharged(ctx context.Context, e *chaosEvidence) ([]string, error) {
	return findBills(ctx, e, func(b *chaosBill) []string {
		if least, _ := b.due(); b.Charged < least {
			return []string{fmt.Sprintf("%s was charged %d credits for %d images, at least %d are due", b.ID, b.Charged, b.delivered(), least)}
		}
		return nil
	})
}

// findUnreserved finds what customers were given an id for and that is reserved at
// another price than its own, or that is free and reserved.
func findUnreserved(ctx context.Context, e *chaosEvidence) ([]string, error) {
	return findBills(ctx, e, func(b *chaosBill) []string {
		want := b.job.n * b.job.price()
		if b.job.org.free {
			want = 0
		}
		if slices.Contains(b.job.ids, b.ID) && b.Reserved != want {
			return []string{fmt.Sprintf("%s was accepted and has %d credits reserved, its price is %d", b.ID, b.Reserved, want)}
		}
		return nil
	})
}

// findPaidRefusals finds what was made although every request for it was refused.
// What a request without an answer has come to nobody was told.
func findPaidRefusals(ctx context.Context, e *chaosEvidence) ([]string, error) {
	return findBills(ctx, e, func(b *chaosBill) []string {
		if j := b.job; j.refused == http.StatusPaymentRequired && !j.unheard && len(j.ids) == 0 {
			return []string{fmt.Sprintf("%s was refused, and %s was made with %d credits reserved", j.token, b.ID, b.Reserved)}
		}
		return nil
	})
}

// findGrants finds grants that were made and are entered so often.
func findGrants(wrong func(entries int) bool) func(context.Context, *chaosEvidence) ([]string, error) {
	return func(ctx context.Context, e *chaosEvidence) (found []string, err error) {
		for _, g := range e.grants {
			var entries int
			err := e.db.Pool().QueryRow(ctx, `
				SELECT count(*) FROM credit_entry
				WHERE org_id = @org AND kind = 'grant' AND subject = @subject AND granted = @credits`,
				pgx.NamedArgs{"org": g.org, "subject": g.subject, "credits": g.credits}).Scan(&entries)
			if err != nil {
				return nil, err
			}
			if wrong(entries) {
				found = append(found, fmt.Sprintf("the grant %s of %d credits to %s has %d entries", g.subject, g.credits, g.org, entries))
			}
		}
		return found, nil
	}
}

// findCreditFaults asks the store's own checks.
func findCreditFaults(ctx context.Context, e *chaosEvidence) ([]string, error) {
	found, err := e.db.CreditFaults(ctx)
	slices.Sort(found)
	return found, err
}

// A chaosGrant is one that an operator was told is made.
type chaosGrant struct {
	org     string
	subject string
	credits int
}

// made are the grants that the operator was told of.
func (o *chaosOperator) made() (grants []chaosGrant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.grants {
		grants = append(grants, chaosGrant{o.orgs[a.org].id, a.subject, a.grant})
	}
	return grants
}

// chaosMoney counts credits and what became of them.
type chaosMoney struct {
	Doubled int `json:"doubled"` // settled or charged twice
	Leaked  int `json:"leaked"`  // reserved for nothing that is under way
	Missing int `json:"missing"` // delivered or granted, and not written down

	Refused     int   `json:"refused"` // jobs, for want of credits
	Grants      int   `json:"grants"`
	PlanChanges int   `json:"plan_changes"`
	Periods     int   `json:"periods"` // of all organizations
	Reserved    int64 `json:"credits_reserved"`
	Charged     int64 `json:"credits_charged"`
	Images      int   `json:"images_charged"`
}

// count fills in what was reserved and charged.
func (m *chaosMoney) count(ctx context.Context, e *chaosEvidence) error {
	for _, j := range e.jobs {
		if j.refused == http.StatusPaymentRequired && len(j.ids) == 0 {
			m.Refused++
		}
	}
	m.Grants = len(e.grants)
	err := e.db.Pool().QueryRow(ctx, `
		SELECT (SELECT count(*) FROM credit_account),
			coalesce(sum(reserved) FILTER (WHERE kind = 'reserve'), 0), coalesce(sum(used), 0),
			(SELECT count(*) FROM image WHERE generation_id IN (SELECT subject FROM credit_entry WHERE kind = 'settle'))
		FROM credit_entry`).Scan(&m.Periods, &m.Reserved, &m.Charged, &m.Images)
	if err != nil {
		return fmt.Errorf("count credits: %w", err)
	}
	return nil
}
