package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Channels of NOTIFY. Payloads are ids joined by commas.
const (
	channelGeneration = "nanobanana_generation" // these generations have ended
	channelEvent      = "nanobanana_event"      // of these generations, which have not ended, there are new events
	channelKey        = "nanobanana_key"        // these API keys have changed, or all of these organizations and projects
)

// Live tells this process's waiters what other processes did. It holds one
// connection, whatever the number of waiters, and reconnects by itself. Its
// news are hints: one may be lost, so waiters read the rows now and then anyway.
type Live struct {
	url    string
	logger *slog.Logger
	onKeys func(ids []string)
	pulse  func()
	quiet  time.Duration

	mu      sync.Mutex
	waiters map[string]map[chan struct{}]bool // by generation; true: for each of its events
}

// LiveOptions configure a Live.
type LiveOptions struct {
	URL    string
	Logger *slog.Logger

	// OnKeys is called with the ids of API keys that have changed, or of
	// organizations and projects whose keys all have, and with nil when some may
	// have changed unseen.
	OnKeys func(ids []string)

	// OnPulse is called whenever the database has just shown that it would tell
	// what changes: at least every half a second, as long as all is well, whether
	// there is news or not.
	OnPulse func()

	// Quiet is how long the database may take to answer whether it is still there;
	// default 3 s. It is asked after a silence of that long, or of half a second:
	// a host that is gone without a word is noticed within twice that.
	Quiet time.Duration
}

// NewLive returns a Live. Run makes it live.
func NewLive(opts LiveOptions) *Live {
	if opts.OnKeys == nil {
		opts.OnKeys = func([]string) {}
	}
	if opts.OnPulse == nil {
		opts.OnPulse = func() {}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Quiet == 0 {
		opts.Quiet = 3 * time.Second
	}
	return &Live{
		url: opts.URL, logger: opts.Logger, onKeys: opts.OnKeys, pulse: opts.OnPulse, quiet: opts.Quiet,
		waiters: map[string]map[chan struct{}]bool{},
	}
}

// Generation returns a channel that receives when the generation may have
// ended. The caller calls done when it waits no longer.
func (l *Live) Generation(id string) (news <-chan struct{}, done func()) {
	return l.wait(id, false)
}

// Events returns a channel that receives when there may be a new event of the
// generation, its end included. The caller calls done when it waits no longer.
func (l *Live) Events(id string) (news <-chan struct{}, done func()) {
	return l.wait(id, true)
}

func (l *Live) wait(id string, each bool) (news <-chan struct{}, done func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiters[id] == nil {
		l.waiters[id] = map[chan struct{}]bool{}
	}
	l.waiters[id][ch] = each
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waiters[id], ch)
		if len(l.waiters[id]) == 0 {
			delete(l.waiters, id)
		}
	}
}

// Run listens until ctx ends.
func (l *Live) Run(ctx context.Context) {
	const pause = 200 * time.Millisecond
	for ctx.Err() == nil {
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.logger.Warn("live updates interrupted, reconnecting", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (l *Live) listen(ctx context.Context) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	// What happened while nobody listened is not told again.
	l.wakeAll()
	l.onKeys(nil)
	l.pulse()
	for {
		n, err := l.next(ctx, conn)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		ids := strings.Split(n.Payload, ",")
		switch n.Channel {
		case channelKey:
			l.onKeys(ids)
		case channelEvent:
			l.wake(ids, false)
		case channelGeneration:
			l.wake(ids, true)
		}
		// News come in order: whatever was told before these has been heard.
		l.pulse()
	}
}

func (l *Live) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(l.url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", hideURL(err))
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, `LISTEN `+channelGeneration+`; LISTEN `+channelEvent+`; LISTEN `+channelKey); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), conn.Close(ctx))
	}
	return conn, nil
}

// pulseInterval is the silence after which the database is asked whether it is still
// there.
const pulseInterval = 500 * time.Millisecond

// next waits for a notification. It makes sure now and then that one could come:
// to a listener, a database that is gone looks like one that has nothing to say.
func (l *Live) next(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	for {
		quiet, cancel := context.WithTimeout(ctx, min(l.quiet, pulseInterval))
		n, err := conn.WaitForNotification(quiet)
		cancel()
		if err == nil || ctx.Err() != nil || !pgconn.Timeout(err) {
			return n, err
		}
		asked, cancel := context.WithTimeout(ctx, l.quiet)
		err = conn.Ping(asked)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("no sign of life: %w", err)
		}
		l.pulse()
	}
}

// wake tells the waiters of generations that have new events, or have ended.
func (l *Live) wake(ids []string, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		for ch, each := range l.waiters[id] {
			if ended || each {
				signal(ch)
			}
		}
	}
}

func (l *Live) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, chans := range l.waiters {
		for ch := range chans {
			signal(ch)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
