package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/localpg"
)

// limitSteps is what the limits count for in the progress.
const limitSteps = 4

// plainSchema holds River's tables as its own migrations make them, with every
// index.
const plainSchema = "plain"

// limitOptions say how long the limits are measured.
type limitOptions struct {
	clients    int
	each       time.Duration // of a closed loop
	jobs       int           // for River
	imageBytes int
	dir        string // where images would be
	step       func()
}

// limitFigures are rates a second that bound the service's on this machine.
type limitFigures struct {
	plainRiver   float64 // empty jobs worked and marked completed
	ownCommits   float64 // submitting transactions, each with a commit of its own
	singleInsert float64 // rows, each with a commit of its own
	syncedFiles  float64 // files of an image's size, written and synced
}

// measureLimits measures on the same server, in a database of its own.
func measureLimits(ctx context.Context, server *localpg.Server, opts limitOptions) (f limitFigures, err error) {
	db, err := openLimits(ctx, server, opts)
	if err != nil {
		return f, fmt.Errorf("prepare limits: %w", err)
	}
	defer db.Close()
	if f.plainRiver, err = plainRiver(ctx, db, opts.jobs); err != nil {
		return f, fmt.Errorf("measure plain River: %w", err)
	}
	opts.step()
	if f.ownCommits, err = ownCommits(ctx, db, opts); err != nil {
		return f, fmt.Errorf("measure one commit per job: %w", err)
	}
	opts.step()
	if f.singleInsert, err = singleInserts(ctx, db, opts); err != nil {
		return f, fmt.Errorf("measure single inserts: %w", err)
	}
	opts.step()
	if f.syncedFiles, err = syncedFiles(ctx, opts); err != nil {
		return f, fmt.Errorf("measure synced files: %w", err)
	}
	opts.step()
	return f, nil
}

// openLimits makes a database with our schema, and beside it River's own and a
// small table. Like the service it takes no more connections than help.
func openLimits(ctx context.Context, server *localpg.Server, opts limitOptions) (*store.DB, error) {
	conn, err := pgx.Connect(ctx, server.URLFor("postgres"))
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `CREATE DATABASE limits`)
	if err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, server.URLFor("limits"), store.Options{Name: "nanobanana limits", Queue: true, MaxConns: int32(min(max(opts.clients, 16), 64))})
	if err != nil {
		return nil, err
	}
	_, err = db.Migrate(ctx)
	if err == nil {
		_, err = db.Pool().Exec(ctx, `
			CREATE SCHEMA `+plainSchema+`;
			CREATE TABLE single (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, created_at timestamptz NOT NULL)`)
	}
	if err == nil {
		var m *rivermigrate.Migrator[pgx.Tx]
		m, err = rivermigrate.New(riverpgxv5.New(db.Pool()), &rivermigrate.Config{Schema: plainSchema, Logger: silent()})
		if err == nil {
			_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		}
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// silent is a log for libraries whose chatter nobody reads.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// emptyArgs ask for nothing.
type emptyArgs struct{}

// Kind names the job to River.
func (emptyArgs) Kind() string { return "empty" }

// emptyWorker counts jobs down and tells when none is left.
type emptyWorker struct {
	river.WorkerDefaults[emptyArgs]
	left *atomic.Int64
	done chan struct{}
}

// Work does nothing.
func (w *emptyWorker) Work(context.Context, *river.Job[emptyArgs]) error {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
	return nil
}

// plainRiver works n empty jobs with River alone, set up for throughput.
func plainRiver(ctx context.Context, db *store.DB, n int) (float64, error) {
	w := &emptyWorker{left: new(atomic.Int64), done: make(chan struct{})}
	w.left.Store(int64(n))
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{
		Schema: plainSchema, Logger: silent(), Workers: workers, FetchCooldown: jobs.FetchCooldown,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 500}},
	})
	if err != nil {
		return 0, err
	}
	for left := n; left > 0; left -= 1000 {
		params := make([]river.InsertManyParams, min(left, 1000))
		for i := range params {
			params[i].Args = emptyArgs{}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return 0, err
		}
	}
	// The insertion is not part of it, as the drain has a full queue too.
	began := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	// Stop returns when the last completion is written.
	if err := client.Stop(context.WithoutCancel(ctx)); err != nil {
		return 0, err
	}
	return perSecond(n, time.Since(began)), context.Cause(ctx)
}

// ownCommits submits with the service's own statement, one job and one commit to
// a transaction, and nothing around them. Each job has an organization of its own:
// the submissions of one would wait for each other.
func ownCommits(ctx context.Context, db *store.DB, opts limitOptions) (float64, error) {
	return loop(ctx, opts, func(ctx context.Context, i int64) error {
		now := time.Now()
		row := &store.NewGeneration{
			ID: store.NewGenerationID(), OrgID: fmt.Sprintf("org_bench_%d", i), ProjectID: "proj_bench", APIKeyID: "key_bench",
			Kind: store.KindGenerate, Test: true, Simulated: true, Model: "banana", ModelUsed: "banana",
			Prompt: fmt.Sprintf("a studio photo of a ceramic owl bench-limit-%d", i), N: 1,
			Params:    store.Params{AspectRatio: "1:1", Resolution: "1K"},
			CreatedAt: now, DeadlineAt: now.Add(time.Hour),
		}
		return db.InsertGenerations(ctx, []*store.NewGeneration{row})
	})
}

// singleInserts writes one small row to a commit, the least Postgres does.
func singleInserts(ctx context.Context, db *store.DB, opts limitOptions) (float64, error) {
	return loop(ctx, opts, func(ctx context.Context, _ int64) error {
		_, err := db.Pool().Exec(ctx, `
			INSERT INTO single (id, state, created_at)
			VALUES ($1, 'queued', now())`, store.NewID("one"))
		return err
	})
}

// syncedFiles writes files as large as an image and waits until each is on the
// disk. They stay in opts.dir.
func syncedFiles(ctx context.Context, opts limitOptions) (float64, error) {
	dir, err := os.MkdirTemp(opts.dir, "limit-")
	if err != nil {
		return 0, err
	}
	image := bytes.Repeat([]byte("nanobanana"), opts.imageBytes/10+1)[:opts.imageBytes]
	return loop(ctx, opts, func(_ context.Context, i int64) error {
		f, err := os.OpenFile(filepath.Join(dir, strconv.FormatInt(i, 10)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(image)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// loop calls fn from opts.clients goroutines for opts.each and returns the calls
// a second.
func loop(ctx context.Context, opts limitOptions, fn func(context.Context, int64) error) (float64, error) {
	var n atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, opts.clients)
	began := time.Now()
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil && ctx.Err() == nil && time.Since(began) < opts.each {
				errs[i] = fn(ctx, n.Add(1))
			}
		})
	}
	wg.Wait()
	return perSecond(int(n.Load()), time.Since(began)), errors.Join(errors.Join(errs...), context.Cause(ctx))
}
