package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

const (
	// streamRetry is how long a client waits before it reconnects,
	// streamRetryDrain the same when this process stops and another takes over, and
	// streamRetryAway while the database is away.
	streamRetry      = time.Second
	streamRetryDrain = 200 * time.Millisecond
	streamRetryAway  = 5 * time.Second

	// idOfUnrecorded is that of the last event when the record of it is gone.
	idOfUnrecorded = "end"
)

// generationEvents streams what happens to a generation, to its end. A client that
// comes back for the rest while the database is away is sent off for a while with an
// answer 200: an EventSource takes any other for the end (HTML Living Standard,
// section 9.2.3).
func (s *server) generationEvents(c echo.Context) error {
	err := s.streamEvents(c)
	r := c.Request()
	if !isAway(err) || r.Context().Err() != nil || c.Response().Committed || r.Method != http.MethodGet || lastEventID(r) == "" {
		return err
	}
	requestOf(r.Context()).cause = err
	out := beginStream(c, s.opts.StreamPatience)
	out.retry(streamRetryAway)
	out.comment("the service can not reach its database just now; connect again")
	return out.flush()
}

func (s *server) streamEvents(c echo.Context) error {
	f := &following{s: s, id: c.Param("id")}
	h, err := s.streamAccess(c, f)
	if err != nil {
		return err
	}
	known := parameters{query: []string{"last_event_id", "sig"}, lax: f.key == ""}
	if err := known.check(c.Request().URL.RawQuery); err != nil {
		return err
	}
	if err := checkID(f.id); err != nil {
		return err
	}
	last, err := parseStreamPosition(lastEventID(c.Request()))
	if err != nil {
		return err
	}
	leave, err := s.streams.enter(h)
	if err != nil {
		return err
	}
	defer leave()
	// Listen first: what happens between reading and listening would go unheard.
	news, done := s.opts.Live.Events(f.id)
	defer done()
	f.news = news
	ctx := c.Request().Context()
	over, err := f.resume(ctx, last)
	switch {
	case err != nil:
		return err
	case over:
		return c.NoContent(http.StatusNoContent) // which tells an EventSource to stop
	case c.Request().Method == http.MethodHead:
		prepareStream(c)
		return c.NoContent(http.StatusOK)
	}
	if f.key == "" { // addresses there may be any number of
		quit, err := s.streams.join(s.sharedHolder(f.project))
		if err != nil {
			return err
		}
		defer quit()
	}
	f.out = beginStream(c, s.opts.StreamPatience)
	f.out.retry(streamRetry)
	if err := f.out.flush(); err != nil {
		return err
	}
	return f.follow(ctx)
}

// streamAccess lets in who has the signed URL of a stream, or else a key, and
// returns what their streams are counted by.
func (s *server) streamAccess(c echo.Context, f *following) (holder, error) {
	sig := c.Request().URL.Query().Get("sig") // echo would keep the query
	if sig != "" && s.opts.Signer.VerifyEvents(f.id, sig) {
		c.Response().Header().Set("Access-Control-Allow-Origin", "*") // the URL alone grants it
		return holder{id: f.id, name: "The generation's URL", most: s.opts.MaxSharedStreams}, nil
	}
	err := s.admitRequest(c, readsGenerations)
	if errors.Is(err, auth.ErrMissing) && sig != "" {
		err = store.ErrNotFound
	}
	if err != nil {
		return holder{}, err
	}
	caller := auth.FromContext(c.Request().Context())
	f.project, f.at = caller.ProjectID, place{org: caller.OrgID, project: caller.ProjectID}
	if caller.Test {
		f.at.mode = store.KeyTest
	}
	f.key, err = keyOf(c.Request().Header)
	return holder{id: caller.ActorID(), name: "The key", most: s.opts.MaxKeyStreams}, err
}

// sharedHolder counts the streams of all of a project's signed URLs: a fifth of what
// the process takes, so that others have theirs.
func (s *server) sharedHolder(project string) holder {
	return holder{id: "shared " + project, name: "The project", most: max(s.opts.MaxSharedStreams, s.opts.MaxStreams/5)}
}

// lastEventID is where a client was when it lost its stream. The header is the
// newer one: who reconnects by itself repeats the URL.
func lastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("last_event_id")
}

// A streamPosition is the last event of a stream that a client has. The zero value
// is that it has none.
type streamPosition struct {
	sequence   int64 // of the row
	part       int   // of the last row, which is told in several events; wholeRow: all
	unrecorded bool  // the end, told without a row
}

// wholeRow is the part of a row that is told whole.
const wholeRow = -1

// errStreamPosition says what a position looks like.
func errStreamPosition() error {
	return refuse("invalid_cursor", "Last-Event-ID must be the id of an event that this generation's stream has sent, such as 17 or 17.2; leave it out to begin at the start.")
}

func parseStreamPosition(id string) (p streamPosition, err error) {
	switch id {
	case "":
		return p, nil
	case idOfUnrecorded:
		return streamPosition{unrecorded: true}, nil
	}
	number, part, parted := strings.Cut(id, ".")
	sequence, err := strconv.ParseUint(number, 10, 63)
	if err != nil || sequence == 0 {
		return p, errStreamPosition()
	}
	p = streamPosition{sequence: int64(sequence), part: wholeRow}
	if parted {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return p, errStreamPosition()
		}
		p.part = int(n)
	}
	return p, nil
}

// resume moves to where a client was. over is that it has everything. Waiting for
// its turn is part of the time that it may take.
func (f *following) resume(ctx context.Context, last streamPosition) (over bool, err error) {
	ctx, cancel := f.s.bounded(ctx)
	defer cancel()
	return f.s.streams.read(ctx, func() (bool, error) { return f.moveTo(ctx, last) })
}

func (f *following) moveTo(ctx context.Context, last streamPosition) (over bool, err error) {
	if f.project == "" {
		if f.project, err = f.s.db.GenerationProject(ctx, f.id); err != nil {
			return false, err
		}
	}
	g, err := f.s.readGeneration(ctx, f.reach(), f.id)
	if err != nil {
		return false, err
	}
	switch {
	case last.unrecorded && g.Status.Terminal():
		return true, nil
	case last.unrecorded:
		return false, errStreamPosition()
	case last.sequence == 0:
		return false, nil
	}
	events, err := f.s.db.GenerationEvents(ctx, f.project, f.id, 0)
	if err != nil {
		return false, err
	}
	f.told = last.sequence
	at := slices.IndexFunc(events, func(e *store.Event) bool { return e.Sequence == last.sequence })
	switch {
	case at < 0 && len(events) > 0 && last.sequence > events[0].Sequence:
		return false, errStreamPosition() // of another generation
	case at < 0: // the rows of so long ago are gone
		return false, nil
	case !endsGeneration(events[at]) && last.part != wholeRow, last.part > g.N:
		return false, errStreamPosition()
	case endsGeneration(events[at]) && last.part == wholeRow:
		return true, nil
	case endsGeneration(events[at]):
		f.told, f.parts = last.sequence-1, last.part+1
	}
	return false, nil
}

// endsGeneration reports whether an event of a generation is its last.
func endsGeneration(e *store.Event) bool {
	switch e.Type {
	case store.EventGenerationQueued, store.EventGenerationStarted, store.EventGenerationProgress:
		return false
	}
	return true
}
