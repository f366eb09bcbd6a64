package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

const (
	rereadBeats    = 5  // after which the rows are read without news, in case it is lost
	heartbeatBeats = 15 // of silence, after which a comment shows that the stream lives
	drainBeats     = 2  // that a reading under way has to end when this process stops

	// hintPause is the least time between two hints.
	hintPause = 500 * time.Millisecond
)

// generationStatus is the data of the event "status".
type generationStatus struct {
	GenerationID  string    `json:"generation_id"`
	Status        string    `json:"status"`
	Sequence      int64     `json:"sequence"`
	CreatedAt     time.Time `json:"created_at"`
	Stage         string    `json:"stage"`
	QueuePosition *int      `json:"queue_position"`
	ETASeconds    *int      `json:"eta_seconds"`
}

// generationProgress is the data of the event "progress". Without an id it is a
// hint: how the line moves, which nobody keeps a record of.
type generationProgress struct {
	GenerationID  string  `json:"generation_id"`
	Progress      float64 `json:"progress"`
	Stage         string  `json:"stage"`
	QueuePosition *int    `json:"queue_position"`
	ETASeconds    *int    `json:"eta_seconds"`
}

// generationImage is the data of the event "image".
type generationImage struct {
	view.Image
	GenerationID string `json:"generation_id"`
}

// Stages of a generation.
const (
	stageWaiting    = "waiting"
	stageGenerating = "generating"
	stageDone       = "done"
)

// A following is one client that follows a generation.
type following struct {
	s       *server
	out     *stream
	news    <-chan struct{}
	project string // empty until it is read, for who has the signed URL
	key     string // of the caller; empty for who has the signed URL
	at      place  // where the caller asks
	id      string

	told    int64 // the number of the last row that was told whole
	parts   int   // of the row behind it, if that is the end
	started bool  // it no longer waits for its first run
	hint    outlook
	hinted  time.Time

	due    bool          // the rows are to be read
	unread int           // beats until they are read without news
	found  <-chan result // of the reading under way; until it comes, what it tells is its own
	stop   func()        // the reading under way
}

// An outlook is what a client can expect.
type outlook struct{ position, eta int } // 0 is not known

func (o outlook) show() (position, eta *int) {
	if o.position > 0 {
		position = &o.position
	}
	if o.eta > 0 {
		eta = &o.eta
	}
	return position, eta
}

