package worker

import (
	"context"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

const (
	// progressEvery is how often a generation's progress is told at most, and how
	// long a run takes at least that is worth telling of.
	progressEvery = 500 * time.Millisecond
	// progressPatience is how long one telling may take.
	progressPatience = 5 * time.Second
)

// A progress is how far the runs of several images are that have not been told of.
type progress struct {
	mu   sync.Mutex
	runs map[string]advance // by generation
}

// advance is what is to be told of a run.
type advance struct {
	store.Progress
	began time.Time
}

// made notes that a run has one more image. began is when it began.
func (p *progress) made(r *run, began time.Time) {
	if r.claim.N == 1 {
		return
	}
	r.mu.Lock()
	images := r.earlier + len(r.images)
	r.mu.Unlock()
	step := images * (store.ProgressSteps + 1) / r.claim.N
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.runs[r.claim.ID]
	switch {
	case step > store.ProgressSteps: // the end is told otherwise
		delete(p.runs, r.claim.ID)
	case step > 0 && (known.Fence != r.claim.Fence || step > known.Step):
		p.runs[r.claim.ID] = advance{
			Progress: store.Progress{GenerationID: r.claim.ID, Fence: r.claim.Fence, Step: step}, began: began,
		}
	}
}

// due takes out what is to be told now.
func (p *progress) due(now time.Time) []store.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []store.Progress
	for id, a := range p.runs {
		if now.Sub(a.began) >= progressEvery {
			list = append(list, a.Progress)
			delete(p.runs, id)
		}
	}
	return list
}

// tellProgress records how far runs are until ctx ends. What can not be recorded
// is not told: the next image is, and the end.
func (w *Worker) tellProgress(ctx context.Context) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			runs := w.progress.due(now)
			if len(runs) == 0 {
				continue
			}
			within, cancel := context.WithTimeout(ctx, progressPatience)
			err := w.opts.DB.RecordProgress(within, runs)
			cancel()
			if err != nil && ctx.Err() == nil {
				w.opts.Logger.Warn("progress was not told", "runs", len(runs), "error", err)
			}
		}
	}
}
