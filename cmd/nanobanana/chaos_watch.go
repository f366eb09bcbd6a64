package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

const (
	// sampleEvery is how often the rows are looked at during a run.
	sampleEvery = 200 * time.Millisecond
	// ticketGrace is how long a generation and its ticket may disagree while
	// processes die: longer than any recovery takes.
	ticketGrace = 12 * time.Second
)

// Names of what only a look at the running service can find.
const (
	seenEndedStays = "ended_stays_ended"
	seenTickets    = "tickets_while_running"
	seenCaps       = "caps_while_running"
	seenCounts     = "counts_while_running"
	seenCredits    = "credits_while_running"
	seenNumbers    = "numbers_while_running"
	seenProcesses  = "processes_stay"
)

// A chaosEnd is how a generation ended.
type chaosEnd struct {
	status     store.Status
	finishedAt time.Time
	fence      int
}

// chaosWatch looks at the rows while the service is being hurt, and keeps what
// must not be.
type chaosWatch struct {
	db       *store.DB
	caps     map[string]int // by organization
	recovery *chaosRecovery

	mu       sync.Mutex
	ended    map[string]chaosEnd
	suspects map[string]time.Time           // since when a generation and its tickets disagree
	found    map[string]map[string]struct{} // counterexamples by invariant
	looks    int
	mostHeld int // generations at a time
}

func newChaosWatch(db *store.DB, orgs []*chaosOrg) *chaosWatch {
	w := &chaosWatch{
		db: db, caps: map[string]int{}, recovery: newChaosRecovery(db),
		ended: map[string]chaosEnd{}, suspects: map[string]time.Time{}, found: map[string]map[string]struct{}{},
	}
	for _, o := range orgs {
		if o.cap > 0 {
			w.caps[o.id] = o.cap
		}
	}
	return w
}

// run looks again and again until ctx ends. While the database is away there is
// nothing to see.
func (w *chaosWatch) run(ctx context.Context, members []*chaosMember) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for pause(ctx, 50*time.Millisecond) {
			_ = w.recovery.look(ctx) // again in a moment
		}
	})
	for pause(ctx, sampleEvery) {
		if err := w.look(ctx, time.Now()); err != nil {
			w.forgive()
		}
		for _, m := range members {
			if err := m.died(); err != nil {
				w.find(seenProcesses, err.Error())
			}
		}
	}
	wg.Wait()
}

// look takes one sample, at the time now.
func (w *chaosWatch) look(ctx context.Context, now time.Time) error {
	if err := w.lookEnded(ctx); err != nil {
		return err
	}
	if err := w.lookTickets(ctx, now); err != nil {
		return err
	}
	if err := w.lookAdmission(ctx); err != nil {
		return err
	}
	if err := w.lookFor(ctx, seenNumbers, sqlUnseenEvents); err != nil {
		return err
	}
	if err := w.lookFor(ctx, seenCredits, sqlWrongAccounts); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return nil
}

// lookEnded compares what has ended with how it ended first.
func (w *chaosWatch) lookEnded(ctx context.Context) error {
	rows, err := w.db.Pool().Query(ctx, `
		SELECT id, status, finished_at, fence FROM generation
		WHERE finished_at IS NOT NULL OR status NOT IN ('queued', 'processing') OR id = ANY(@ended)`,
		pgx.NamedArgs{"ended": w.endedIDs()})
	if err != nil {
		return err
	}
	var id string
	var status store.Status
	var finished *time.Time
	var fence int
	seen := map[string]bool{}
	_, err = pgx.ForEachRow(rows, []any{&id, &status, &finished, &fence}, func() error {
		end := chaosEnd{status: status, fence: fence}
		if finished != nil {
			end.finishedAt = *finished
		}
		seen[id] = true
		w.compare(id, end)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range w.endedIDs() {
		if !seen[id] {
			w.find(seenEndedStays, id+" had ended and is gone")
		}
	}
	return nil
}

func (w *chaosWatch) endedIDs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.ended))
	for id := range w.ended {
		ids = append(ids, id)
	}
	return ids
}

