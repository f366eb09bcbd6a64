package store

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// errLaneClosed reports a write that came after Close.
var errLaneClosed = errors.New("the committer is closed")

// CommitterOptions bound a Committer. Zero values have the defaults named.
type CommitterOptions struct {
	MaxBatch int           // writes in one transaction; default 64
	Lanes    int           // transactions at the same time; default 1
	Timeout  time.Duration // of one transaction; default 20 s
	Linger   time.Duration // how long a first write waits for others; default not at all
}

// A Committer turns concurrent writes into few transactions, without adding
// delay unless asked to: while one batch commits, the next collects. Postgres pays one fsync
// and a handful of round trips for a whole batch.
type Committer[In, Out any] struct {
	commit func(context.Context, []In) ([]Out, error)
	opts   CommitterOptions
	in     chan write[In, Out]
	stop   chan struct{}
	once   sync.Once
	lanes  sync.WaitGroup
}

type write[In, Out any] struct {
	value In
	done  chan result[Out]
}

type result[Out any] struct {
	value Out
	err   error
}

// NewCommitter starts a Committer. commit writes a batch in one transaction and
// returns one Out per In, in order. When it fails for a reason that may lie in
// one of them, each is committed again by itself, so that one bad write never
// fails its neighbours. Close ends it.
func NewCommitter[In, Out any](opts CommitterOptions, commit func(context.Context, []In) ([]Out, error)) *Committer[In, Out] {
	if opts.MaxBatch == 0 {
		opts.MaxBatch = 64
	}
	if opts.Lanes == 0 {
		opts.Lanes = 1
	}
	if opts.Timeout == 0 {
		opts.Timeout = 20 * time.Second
	}
	c := &Committer[In, Out]{
		commit: commit,
		opts:   opts,
		in:     make(chan write[In, Out]),
		stop:   make(chan struct{}),
	}
	for range opts.Lanes {
		c.lanes.Go(c.run)
	}
	return c
}

// Do commits one write and returns its own outcome. If ctx ends first the write
// may still be committed.
func (c *Committer[In, Out]) Do(ctx context.Context, value In) (Out, error) {
	var zero Out
	w := write[In, Out]{value: value, done: make(chan result[Out], 1)}
	select {
	case c.in <- w:
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-c.stop:
		return zero, errLaneClosed
	}
	select {
	case r := <-w.done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// Close waits for the writes under way and refuses later ones.
func (c *Committer[In, Out]) Close() {
	c.once.Do(func() { close(c.stop) })
	c.lanes.Wait()
}

func (c *Committer[In, Out]) run() {
	var batch []write[In, Out]
	for {
		select {
		case first := <-c.in:
			batch = c.collect(append(batch[:0], first))
			c.flush(batch)
			clear(batch)
		case <-c.stop:
			return
		}
	}
}

// collect adds the writes that already wait, or come while the first lingers.
func (c *Committer[In, Out]) collect(batch []write[In, Out]) []write[In, Out] {
	if c.opts.Linger > 0 {
		batch = c.linger(batch)
	}
	for len(batch) < c.opts.MaxBatch {
		select {
		case w := <-c.in:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

func (c *Committer[In, Out]) linger(batch []write[In, Out]) []write[In, Out] {
	over := time.NewTimer(c.opts.Linger)
	defer over.Stop()
	for len(batch) < c.opts.MaxBatch {
		select {
		case w := <-c.in:
			batch = append(batch, w)
		case <-over.C:
			return batch
		case <-c.stop:
			return batch
		}
	}
	return batch
}

func (c *Committer[In, Out]) flush(batch []write[In, Out]) {
	values := make([]In, len(batch))
	for i, w := range batch {
		values[i] = w.value
	}
	outs, err := c.flushOnce(values)
	if err != nil && len(batch) > 1 && !IsUnavailable(err) {
		for i, w := range batch {
			out, err := c.flushOnce(values[i : i+1])
			w.answer(out, 0, err)
		}
		return
	}
	for i, w := range batch {
		w.answer(outs, i, err)
	}
}

func (c *Committer[In, Out]) flushOnce(values []In) ([]Out, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.Timeout)
	defer cancel()
	return c.commit(ctx, values)
}

func (w write[In, Out]) answer(outs []Out, i int, err error) {
	if err != nil {
		w.done <- result[Out]{err: err}
		return
	}
	w.done <- result[Out]{value: outs[i]}
}

// isBrokenConn reports an error of the connection itself, or that it gave no
// answer in time.
func isBrokenConn(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
