package worker_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// TestJobErrors_AreLogged has a job fail that is tried again, and one that is not,
// each by a table that is gone.
func TestJobErrors_AreLogged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ breaks, mends, want string }{
		"Retryable": {
			`ALTER TABLE idempotency_key RENAME TO gone`, `ALTER TABLE gone RENAME TO idempotency_key`,
			`level=WARN msg="job failed" kind=lapse_keys`,
		},
		"Last": {
			`ALTER TABLE image RENAME COLUMN derive_tries TO gone`, `ALTER TABLE image RENAME COLUMN gone TO derive_tries`,
			`level=ERROR msg="job failed" kind=derive_images`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			b.exec(t, c.breaks)
			log := &record{}
			b.start(t, func(o *worker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
			defer b.exec(t, c.mends) // the database is used again
			log.wait(t, c.want, 2*time.Minute)
		})
	}
}

// TestJobErrors_AStopIsNone stops a worker in the middle of a job.
func TestJobErrors_AStopIsNone(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	log := &record{}
	w := b.start(t, func(o *worker.Options) {
		o.Logger, o.DrainTimeout = slog.New(slog.NewTextHandler(log, nil)), time.Millisecond
	})
	const prompt = "[[sim:hang]] x"
	id := b.submit(t, jobs.GenerationRequest{Prompt: prompt}).ID
	b.until(t, id, func(*store.Generation) bool { return b.calls(prompt) == 1 })
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if bytes.Contains(log.buf.Bytes(), []byte("job failed")) {
		t.Errorf("a stop is logged as a failure:\n%s", log.buf.String())
	}
}