// compare remembers how a generation ended, or finds that it has changed since.
func (w *chaosWatch) compare(id string, end chaosEnd) {
	w.mu.Lock()
	before, ok := w.ended[id]
	if !ok {
		w.ended[id] = end
	}
	w.mu.Unlock()
	if ok && (before.status != end.status || before.fence != end.fence || !before.finishedAt.Equal(end.finishedAt)) {
		w.find(seenEndedStays, fmt.Sprintf("%s was %s (fence %d) and is %s (fence %d)", id, before.status, before.fence, end.status, end.fence))
	}
}

// ticketsDisagree finds each live generation without exactly one live ticket,
// held ones with any, and live tickets without a live generation.
const ticketsDisagree = `
	WITH ticket AS (
		SELECT args ->> 'id' AS id, count(*) AS live FROM ` + store.RiverSchema + `.river_job
		WHERE kind = 'generate' AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
		GROUP BY 1
	), alive AS (
		SELECT id, held_at IS NOT NULL AS held FROM generation
		WHERE status IN ('queued', 'processing')
	)
	SELECT id, CASE WHEN alive.held IS NULL THEN 'ended' WHEN alive.held THEN 'held' ELSE 'live' END
		|| ' with ' || coalesce(live, 0) || ' live tickets'
	FROM alive FULL JOIN ticket USING (id)
	WHERE alive.held IS NULL OR coalesce(live, 0) <> (NOT alive.held)::int
	ORDER BY 1`

// lookTickets finds what has disagreed for longer than a recovery takes.
func (w *chaosWatch) lookTickets(ctx context.Context, now time.Time) error {
	rows, err := w.db.Pool().Query(ctx, ticketsDisagree)
	if err != nil {
		return err
	}
	var id, what string
	fresh := map[string]time.Time{}
	_, err = pgx.ForEachRow(rows, []any{&id, &what}, func() error {
		w.mu.Lock()
		since, ok := w.suspects[id]
		w.mu.Unlock()
		if !ok {
			since = now
		}
		fresh[id] = since
		if now.Sub(since) > ticketGrace {
			w.find(seenTickets, fmt.Sprintf("%s: %s for more than %s", id, what, ticketGrace))
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspects = fresh
	return nil
}

// forgive drops suspicions: nothing can be put right while the database is away.
func (w *chaosWatch) forgive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspects = map[string]time.Time{}
}

// lookAdmission finds organizations with more under way than their plan allows,
// in the rows or as it is counted, and counts that differ from the rows: both
// change in one transaction.
func (w *chaosWatch) lookAdmission(ctx context.Context) error {
	rows, err := w.db.Pool().Query(ctx, `
		SELECT org_id, queue, max(running), max(held) FROM (
			SELECT org_id, queue, count(*) FILTER (WHERE held_at IS NULL) AS running, count(held_at) AS held FROM generation
			WHERE status IN ('queued', 'processing')
			GROUP BY 1, 2
			UNION ALL
			SELECT org_id, queue, running, 0 FROM admission
		) AS a
		GROUP BY 1, 2`)
	if err != nil {
		return err
	}
	var org, queue string
	var running, held, allHeld int
	_, err = pgx.ForEachRow(rows, []any{&org, &queue, &running, &held}, func() error {
		allHeld += held
		if most := w.caps[org]; most > 0 && running > most {
			w.find(seenCaps, fmt.Sprintf("%s has %d generations admitted to %s, its plan allows %d", org, running, queue, most))
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.mostHeld = max(w.mostHeld, allHeld)
	w.mu.Unlock()
	return w.lookFor(ctx, seenCounts, sqlMiscounted)
}

// lookFor finds what a query yields, one text a row.
func (w *chaosWatch) lookFor(ctx context.Context, invariant, sql string) error {
	rows, err := w.db.Pool().Query(ctx, sql)
	if err != nil {
		return err
	}
	var wrong string
	_, err = pgx.ForEachRow(rows, []any{&wrong}, func() error {
		w.find(invariant, wrong)
		return nil
	})
	return err
}

// find keeps a counterexample, once.
func (w *chaosWatch) find(invariant, example string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found[invariant] == nil {
		w.found[invariant] = map[string]struct{}{}
	}
	w.found[invariant][example] = struct{}{}
}
