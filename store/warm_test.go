package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// openWarm opens a database of one connection, which is warm if it can be.
func openWarm(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url, store.Options{Warm: 1, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// prepared lists the statements that a connection has prepared and planned.
func prepared(t *testing.T, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) []string {
	t.Helper()
	rows, err := q.Query(t.Context(), `
		SELECT statement FROM pg_prepared_statements WHERE generic_plans + custom_plans > 0
		ORDER BY statement`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// job submits, runs, finishes and delivers a generation.
func (b *bundle) job(t *testing.T) {
	t.Helper()
	hook := "https://example.com"
	g := b.unqueued(func(g *store.NewGeneration) {
		g.WebhookURL, g.WebhookEvents = &hook, []string{store.EventGenerationSucceeded}
	})
	key := &store.IdempotencyKey{
		ProjectID: g.ProjectID, OrgID: g.OrgID, Route: "generations", Key: g.ID, GenerationID: g.ID,
		Fingerprint: []byte{1}, ExpiresAt: time.Now().Add(time.Hour),
	}
	if _, err := b.SubmitGenerations(t.Context(), []*store.IdempotencyKey{key}, []*store.NewGeneration{g}); err != nil {
		t.Fatal(err)
	}
	claims, err := b.ClaimGenerations(t.Context(), claimer, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil {
		t.Fatal(err)
	}
	by := store.Sender{Worker: "w1", Net: time.Minute}
	finished, err := b.FinishGenerations(t.Context(), by, []*store.Outcome{succeeded(claims[0])})
	if err != nil || len(finished[0].Errands) != 1 {
		t.Fatal(finished, err)
	}
	e := finished[0].Errands[0]
	if sendings, err := b.Sendings(t.Context(), []store.Errand{e}); err != nil || sendings[0] == nil {
		t.Fatal(sendings, err)
	}
	if err := b.RecordSent(t.Context(), 0, []*store.Sent{sent(e, store.DeliveryDelivered)}); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_WarmConnectionsHaveAJobsStatements(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.DB = openWarm(t, storetest.URL(b.DB))
	before := prepared(t, b.Pool())
	b.job(t)
	if diff := cmp.Diff(before, prepared(t, b.Pool())); diff != "" {
		t.Errorf("the first job had to prepare (-before +after):\n%s", diff)
	}
	if n := len(before); n < 10 {
		t.Errorf("only %d statements are prepared", n)
	}
}

// To plan a look-up in several tables takes longer than the look-up.
func TestOpen_WarmConnectionsPlanNoJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.DB = openWarm(t, storetest.URL(b.DB))
	const plans = `SELECT custom_plans || ' ' || statement FROM pg_prepared_statements WHERE statement LIKE '%LATERAL%' ORDER BY statement`
	before := b.lines(t, plans)
	b.job(t)
	if diff := cmp.Diff(before, b.lines(t, plans)); diff != "" {
		t.Errorf("a job was planned (-before +after):\n%s", diff)
	}
}

// What was planned while the tables were empty is looked up all the same once they are
// not.
func TestSendings_ReadLittleOfYoungTables(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.DB = openWarm(t, storetest.URL(b.DB))
	for range 100 {
		b.job(t)
	}
	var event string
	if err := b.Pool().QueryRow(t.Context(), `SELECT max(event_id) FROM webhook_delivery`).Scan(&event); err != nil {
		t.Fatal(err)
	}
	errands := []store.Errand{{EndpointID: store.EndpointRequest, EventID: event, Ticket: 1}}
	if n := b.rowsRead(t, func(tx *store.DB) error {
		_, err := tx.Sendings(t.Context(), errands)
		return err
	}); n > 30 {
		t.Errorf("%d rows are read", n)
	}
}

func TestOpen_WarmingLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rows = `
		SELECT format('%s generations, %s tickets, %s admissions, %s events, %s deliveries',
			(SELECT count(*) FROM generation), (SELECT count(*) FROM river.river_job), (SELECT count(*) FROM admission),
			(SELECT count(*) FROM event), (SELECT count(*) FROM webhook_delivery))`
	b.queued(t, nil)
	before := b.lines(t, rows)
	openWarm(t, storetest.URL(b.DB))
	if diff := cmp.Diff(before, b.lines(t, rows)); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_WarmKeepsItsNumber(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), storetest.URL(setup(t).DB), store.Options{Warm: 2, MaxConns: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for began := time.Now(); db.Pool().Stat().IdleConns() < 2; {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d connections are open", db.Pool().Stat().TotalConns())
		}
	}
	var warm []string
	for range 3 {
		conn, err := db.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
		warm = append(warm, fmt.Sprint(len(prepared(t, conn)) > 0))
	}
	// The third was opened for someone who waits.
	if n := count(warm, "true"); n != 2 {
		t.Errorf("%d of 3 connections are warm, want 2", n)
	}
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}

func TestMigrate_WarmsWhatWasOpen(t *testing.T) {
	t.Parallel()
	db := openWarm(t, storetest.Unmigrated(t))
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := prepared(t, db.Pool())
	project, err := db.CreateFirstProject(t.Context(), "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	between := prepared(t, db.Pool())
	(&bundle{DB: db, project: project}).job(t)
	if diff := cmp.Diff(between, prepared(t, db.Pool())); diff != "" || len(before) < 10 {
		t.Errorf("%d statements were prepared, and the first job had to prepare (-before +after):\n%s", len(before), diff)
	}
}

func TestOpen_WarmingWaitsForNoLock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), `LOCK TABLE generation`); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		db := openWarm(t, storetest.URL(b.DB))
		var timeout string
		if err := db.Pool().QueryRow(t.Context(), `SHOW lock_timeout`).Scan(&timeout); err != nil || timeout != "8s" {
			t.Errorf("the lock timeout is %q, %v", timeout, err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
