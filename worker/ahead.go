package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

const (
	// aheadQuiet is for how long no run has ended where one may be written down ahead:
	// more of them share a commit.
	aheadQuiet = 10 * time.Millisecond
	// aheadRest is for how long none is where storage was slower than is worthwhile.
	aheadRest = 5 * time.Second
	// aheadRehearsed is how long a rehearsal of the end of a run is good for.
	aheadRehearsed = 100 * time.Millisecond
	// aheadAfter is when it begins: the provider has the request, and nobody waits.
	aheadAfter = 20 * time.Millisecond
)

// ends are the runs that are being written down.
type ends struct {
	mu        sync.Mutex
	now       int
	last      time.Time // when one was last written
	rehearsed time.Time // when it was last rehearsed to write one ahead
	rests     time.Time // until when none is written ahead
}

// enter counts a run, and tells whether it is alone.
func (e *ends) enter(now time.Time) (alone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now++
	return e.now == 1 && now.Sub(e.last) >= aheadQuiet && now.After(e.rests)
}

// rest puts off writing ahead.
func (e *ends) rest(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rests = now.Add(aheadRest)
}

func (e *ends) leave(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now--
	e.last = now
}

// rehearse reports whether it is worthwhile to rehearse the end of a run that begins.
func (e *ends) rehearse(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now > 0 || now.Sub(e.last) < aheadQuiet || now.Sub(e.rehearsed) < aheadRehearsed || now.Before(e.rests) {
		return false
	}
	e.rehearsed = now
	return true
}

// rehearseEnd gets ready to write the end of a run ahead, while its picture is being
// made.
func (w *Worker) rehearseEnd() {
	if w.inPlace() && w.ends.rehearse(time.Now()) {
		time.AfterFunc(aheadAfter, func() { w.rehearseNow(context.Background()) })
	}
}

// rehearseNow is rehearseEnd for when there is time. Without it runs end as they do
// while there are many.
func (w *Worker) rehearseNow(ctx context.Context) {
	if err := w.ahead.Rehearse(ctx); err != nil {
		w.opts.Logger.Debug("no outcome is written ahead", "error", err)
	}
}

// A storing is a picture that is being stored while its run goes on to its end.
type storing struct {
	index   int
	picture providers.Image
	done    chan struct{}
	err     error // once done
}

// storeAside begins to store the run's only picture, if nothing is to be changed of
// it and it is on the disk already: to sync it takes about as long as to write the
// run's outcome. It is false for a picture that is to be kept first.
func (r *run) storeAside(ctx context.Context, index int, picture providers.Image) bool {
	if !r.only || !r.w.inPlace() {
		return false
	}
	in, err := os.Open(picture.Path)
	if err != nil {
		return false
	}
	defer func() { _ = in.Close() }() // only read
	made, change, err := r.inspect(in, picture)
	if err != nil || change != (imaging.Options{}) {
		return false
	}
	s := &storing{index: index, picture: picture, done: make(chan struct{})}
	r.aside = s
	r.add(made.row(r.claim, index))
	go func() {
		defer close(s.done)
		defer func() {
			if p := recover(); p != nil {
				s.err = r.panicked(p)
			}
		}()
		_, s.err = r.putFinal(ctx, index, made)
	}()
	return true
}

// wait returns once the picture is stored, or can not be.
func (s *storing) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end judges the run and writes its outcome. A picture that is still being stored
// is waited for: with the outcome written ahead where no other shares its commit.
func (r *run) end(ctx context.Context, verdicts []verdict) (o *store.Outcome, again time.Duration, own bool, err error) {
	o, again = r.judge(ctx, verdicts)
	unsure := false
	if r.aside != nil {
		if own, err = r.endAhead(ctx, o); err == nil {
			return o, again, own, nil
		}
		unsure = errors.Is(err, store.ErrUnsure)
		if verdicts = r.stored(ctx, verdicts); verdicts != nil {
			o, again = r.judge(ctx, verdicts)
		}
	}
	r.w.ends.enter(time.Now())
	defer func() { r.w.ends.leave(time.Now()) }()
	own, err = r.w.finish(ctx, o, unsure)
	return o, again, own, err
}

// endAhead writes the outcome while the picture is being stored that it tells of, if
// no other run ends.
func (r *run) endAhead(ctx context.Context, o *store.Outcome) (own bool, err error) {
	alone := r.w.ends.enter(time.Now())
	defer func() { r.w.ends.leave(time.Now()) }()
	if !alone {
		return false, store.ErrNotReady
	}
	own, err = r.w.finishAhead(ctx, o, r.aside)
	switch {
	case err == nil:
		r.ahead = true
		_ = os.Remove(r.aside.picture.Path) // a leftover is swept with its directory
	case errors.Is(err, store.ErrNotReady):
		r.w.ends.rest(time.Now())
	}
	return own, err
}

// stored sees to it that the picture is stored. It returns other verdicts if the
// run's outcome is not what it was to be.
func (r *run) stored(ctx context.Context, verdicts []verdict) []verdict {
	s := r.aside
	<-s.done
	if s.err == nil {
		_ = os.Remove(s.picture.Path) // a leftover is swept with its directory
		return nil
	}
	r.images = nil // it was the only one
	if err := r.keepSafely(ctx, s.index, s.picture); err != nil {
		for i := range verdicts {
			if verdicts[i].index == s.index {
				verdicts[i] = r.fault(s.index, err)
			}
		}
	}
	return verdicts
}

// keepSafely is keep for where drawSafely is over.
func (r *run) keepSafely(ctx context.Context, index int, picture providers.Image) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked(p)
		}
	}()
	return r.keep(ctx, index, picture)
}

// finishAhead writes an outcome while the picture is being stored that it tells of.
func (w *Worker) finishAhead(ctx context.Context, o *store.Outcome, s *storing) (own bool, err error) {
	var letters func() []*letter
	finished, err := w.ahead.Finish(context.WithoutCancel(ctx), w.sender(), o, func(ctx context.Context, f store.Finish) error {
		letters = w.writeAhead(f)
		return s.wait(ctx)
	})
	if err != nil {
		return false, fmt.Errorf("finish %s: %w", o.GenerationID, err)
	}
	w.courier.sendAtOnce(finished, letters())
	return finished.Own, nil
}
