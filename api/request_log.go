package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/store"
)

// RequestLogOptions configure a RequestLog. DB is required.
type RequestLogOptions struct {
	DB *store.DB

	// Linger is how long a request may wait to be written with others; default 500 ms.
	Linger time.Duration

	// Size is how many requests wait at most, of a few hundred bytes each; later ones
	// are dropped. Default 10,000.
	Size int

	// FailedReads and Idle are how many requests of one key, or person, that changed
	// nothing are kept in a minute: failed ones that would only have read, and others.
	// Default 60 and 600, by each process.
	FailedReads, Idle int

	// Timeout bounds one attempt to write; default 5 s.
	Timeout time.Duration

	// Logger is told of requests that were dropped, and once a minute at most of how
	// many were not kept since there were too many of one key; default none.
	Logger *slog.Logger
}

// A RequestLog writes down requests after they were answered, many at once. It never
// holds up an answer: while the database is away requests wait, as many as there is room
// for, and those beyond are dropped and counted in the log.
type RequestLog struct {
	opts RequestLogOptions
	wake chan struct{} // there is something to write
	full chan struct{} // there is enough for a whole batch
	stop chan struct{}
	done chan struct{}
	once sync.Once

	idle *limit.Memory // requests that changed nothing, by who asked

	mu      sync.Mutex
	waiting []store.LoggedRequest
	dropped int
	spared  int // not kept, and the logger was not told yet
	told    time.Time
}

// requestBatch is how many requests are written at once.
const requestBatch = 1000

// NewRequestLog returns a RequestLog that is at work until Close.
func NewRequestLog(opts RequestLogOptions) *RequestLog {
	if opts.Linger == 0 {
		opts.Linger = 500 * time.Millisecond
	}
	if opts.Size == 0 {
		opts.Size = 10_000
	}
	if opts.FailedReads == 0 {
		opts.FailedReads = 60
	}
	if opts.Idle == 0 {
		opts.Idle = 600
	}
	if opts.Timeout == 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &RequestLog{
		opts: opts, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		idle: limit.NewMemory(limit.MemoryOptions{}),
	}
	go l.run()
	return l
}

// add has a request written soon. What comes after Close is dropped.
func (l *RequestLog) add(r store.LoggedRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= l.opts.Size {
		l.dropped++
		return
	}
	l.waiting = append(l.waiting, r)
	signal(l.wake)
	if len(l.waiting) >= requestBatch {
		signal(l.full)
	}
}

// spares reports whether there is room for another request of someone that changed
// nothing, and counts those that there is none for.
func (l *RequestLog) spares(who string, reads bool) bool {
	b := limit.Bucket{Key: who + "/idle", Limit: l.opts.Idle, Period: time.Minute}
	if reads {
		b.Key, b.Limit = who+"/reads", l.opts.FailedReads
	}
	taken, err := l.idle.Take(context.Background(), []limit.Bucket{b})
	if err != nil || taken.Allowed {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spared++
	return false
}

// tellSpared tells the logger of requests that were not kept: at the end, or if it was
// not told of others lately.
func (l *RequestLog) tellSpared(atEnd bool) {
	l.mu.Lock()
	spared, now := l.spared, time.Now()
	if spared == 0 || !atEnd && now.Sub(l.told) < time.Minute {
		spared = 0
	} else {
		l.spared, l.told = 0, now
	}
	l.mu.Unlock()
	if spared > 0 {
		l.opts.Logger.Warn("requests are missing in the request log: too many of one key changed nothing", "spared", spared)
	}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default: // it will look anyway
	}
}

// Close writes what waits, in one attempt that may take as long as any, and ends the log.
func (l *RequestLog) Close() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}

func (l *RequestLog) run() {
	defer close(l.done)
	for {
		select {
		case <-l.wake:
		case <-l.stop:
			l.end()
			return
		}
		l.linger()
		l.tellSpared(false)
		if !l.write() {
			signal(l.wake) // after a while
		}
	}
}

// linger waits for others to be written with the first.
func (l *RequestLog) linger() {
	over := time.NewTimer(l.opts.Linger)
	defer over.Stop()
	select {
	case <-over.C:
	case <-l.full:
	case <-l.stop:
	}
}

// write writes all that waits, and reports whether it could. What could not be written
// for now waits on.
func (l *RequestLog) write() bool {
	for {
		l.mu.Lock()
		batch, dropped := l.waiting[:min(len(l.waiting), requestBatch)], l.dropped
		l.dropped = 0
		l.mu.Unlock()
		if dropped > 0 {
			l.opts.Logger.Warn("requests are missing in the request log: they came faster than the database took them", "dropped", dropped)
		}
		if len(batch) == 0 {
			return true
		}
		ctx, cancel := context.WithTimeout(context.Background(), l.opts.Timeout)
		err := l.opts.DB.RecordRequests(ctx, batch)
		cancel()
		if store.IsUnavailable(err) {
			return false
		}
		if err != nil { // it would fail again
			l.opts.Logger.Error("requests are missing in the request log", "dropped", len(batch), "error", err)
		}
		l.mu.Lock()
		l.waiting = append([]store.LoggedRequest(nil), l.waiting[len(batch):]...)
		l.mu.Unlock()
	}
}

func (l *RequestLog) end() {
	l.write()
	l.tellSpared(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if lost := len(l.waiting) + l.dropped; lost > 0 {
		l.opts.Logger.Warn("requests are missing in the request log: the database was away at the end", "dropped", lost)
	}
}
