package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// What a violation does to a customer or an operator. Other violations only show
// that something is not as documented.
const (
	harmLost    = "lost"    // accepted, and not done
	harmDoubled = "doubled" // done or paid for twice
	harmLeaked  = "leaked"  // held for good by nobody

	// The same of credits.
	harmChargedTwice = "money doubled" // settled or charged more than once
	harmHeldCredits  = "money leaked"  // reserved for nothing that is under way
	harmUncharged    = "money missing" // delivered or granted, and not written down
)

// An invariant is what must hold once everything has settled, whatever happened
// before.
type invariant struct {
	name    string
	harm    string
	promise string // completes "it does not hold that"
	// find returns a line for each counterexample.
	find func(context.Context, *chaosEvidence) ([]string, error)
}

// chaosEvidence is everything that is known after a run.
type chaosEvidence struct {
	db      *store.DB
	images  blobs.Store
	jobs    []*chaosJob
	answers map[string]int      // what clients saw, by method and status
	calls   map[string]int      // provider calls by job token
	workers []string            // ids of the processes that live
	seen    map[string][]string // counterexamples seen while it ran, by invariant
	now     time.Time

	receipts map[chaosArrival]chaosReceipt // webhooks that came
	refused  []string                      // requests that were none

	strikes    []chaosStrike
	recoveries []chaosRecovered
	comebacks  []chaosComeback

	grants []chaosGrant
	undone []string // what an operator tried in vain
}

// chaosInvariants are all of them, in the order of the report.
func chaosInvariants() []invariant {
	all := []invariant{
		{"accepted_exists", harmLost, "every id that a customer was given has its row", findMissing},
		{"all_ended", harmLost, "every generation has ended", rowsOf(sqlNotEnded)},
		{"keys_kept", harmLost, "every idempotency key that was answered keeps that generation", findLostKeys},
		{"key_makes_one", harmDoubled, "an idempotency key makes one generation", findDoubledKeys},
		{"images_within_n", harmDoubled, "a generation has at most as many images as were asked for", rowsOf(sqlTooManyImages)},
		{"one_success_per_image", harmDoubled, "a picture is made once", rowsOf(sqlTwoSuccesses)},
		{"pictures_unique", harmDoubled, "no two images share a blob or a picture", rowsOf(sqlSharedPictures)},
		{"tickets_match", harmLeaked, "a live generation has one live ticket, a held or ended one none", rowsOf(`
			SELECT id || ' is ' || what FROM (` + ticketsDisagree + `) AS t (id, what)`)},
		{"admission_counts", harmLeaked, "what is counted as running and held is running and held", rowsOf(sqlMiscounted)},
		{"workers_live", harmLeaked, "the workers that are taken for alive are those that live", rowsOf(sqlWrongWorkers)},
		{"blobs_have_rows", harmLeaked, "a blob has its row, or is young and due to be removed", findOrphanBlobs},
		{"images_stored", harmLost, "an image has its blob, of the right bytes", findDamagedImages},
		{"ends_complete", "", "an ended generation accounts for every image and says why one is missing", rowsOf(sqlIncomplete)},
		{"answers_true", "", "the end that a customer was told is the end in the row", findFalseAnswers},
		{"paid_within_budget", harmDoubled, "at most two calls for an image were paid or may have been", rowsOf(sqlOverpaid)},
		{"attempts_ended", "", "every recorded call of an ended generation has an outcome", rowsOf(sqlOpenAttempts)},
		{"attempts_counted", "", "a generation counts its recorded calls", rowsOf(sqlMiscountedAttempts)},
		{"calls_recorded", "", "no call was made that is not recorded", findUnrecordedCalls},
		{"all_answered", "", "every customer is accepted and told the end", findUnanswered},
		{"recovered_in_time", "", "the generations of a struck worker are elsewhere or ended within 8 s in which nothing else is struck", findLateRecoveries},
		{"database_back", "", "customers have an answer, and work an end, within 10 s of the database's return", findLateComebacks},
		{"answers_tolerable", "", "customers see 2xx, 402, 409, 429, 503 with Retry-After, or no answer", findIntolerable},
	}
	all = append(all, slices.Concat(eventInvariants(), moneyInvariants())...)
	for _, s := range []struct{ name, promise string }{
		{seenEndedStays, "what has ended never changes"},
		{seenTickets, "generations and tickets match while processes die, but for the time of a recovery"},
		{seenCaps, "no organization has more admitted than its plan allows"},
		{seenCounts, "what is counted as running and held is so at every moment"},
		{seenCredits, "an account is the sum of its entries, holds what is under way, and is never overdrawn, at every moment"},
		{seenNumbers, "an organization's events come to light in the order of their numbers"},
		{seenProcesses, "no process ends by itself"},
	} {
		all = append(all, invariant{s.name, "", s.promise, func(_ context.Context, e *chaosEvidence) ([]string, error) { return e.seen[s.name], nil }})
	}
	return all
}

