package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

type createGenerationOutput struct {
	Status            int
	Location          string `header:"Location" doc:"The generation's path"`
	RetryAfter        string `header:"Retry-After" doc:"Seconds until it is worth asking again"`
	Replayed          string `header:"Idempotent-Replayed" doc:"true if an earlier request with this Idempotency-Key made the generation"`
	PreferenceApplied string `header:"Preference-Applied"`
	Cost              string `header:"X-NB-Cost-Micros" doc:"Millionths of a US dollar that it is charged, once it has ended"`
	Body              createdBody
}

func (s *server) createGeneration(ctx context.Context, in *createGenerationInput) (*createGenerationOutput, error) {
	headers := requestOf(ctx).http.Header
	key, err := idempotencyKey(headers)
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	if in.Body.DryRun {
		return s.dryRun(ctx, caller, in.Body.request())
	}
	wanted := submissionOf(caller, in.Body.request())
	wanted.IdempotencyKey = key
	if err := s.limitSubmission(ctx, caller, &wanted); err != nil {
		return nil, err
	}
	accepted, err := s.submit(ctx, wanted)
	s.spent.note(caller, err)
	s.short.note(caller.OrgID, err)
	if err != nil {
		return nil, s.explainRefusal(ctx, caller.OrgID, err)
	}
	out := &createGenerationOutput{Status: http.StatusAccepted}
	seconds, preferred := preferredWait(headers)
	if in.Body.Wait > 0 {
		seconds, preferred = in.Body.Wait, false
	}
	wait := min(time.Duration(seconds)*time.Second, s.opts.MaxWait)
	if preferred {
		out.PreferenceApplied = fmt.Sprintf("wait=%d", int(wait.Seconds()))
	}
	g := accepted.Generation
	if wait > 0 && !g.Status.Terminal() {
		if g, err = s.awaitEnd(ctx, reachOf(caller), g.ID, wait); err != nil {
			return nil, err
		}
	}
	if wait > 0 && g.Status.Terminal() {
		out.Status = http.StatusOK
	}
	if accepted.Replayed {
		out.Replayed = "true"
	}
	shown, err := s.viewGeneration(ctx, g)
	if err != nil {
		return nil, err
	}
	out.Body.generation = shown
	out.Location, out.RetryAfter, out.Cost = shown.URLs.Self, retryAfter(shown), costMicros(shown)
	return out, nil
}

// submissionOf is a caller's, without an idempotency key.
func submissionOf(caller *auth.Caller, request jobs.GenerationRequest) jobs.Submission {
	return jobs.Submission{
		OrgID: caller.OrgID, ProjectID: caller.ProjectID, APIKeyID: caller.KeyID, Test: caller.Test, KeyMonthly: caller.Limits.KeyMonthly, KeyUsage: caller.UsageID,
		Downgrades: caller.Limits.Downgrades, Request: request,
	}
}

func (s *server) submit(ctx context.Context, what jobs.Submission) (*jobs.Accepted, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.queue.SubmitGeneration(ctx, what)
}

type getGenerationOutput struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	RetryAfter   string `header:"Retry-After" doc:"Seconds until it is worth asking again; absent once it has ended"`
	Cost         string `header:"X-NB-Cost-Micros" doc:"Millionths of a US dollar that it is charged, once it has ended"`
	Body         *view.Generation
}

func (s *server) getGeneration(ctx context.Context, in *getGenerationInput) (*getGenerationOutput, error) {
	g, err := s.awaitEnd(ctx, reachOf(auth.FromContext(ctx)), in.ID, time.Duration(in.Wait)*time.Second)
	if err != nil {
		return nil, err
	}
	position, err := s.queuePosition(ctx, g)
	if err != nil {
		return nil, err
	}
	out := &getGenerationOutput{Status: http.StatusOK, CacheControl: "private, no-cache"}
	if g.Status.Terminal() { // a live one is shown only if it has changed
		if out.Body, err = s.viewGeneration(ctx, g); err != nil {
			return nil, err
		}
	}
	out.ETag = etagOf(g, position, out.Body)
	if in.IfNoneMatch != "" && matches(in.IfNoneMatch, out.ETag) {
		out.Status, out.Body = http.StatusNotModified, nil
		if !g.Status.Terminal() {
			out.RetryAfter = strconv.Itoa(retrySeconds(s.views.ETA(g)))
		}
		return out, nil
	}
	if out.Body == nil {
		if out.Body, err = s.viewGeneration(ctx, g); err != nil {
			return nil, err
		}
	}
	out.Body.QueuePosition = position
	out.RetryAfter, out.Cost = retryAfter(out.Body), costMicros(out.Body)
	return out, nil
}