// follow tells what happens until the end, or until the client or the process is
// to go. It never waits for the database alone.
func (f *following) follow(ctx context.Context) error {
	f.due, f.unread = true, rereadBeats-f.s.streams.phase(rereadBeats)
	defer f.giveUp()
	drain, left := f.s.opts.Drain, drainBeats
	for {
		if drain == nil && (left <= 0 || !f.due && f.found == nil) {
			return f.dismiss()
		}
		var turn chan<- struct{}
		if f.due && f.found == nil {
			turn = f.s.streams.reading
		}
		select {
		case turn <- struct{}{}:
			f.read(ctx)
		case r := <-f.found:
			if over, err := f.digest(ctx, r); over || err != nil {
				return err
			}
		case <-f.news:
			f.due, f.unread = true, rereadBeats
		case <-f.s.streams.next():
			left--
			if err := f.pass(); err != nil {
				return err
			}
		case <-drain:
			drain, left = nil, drainBeats
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read begins to read the rows, in a turn that was waited for.
func (f *following) read(ctx context.Context) {
	ctx, f.stop = f.s.bounded(ctx)
	f.due = false
	f.found = f.s.streams.begin(func() (bool, error) { return f.catchUp(ctx) })
}

// digest takes the result of a reading and sends what it told.
func (f *following) digest(ctx context.Context, r result) (over bool, err error) {
	f.stop()
	f.found, f.stop = nil, nil // which would keep the context of the reading
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case r.err == nil:
		f.s.streams.note(false)
	case isRefused(r.err):
		f.out.comment(r.err.Error())
		return true, f.out.flush()
	case !isAway(r.err):
		_ = f.out.flush() // the cause is what matters
		return true, r.err
	default:
		// The client need not know that the database is away for a while.
		requestOf(ctx).cause = r.err
		f.s.streams.note(true)
	}
	return r.over, f.out.flush()
}

// pass lets one beat pass.
func (f *following) pass() error {
	if f.unread--; f.unread <= 0 {
		f.unread = rereadBeats
		f.due = f.due || f.found == nil && f.s.streams.mayReread()
	}
	if f.out.silent++; f.out.silent < heartbeatBeats {
		return nil
	}
	return f.out.beat()
}

// giveUp ends the reading under way, if there is one.
func (f *following) giveUp() (over bool) {
	if f.found == nil {
		return false
	}
	f.stop()
	r := <-f.found
	f.found = nil
	return r.over
}

// dismiss sends the client to another process.
func (f *following) dismiss() error {
	if over := f.giveUp(); !over {
		f.out.retry(streamRetryDrain)
		f.out.comment("this server stops; connect again")
	}
	return f.out.flush()
}

// sight is what one reading found.
type sight struct {
	events  []*store.Event
	status  store.Status
	outlook outlook
}

// look reads the rows behind what was told, and then how the generation is: the
// other way around, an end in between would seem to have no row.
func (f *following) look(ctx context.Context) (now sight, err error) {
	if now.events, err = f.s.db.GenerationEvents(ctx, f.project, f.id, f.told); err != nil {
		return now, err
	}
	if f.started && len(now.events) == 0 {
		now.status, err = f.s.db.GenerationStatus(ctx, f.project, f.id)
		return now, err
	}
	g, err := f.s.db.Generation(ctx, f.project, f.id)
	if err != nil {
		return now, err
	}
	now.status, f.started = g.Status, g.Fence > 0
	if !g.Status.Terminal() {
		now.outlook.eta = int(f.s.views.ETA(g).Seconds())
	}
	if g.Status == store.StatusQueued && !f.started {
		now.outlook.position, err = f.s.db.QueuePosition(ctx, g)
	}
	return now, err
}

// reach is which generations the caller may see.
func (f *following) reach() reach {
	return reach{project: f.project, test: f.at.mode == store.KeyTest}
}

// readmit refuses a caller who would be refused the stream now.
func (f *following) readmit(ctx context.Context) error {
	caller, err := f.s.authenticateCredential(ctx, f.key)
	if err != nil {
		return err
	}
	if err := f.s.checkAddress(requestOf(ctx).http, caller); err != nil {
		return err
	}
	if caller, err = f.s.placeInProject(ctx, caller, f.at); err != nil {
		return err
	}
	if !caller.May(readsGenerations.scope) {
		return refuseScope(caller, readsGenerations.scope)
	}
	return nil
}

// catchUp tells what is new, to a caller who may still have it. over is that
// there will be nothing more. ctx bounds it.
func (f *following) catchUp(ctx context.Context) (over bool, err error) {
	if f.key != "" {
		if err := f.readmit(ctx); err != nil {
			return false, err
		}
	}
	now, err := f.look(ctx)
	if err == nil && now.status.Terminal() && (len(now.events) == 0 || !endsGeneration(now.events[len(now.events)-1])) {
		now, err = f.look(ctx) // it ended in between, or there is no row of its end
	}
	if err != nil {
		return false, err
	}
	for _, e := range now.events {
		if endsGeneration(e) {
			err := f.tellEnd(ctx, e)
			return err == nil, err
		}
		if err := f.tell(e, now.outlook); err != nil {
			return false, err
		}
		f.told = e.Sequence
	}
	if now.status.Terminal() {
		err := f.tellEnd(ctx, nil)
		return err == nil, err
	}
	if now.outlook.position == 0 || now.outlook == f.hint || time.Since(f.hinted) < hintPause {
		return false, nil
	}
	f.hint, f.hinted = now.outlook, time.Now()
	position, eta := now.outlook.show()
	return false, f.out.send("progress", "", generationProgress{
		GenerationID: f.id, Stage: stageWaiting, QueuePosition: position, ETASeconds: eta,
	})
}

// tell tells of an event before the end.
func (f *following) tell(e *store.Event, o outlook) error {
	number := strconv.FormatInt(e.Sequence, 10)
	if e.Type == store.EventGenerationProgress {
		_, eta := o.show()
		told := generationProgress{GenerationID: f.id, Stage: stageGenerating, ETASeconds: eta}
		if err := json.Unmarshal(e.Data, &told); err != nil {
			return fmt.Errorf("read event %s: %w", e.ID, err)
		}
		return f.out.send("progress", number, told)
	}
	status := generationStatus{
		GenerationID: f.id, Status: string(store.StatusQueued), Sequence: e.Sequence, CreatedAt: e.CreatedAt.UTC(), Stage: stageWaiting,
	}
	if e.Type == store.EventGenerationStarted {
		status.Status, status.Stage = string(store.StatusProcessing), stageGenerating
	}
	if o.position > 0 {
		f.hint, f.hinted = o, time.Now()
	}
	status.QueuePosition, status.ETASeconds = o.show()
	return f.out.send("status", number, status)
}

// tellEnd tells the end in several events, the whole generation last; those that
// the client has are left out. An image's id is its place among those asked for,
// whatever becomes of the others. e is nil if there is no row of the end: then
// there is the last event alone.
func (f *following) tellEnd(ctx context.Context, e *store.Event) error {
	g, err := f.s.readGeneration(ctx, f.reach(), f.id)
	if err != nil {
		return err
	}
	shown, err := f.s.viewGeneration(ctx, g)
	if err != nil {
		return err
	}
	if f.key == "" {
		shown = shown.Shared()
	}
	if e == nil {
		return f.out.send("done", idOfUnrecorded, shown)
	}
	number := strconv.FormatInt(e.Sequence, 10)
	if f.parts == 0 {
		err = f.out.send("status", number+".0", generationStatus{
			GenerationID: f.id, Status: shown.Status, Sequence: e.Sequence, CreatedAt: e.CreatedAt.UTC(), Stage: stageDone,
		})
		f.parts = 1
	}
	for i := range shown.Images {
		part := shown.Images[i].Index + 1
		if part < f.parts || err != nil {
			continue
		}
		err = f.out.send("image", number+"."+strconv.Itoa(part), generationImage{Image: shown.Images[i], GenerationID: f.id})
		f.parts = part + 1
	}
	if err != nil {
		return err
	}
	return f.out.send("done", number, shown)
}
