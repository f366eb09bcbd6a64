// Package simulator answers image requests in Gemini's and OpenAI's own wire
// formats, with pictures it draws itself and with faults on request, so that
// production clients and official SDKs run against it unchanged.
//
// A prompt may carry a directive such as [[sim:429 retry=34.4s route=key-a]]; see
// [Fault] for the kinds and options. A route is an API key, on the Vertex path a
// project, so that several upstream accounts fail independently of each other.
//
// Requests below /__sim/ belong to the simulator. POST /__sim/faults sets the
// faults that need no directive (a list replaces them, an object is added), GET
// lists and DELETE drops them, of one route with ?route=. GET /__sim/requests
// shows the journal of the latest requests and DELETE forgets them, both by
// ?api=, route=, model=, fault=, prompt= and last=. GET /__sim/counts counts all
// that ever came by route, GET /__sim/calls?prompt=PREFIX by prompt, or by NAME
// where a prompt carries [[sim:id=NAME]].
package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
)

// Options says how a Server behaves. The zero value answers at once, without a
// quota, with pictures that are drawn.
type Options struct {
	// Speed scales the time that the real models take: 0 answers at once, 1
	// takes as long as they do (lognormal around the median of the model and
	// size, sigma 0.45, and four times longer in one call of a hundred).
	Speed float64
	// Latency, if positive, is what every image takes, whatever Speed says.
	Latency time.Duration
	// RPM is how many requests each API key may make in a minute; 0 is any.
	RPM int
	// PoolBytes, if positive, answers with prepared JPEG pictures of that many
	// bytes in place of drawing, for load; a picture that cannot be made so small
	// is larger. Each answer's bytes are unique, and none depends on the prompt.
	PoolBytes int
	// Pool, if set, is a pool that is there already, in place of one of PoolBytes.
	Pool *Pool
	// NoGzip answers without compression even where the client accepts it.
	NoGzip bool
	// Faults are there from the start, as if set by SetFaults.
	Faults []Fault
	// JournalSize is how many requests the journal remembers; 0 is 10,000.
	JournalSize int
	// Seed starts the sequence behind latencies and probabilities.
	Seed uint64
	// Logger gets one debug line per request; nil is silence.
	Logger *slog.Logger
	// Now is the clock of quotas and the journal; nil is time.Now.
	Now func() time.Time
}

// A Server is the simulator as an http.Handler, safe for concurrent use.
type Server struct {
	opts    Options
	log     *slog.Logger
	faults  faultBook
	journal journal
	quota   quota
	painter *painter
	pool    *Pool // nil unless the options ask for one
	writers writers

	requests atomic.Uint64 // of the OpenAI API, for their ids

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	drawn sightings // of requests to the OpenAI API

	closeOnce sync.Once
	closed    chan struct{}
}

var _ http.Handler = (*Server)(nil)

// New returns a Server. It panics only if the fonts inside the binary are
// damaged.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.JournalSize <= 0 {
		opts.JournalSize = 10_000
	}
	s := &Server{
		opts:    opts,
		log:     opts.Logger,
		journal: journal{size: opts.JournalSize},
		quota:   quota{rpm: opts.RPM},
		painter: newShippedPainter(),
		pool:    opts.Pool,
		rng:     rand.New(rand.NewPCG(opts.Seed, 0x62616e616e61)),
		closed:  make(chan struct{}),
	}
	s.SetFaults(opts.Faults)
	if s.pool == nil && opts.PoolBytes > 0 {
		s.pool = newPool(s.painter, opts.PoolBytes)
	}
	return s
}

// newShippedPainter letters in the fonts inside the binary.
func newShippedPainter() *painter {
	return newPainter(mustFont(goregular.TTF), mustFont(gobold.TTF))
}

func mustFont(ttf []byte) *opentype.Font {
	f, err := opentype.Parse(ttf)
	if err != nil {
		panic(fmt.Sprintf("parse embedded font: %v", err))
	}
	return f
}

// Close ends requests that hang or wait, by cutting their connections, and
// makes later ones do the same. Call it before http.Server.Shutdown, which
// waits for requests. The error is always nil.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { close(s.closed) })
	return nil
}

// Reset forgets the journal, the faults set by SetFaults, the sightings that tell
// repeated requests apart and that
// first=N counts, and the quotas' use. Options.Faults do not come back.
func (s *Server) Reset() {
	s.journal.reset()
	s.faults.reset()
	s.quota.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drawn = sightings{}
}

// ServeHTTP answers one request of any of the wire formats.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/__sim/"):
		s.serveControl(w, r)
	case isOpenAI(r):
		s.serveOpenAI(w, r)
	default:
		s.serveGemini(w, r)
	}
}

// errTooLate is the end of a wait that the client's own announced deadline cut
// short.
var errTooLate = errors.New("deadline announced by the client passed")

// errClosed is the end of a wait because the server closes.
var errClosed = errors.New("simulator closed")

// wait passes d, or ends early with errTooLate after limit (if positive), with
// errClosed, or with the context's error.
func (s *Server) wait(ctx context.Context, d, limit time.Duration) error {
	var late error
	if limit > 0 && d > limit {
		d, late = limit, errTooLate
	}
	if d <= 0 {
		return late
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return late
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latency draws how long an answer takes whose median is median.
func (s *Server) latency(median time.Duration) time.Duration {
	if s.opts.Latency > 0 {
		return s.opts.Latency
	}
	if s.opts.Speed <= 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(drawLatency(s.rng, median)) * s.opts.Speed)
}

// chance is true with probability p.
func (s *Server) chance(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64() < p
}

// repeats says how often the OpenAI API was asked for just this before. It takes
// no seed, and never makes one picture twice.
func (s *Server) repeats(job *openaiJob) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drawn.count(job.sum(0)) - 1
}