// rowsOf finds what a query yields, one text a row. Its arguments are @workers
// and @now.
func rowsOf(sql string) func(context.Context, *chaosEvidence) ([]string, error) {
	return func(ctx context.Context, e *chaosEvidence) ([]string, error) {
		rows, err := e.db.Pool().Query(ctx, sql, pgx.NamedArgs{"workers": e.workers, "now": e.now})
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	}
}

const sqlNotEnded = `
	SELECT format('%s is %s (tries %s, attempts %s, worker %s)', id, status, tries, attempts, worker) FROM generation
	WHERE status IN ('queued', 'processing') OR finished_at IS NULL
	ORDER BY id`

const sqlTooManyImages = `
	SELECT format('%s has %s images of %s', i.generation_id, count(*), coalesce(g.n::text, 'no generation'))
	FROM image AS i LEFT JOIN generation AS g ON g.id = i.generation_id
	GROUP BY i.generation_id, g.n
	HAVING g.n IS NULL OR count(*) > g.n OR count(*) > count(DISTINCT i.idx) OR max(i.idx) >= g.n OR min(i.idx) < 0
	ORDER BY 1`

const sqlTwoSuccesses = `
	SELECT format('%s has %s successful calls for image %s', generation_id, count(*), image_index) FROM attempt
	WHERE outcome = 'succeeded'
	GROUP BY generation_id, image_index
	HAVING count(*) > 1
	ORDER BY 1`

// The provider never sends the same bytes twice, so equal ones are one picture.
const sqlSharedPictures = `
	SELECT format('blob %s is of %s', blob_key, string_agg(id, ', ' ORDER BY id)) FROM image
	GROUP BY blob_key HAVING count(*) > 1
	UNION ALL
	SELECT format('picture %s is of %s', left(encode(sha256, 'hex'), 12), string_agg(id, ', ' ORDER BY id)) FROM image
	GROUP BY sha256 HAVING count(*) > 1
	ORDER BY 1`

const sqlMiscounted = `
	WITH counted AS (
		SELECT org_id, queue, count(*) FILTER (WHERE held_at IS NULL) AS running, count(*) FILTER (WHERE held_at IS NOT NULL) AS held
		FROM generation
		WHERE status IN ('queued', 'processing')
		GROUP BY org_id, queue
	)
	SELECT format('%s in %s: %s running and %s held are counted, %s and %s are so',
		org_id, queue, coalesce(a.running, 0), coalesce(a.held, 0), coalesce(c.running, 0), coalesce(c.held, 0))
	FROM admission AS a FULL JOIN counted AS c USING (org_id, queue)
	WHERE (coalesce(a.running, 0), coalesce(a.held, 0)) <> (coalesce(c.running, 0), coalesce(c.held, 0))
	ORDER BY 1`

const sqlWrongWorkers = `
	SELECT format('%s is dead and was seen %s s ago', id, round(extract(epoch FROM @now - seen_at), 1)) FROM worker
	WHERE seen_at > @now::timestamptz - interval '5 seconds' AND id <> ALL(@workers::text[])
	UNION ALL
	SELECT format('%s lives and was not seen for 5 s', id) FROM unnest(@workers::text[]) AS lives (id)
	WHERE NOT EXISTS (SELECT FROM worker WHERE worker.id = lives.id AND seen_at > @now::timestamptz - interval '5 seconds')
	ORDER BY 1`

const sqlIncomplete = `
	SELECT format('%s is %s with %s images and %s image errors of %s, error %s', id, status, made, missing, n, coalesce(error ->> 'code', 'none'))
	FROM (
		SELECT g.*, (SELECT count(*) FROM image WHERE generation_id = g.id) AS made,
			coalesce(jsonb_array_length(nullif(image_errors, 'null')), 0) AS missing
		FROM generation AS g
	) AS g
	WHERE status = 'succeeded' AND (made = 0 OR made + missing <> n OR error IS NOT NULL)
		OR status = 'failed' AND (made > 0 OR error IS NULL OR error ->> 'code' IS NULL)
		OR status = 'expired' AND (made > 0 OR attempts > 0)
	ORDER BY 1`

const sqlOverpaid = `
	SELECT format('image %s of %s: %s calls were paid or may have been (%s)', image_index, generation_id, count(*), string_agg(outcome, ', ' ORDER BY n))
	FROM attempt
	WHERE outcome IN ('succeeded', 'ambiguous')
	GROUP BY generation_id, image_index
	HAVING count(*) > 2
	ORDER BY 1`

const sqlOpenAttempts = `
	SELECT format('call %s of %s has no outcome (%s)', a.n, a.generation_id, coalesce(g.status, 'no generation'))
	FROM attempt AS a LEFT JOIN generation AS g ON g.id = a.generation_id
	WHERE g.id IS NULL OR g.status NOT IN ('queued', 'processing') AND (a.outcome IS NULL OR a.finished_at IS NULL)
	ORDER BY 1`

const sqlMiscountedAttempts = `
	SELECT format('%s counts %s calls and has %s', id, attempts, recorded) FROM (
		SELECT g.id, g.attempts, (SELECT count(*) FROM attempt WHERE generation_id = g.id) AS recorded FROM generation AS g
	) AS g
	WHERE attempts <> recorded
	ORDER BY 1`
