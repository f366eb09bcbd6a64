package main

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A killed worker's runs are under way elsewhere within 8 s, each of them, and
// end with one image. One that is frozen for as long loses them too, and changes
// nothing when it goes on. The one that takes over has only just started, and has
// room: the victim took what its slots hold before there was another.
func TestLong_ADeadWorkersRunsGoOnElsewhere(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"Killed": syscall.SIGKILL, "Frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			const jobs = 30
			for i := range jobs {
				// Longer than the other one takes to start: no run ends before the signal.
				f.submit(t, fmt.Sprintf("[[sim:slow ms=15000 first=1]] %d", i))
			}
			victim := startProcess(t, f.env, nil, "worker")
			id := victim.line(t, "worker ready ")
			ofVictim := fmt.Sprintf(`SELECT count(*) FROM generation WHERE status = 'processing' AND worker = '%s'`, id)
			f.until(t, 20, ofVictim)
			f.startWorker(t)
			f.until(t, 0, `SELECT count(*) FROM generation WHERE status = 'queued'`)
			running := f.count(t, ofVictim)
			if err := victim.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			died := time.Now()
			f.until(t, 0, ofVictim)
			if took := time.Since(died); running != 20 || took > recoveryLimit {
				t.Errorf("the last of %d runs went on elsewhere after %s, want that of 20 within %s", running, took, recoveryLimit)
			}
			f.until(t, jobs, countEnded)
			before := f.states(t)
			if sig == syscall.SIGSTOP {
				if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				f.until(t, 1, fmt.Sprintf(`SELECT count(*) FROM worker WHERE id = '%s' AND seen_at > now() - interval '1 second'`, id))
				if code := victim.stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("the thawed worker ended with %d:\n%s", code, victim.errs)
				}
			}
			if after := f.states(t); !slices.Equal(before, after) {
				t.Errorf("ended generations changed:\n%v\n%v", before, after)
			}
			ended := time.Now()
			f.until(t, jobs, countTickets) // River marks them a moment later
			if took := time.Since(ended); took > recoveryLimit {
				t.Errorf("the tickets were completed %s after the runs had ended", took)
			}
			for name, sql := range map[string]string{
				"succeeded":       `SELECT count(*) FROM generation WHERE status = 'succeeded' AND attempts <= 2`,
				"images":          countAllImages,
				"kept paid calls": countAttempts,
			} {
				if got := f.count(t, sql); got != jobs {
					t.Errorf("%s: %d, want %d", name, got, jobs)
				}
			}
		})
	}
}

// states tells ended generations apart from ones that were written again.
func (f *fleet) states(t *testing.T) []string {
	t.Helper()
	var states []string
	err := f.db.Pool().QueryRow(t.Context(), `
		SELECT array_agg(concat_ws(' ', id, status, fence, finished_at, attempts) ORDER BY id) FROM generation`).Scan(&states)
	if err != nil {
		t.Fatal(err)
	}
	return states
}
