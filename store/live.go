package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Channels of NOTIFY. Payloads are ids joined by commas.
const (
	channelGeneration = "nanobanana_generation" // these generations have ended
	channelEvent      = "nanobanana_event"      // of these generations, which have not ended, there are new events
	channelKey        = "nanobanana_key"        // these API keys have changed
)

// Live tells this process's waiters what other processes did. It holds one
// connection, whatever the number of waiters, and reconnects by itself. Its
// news are hints: one may be lost, so waiters read the rows now and then anyway.
type Live struct {
	url    string
	logger *slog.Logger
	onKeys func(ids []string)

	mu      sync.Mutex
	waiters map[string]map[chan struct{}]struct{}
}

// LiveOptions configure a Live.
type LiveOptions struct {
	URL    string
	Logger *slog.Logger

	// OnKeys is called with the ids of changed API keys, and with nil when some
	// may have changed unseen.
	OnKeys func(ids []string)
}

// NewLive returns a Live. Run makes it live.
func NewLive(opts LiveOptions) *Live {
	if opts.OnKeys == nil {
		opts.OnKeys = func([]string) {}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Live{
		url: opts.URL, logger: opts.Logger, onKeys: opts.OnKeys,
		waiters: map[string]map[chan struct{}]struct{}{},
	}
}

// Generation returns a channel that receives when the generation may have
// ended. The caller calls done when it waits no longer.
func (l *Live) Generation(id string) (news <-chan struct{}, done func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiters[id] == nil {
		l.waiters[id] = map[chan struct{}]struct{}{}
	}
	l.waiters[id][ch] = struct{}{}
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
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return fmt.Errorf("connect: %w", hideURL(err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `LISTEN `+channelGeneration+`; LISTEN `+channelKey); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// What happened while nobody listened is not told again.
	l.wakeAll()
	l.onKeys(nil)
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		ids := strings.Split(n.Payload, ",")
		if n.Channel == channelKey {
			l.onKeys(ids)
			continue
		}
		l.wake(ids)
	}
}

func (l *Live) wake(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		for ch := range l.waiters[id] {
			signal(ch)
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