// etagOf is weak: it changes when something happened, not with the clock. shown is
// nil for a generation that lives.
func etagOf(g *store.Generation, position *int, shown *view.Generation) string {
	ahead, placeholders, deliveries := 0, 0, 0
	if position != nil {
		ahead = *position
	}
	if shown != nil {
		deliveries = shown.Webhook.Deliveries
		for _, i := range shown.Images {
			if i.Thumbhash != nil { // it may be made after the end
				placeholders++
			}
		}
	}
	return fmt.Sprintf(`W/"%s.%d.%d.%d.%d.%t.%d.%d"`, g.Status, g.Fence, g.Tries, g.Attempts, ahead, g.RemovedAt != nil, placeholders, deliveries)
}

// queuePosition is nil for a generation that no longer waits for its first run.
func (s *server) queuePosition(ctx context.Context, g *store.Generation) (*int, error) {
	if g.Status != store.StatusQueued || g.Fence > 0 {
		return nil, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	position, err := s.db.QueuePosition(ctx, g)
	if err != nil {
		return nil, err
	}
	return &position, nil
}

// rereadInterval is how often a wait looks at the row, in case the news of the
// end is lost.
const rereadInterval = 3 * time.Second

// bounded is for one thing that a request asks of the database.
func (s *server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.opts.QueryTimeout)
}

func (s *server) readStatus(ctx context.Context, project, id string) (store.Status, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.db.GenerationStatus(ctx, project, id)
}

// awaitEnd returns a generation once it has ended, or as it is when the time is
// over or the process drains.
func (s *server) awaitEnd(ctx context.Context, within reach, id string, wait time.Duration) (*store.Generation, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if wait <= 0 {
		return s.readGeneration(ctx, within, id)
	}
	// Listen first: an end between reading and listening would go unheard.
	news, done := s.opts.Live.Generation(id)
	defer done()
	g, err := s.readGeneration(ctx, within, id)
	if err != nil || g.Status.Terminal() {
		return g, err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	again := time.NewTicker(rereadInterval)
	defer again.Stop()
	for waiting := true; waiting; {
		select {
		case <-news:
		case <-again.C:
		case <-over.C:
			waiting = false
		case <-s.opts.Drain:
			waiting = false
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		status, err := s.readStatus(ctx, within.project, id)
		if err != nil {
			return nil, err
		}
		waiting = waiting && !status.Terminal()
	}
	return s.readGeneration(ctx, within, id)
}

// checkID refuses an id that no generation has, before Postgres sees it.
func checkID(id string) error {
	if !store.ValidGenerationID(id) {
		return fmt.Errorf("generation %q: %w", id, store.ErrNotFound)
	}
	return nil
}

type cancelGenerationOutput struct {
	Cost string `header:"X-NB-Cost-Micros" doc:"Millionths of a US dollar that it is charged"`
	Body *view.Generation
}

func (s *server) cancelGeneration(ctx context.Context, in *generationInput) (*cancelGenerationOutput, error) {
	within := reachOf(auth.FromContext(ctx))
	if err := s.checkReach(ctx, within, in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	g, err := s.queue.CancelGeneration(ctx, within.project, in.ID)
	if err != nil {
		return nil, err
	}
	shown, err := s.viewGeneration(ctx, g)
	if err != nil {
		return nil, err
	}
	return &cancelGenerationOutput{Cost: costMicros(shown), Body: shown}, nil
}

func (s *server) deleteGeneration(ctx context.Context, in *generationInput) (*struct{}, error) {
	within := reachOf(auth.FromContext(ctx))
	if err := s.checkReach(ctx, within, in.ID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return nil, s.queue.RemoveGeneration(ctx, within.project, in.ID)
}

type listGenerationsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         generationList
}

// generationList is one page.
type generationList struct {
	Object     string             `json:"object" enum:"list"`
	Data       []*view.Generation `json:"data" nullable:"false" doc:"queue_position is only told by GET /v1/generations/{id}"`
	HasMore    bool               `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string            `json:"first_id"`
	LastID     *string            `json:"last_id"`
	NextCursor *string            `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

func (s *server) listGenerations(ctx context.Context, in *listGenerationsInput) (*listGenerationsOutput, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx)
	project := caller.ProjectID
	filter.Test = caller.Test
	if in.ProjectID != "" && in.ProjectID != project {
		return nil, refuse("not_found", "project_id is not the key's own project; leave it out.")
	}
	page, err := s.findGenerations(ctx, project, filter)
	if err != nil {
		return nil, err
	}
	list := generationList{Object: "list"}
	page, list.HasMore = cutPage(page, in.Limit, in.Before != "")
	if list.Data, err = s.viewGenerations(ctx, project, page); err != nil {
		return nil, err
	}
	list.FirstID, list.LastID, list.NextCursor = edgesOf(page, func(g *store.Generation) string { return g.ID }, list.HasMore, in.Before != "")
	return &listGenerationsOutput{CacheControl: "private, no-cache", Body: list}, nil
}

func (s *server) findGenerations(ctx context.Context, project string, filter store.GenerationFilter) (page []*store.Generation, err error) {
	err = s.search(ctx, "", func(ctx context.Context) error {
		page, err = s.db.Generations(ctx, project, filter)
		return err
	})
	return page, err
}
