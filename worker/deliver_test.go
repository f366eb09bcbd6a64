package worker_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// A received is a request that a receiver got.
type received struct {
	ID, Type, Generation, Status string
	At                           time.Time
}

// A receiver is a customer's server.
type receiver struct {
	*httptest.Server
	endpoint string
	secret   string

	mu     sync.Mutex
	answer http.HandlerFunc // nil: 200
	got    []received
	news   chan struct{}
}

// receive starts a receiver and records an endpoint for it.
func (b *bundle) receive(t *testing.T, answer http.HandlerFunc, events ...string) *receiver {
	t.Helper()
	r := &receiver{endpoint: store.NewID("whep"), secret: webhook.NewSecret(), answer: answer, news: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(r.handler(t))
	t.Cleanup(r.Close)
	if len(events) == 0 {
		events = webhook.DefaultEvents()
	}
	b.exec(t, `
		INSERT INTO webhook_endpoint (id, org_id, project_id, test, url, events, description, api_version)
		VALUES (@id, @org, @project, false, @url, @events, '', '2026-11-01')`,
		pgx.NamedArgs{"id": r.endpoint, "org": b.project.OrgID, "project": b.project.ID, "url": r.URL + "/hook", "events": events})
	b.keep(t, r.secret, r.endpoint)
	return r
}

// keep records an owner's secret.
func (b *bundle) keep(t *testing.T, secret, owner string) {
	t.Helper()
	b.exec(t, `INSERT INTO webhook_secret (owner, n, org_id, sealed, last4) VALUES ($1, 1, $2, $3, $4)`,
		owner, b.project.OrgID, keyring().Seal(secret, b.project.OrgID, owner), secret[len(secret)-4:])
}

func (r *receiver) handler(t *testing.T) http.HandlerFunc {
	verifier, err := standardwebhooks.NewWebhook(r.secret)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		// With a clock of its own, a test is not within the library's tolerance.
		if err := verifier.VerifyIgnoringTimestamp(body, req.Header); err != nil {
			t.Errorf("delivery of %s: %v", req.Header.Get("webhook-id"), err)
		}
		var event struct {
			ID, Type string
			Data     struct{ ID, Status string }
		}
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("delivery of %s: %v", body, err)
		}
		if got := req.Header.Get("webhook-id"); got != event.ID {
			t.Errorf("webhook-id %s of event %s", got, event.ID)
		}
		r.mu.Lock()
		r.got = append(r.got, received{event.ID, event.Type, event.Data.ID, event.Data.Status, time.Now()})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

// set changes what the receiver answers.
func (r *receiver) set(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received{}, r.got...)
}

// until waits for n requests and returns them.
func (r *receiver) until(t *testing.T, n int) []received {
	t.Helper()
	late := time.After(2 * time.Minute)
	for len(r.all()) < n {
		select {
		case <-r.news:
		case <-late:
			t.Fatalf("%d requests of %d: %v", len(r.all()), n, r.all())
		}
	}
	return r.all()
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// text reads one text from the database.
func (b *bundle) text(t *testing.T, sql string, args ...any) (text string) {
	t.Helper()
	if err := b.db.Pool().QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// untilText waits for a query to yield a text.
func (b *bundle) untilText(t *testing.T, want, sql string, args ...any) {
	t.Helper()
	got := ""
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = b.text(t, sql, args...); got == want {
			return
		}
	}
	t.Fatalf("%q, and never %q", got, want)
}

// deliveryState is the state of an endpoint's only delivery, its attempts and
// tickets.
const deliveryState = `
	SELECT format('%s %s %s', state, attempts, (SELECT count(*) FROM river.river_job
		WHERE queue = 'webhook' AND state IN ('available', 'pending', 'scheduled', 'retryable')))
	FROM webhook_delivery WHERE endpoint_id = $1`

func TestDeliver_AtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.receive(t, nil)
	g := b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	got := r.until(t, 1)
	want := []received{{Type: "generation.succeeded", Generation: g.ID, Status: "succeeded"}}
	got[0].ID, got[0].At = "", time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	b.untilText(t, "delivered 1 0", deliveryState, r.endpoint)
	log := b.text(t, `SELECT log -> 0 ->> 'status' FROM webhook_delivery WHERE endpoint_id = $1`, r.endpoint)
	if diff := cmp.Diff("200", log); diff != "" {
		t.Error(diff)
	}
}

// Every state is told as it was then, also of a job that nobody runs.
func TestDeliver_EveryState(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.receive(t, nil, "*")
	done := b.submit(t, jobs.GenerationRequest{Prompt: "a banana"}).ID
	failed := b.submit(t, jobs.GenerationRequest{Prompt: "[[sim:block]] a banana"}).ID
	r.until(t, 6)
	got := map[received]int{}
	for _, event := range r.all() {
		got[received{Type: event.Type, Generation: event.Generation, Status: event.Status}]++
	}
	want := map[received]int{}
	for id, end := range map[string]string{done: "succeeded", failed: "failed"} {
		want[received{Type: "generation.queued", Generation: id, Status: "queued"}] = 1
		want[received{Type: "generation.started", Generation: id, Status: "processing"}] = 1
		want[received{Type: "generation." + end, Generation: id, Status: end}] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeliver_ToTheRequestsOwnURL(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	r := b.receive(t, nil, "webhook_endpoint.disabled") // has nothing to hear of
	g := store.NewGeneration{
		ID: store.NewGenerationID(), OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", Kind: store.KindGenerate,
		Simulated: true, Model: "banana", ModelUsed: "banana", Prompt: "a banana", N: 1, CreatedAt: time.Now(), DeadlineAt: time.Now().Add(time.Hour),
		WebhookEvents: []string{"generation.*"},
	}
	url := r.URL + "/own"
	g.WebhookURL = &url
	b.keep(t, r.secret, b.project.ID)
	if err := b.db.InsertGenerations(t.Context(), []*store.NewGeneration{&g}); err != nil {
		t.Fatal(err)
	}
	b.start(t, nil)
	got := map[string]bool{}
	for _, event := range r.until(t, 3) {
		got[event.Type] = true
	}
	want := map[string]bool{"generation.queued": true, "generation.started": true, "generation.succeeded": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What a worker was to send when it died is sent by another.
func TestDeliver_AfterTheWorkerDied(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	r := b.receive(t, nil)
	g := b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	b.exec(t, `INSERT INTO worker (id, slots, batch_slots) VALUES ('dead', 1, 1)`)
	claims, err := b.db.ClaimGenerations(t.Context(), store.Claimer{Worker: "dead"}, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil {
		t.Fatal(err)
	}
	outcome := &store.Outcome{GenerationID: g.ID, Fence: claims[0].Fence, Status: store.StatusFailed, Error: &store.GenerationError{Code: "provider_error"}}
	finished, err := b.db.FinishGenerations(t.Context(), store.Sender{Worker: "dead", Net: time.Hour}, []*store.Outcome{outcome})
	if err != nil || len(finished[0].Errands) != 1 {
		t.Fatal(finished, err)
	}
	b.exec(t, `UPDATE river.river_job SET scheduled_at = now() + interval '25 seconds' WHERE queue = 'webhook'`)
	began := time.Now()
	b.start(t, nil)
	if got := r.until(t, 1); got[0].Type != "generation.failed" {
		t.Error(got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	b.untilText(t, "delivered 1 0", deliveryState, r.endpoint)
}

// A ticket that runs where nobody knows of it is replaced.
func TestDeliver_AfterItsRunDied(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	r := b.receive(t, nil, "generation.queued")
	b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	b.exec(t, `INSERT INTO worker (id, slots, batch_slots) VALUES ('dead', 1, 1)`)
	b.exec(t, `UPDATE river.river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY['dead'] WHERE queue = 'webhook'`)
	b.start(t, nil)
	r.until(t, 1)
	b.untilText(t, "delivered 1 0", deliveryState, r.endpoint)
}

// Receivers that do not answer keep nobody else waiting.
func TestDeliver_ASlowReceiverDelaysNobody(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Concurrency = 8 })
	release := make(chan struct{})
	for range 3 {
		b.receive(t, hang(release), "generation.*")
	}
	quick := b.receive(t, nil, "generation.*")
	t.Cleanup(func() { close(release) }) // before the servers close
	const n = 20
	ended := map[string]time.Time{}
	for range n {
		b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	}
	got := quick.until(t, 3*n)
	rows, err := b.db.Pool().Query(t.Context(), `SELECT id, created_at FROM event`)
	if err != nil {
		t.Fatal(err)
	}
	var id string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { ended[id] = at; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, event := range got {
		// One second, and what a machine that is busy with other tests adds.
		if late := event.At.Sub(ended[event.ID]); late > 3*time.Second {
			t.Errorf("%s came after %s", event.Type, late)
		}
	}
}

// hang answers when the test is over.
func hang(release <-chan struct{}) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
}

// A customer with as many hanging endpoints as there may be delays no other
// customer's webhooks.
func TestDeliver_ACustomersSlowEndpointsDelayNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Concurrency = 8 })
	release := make(chan struct{})
	for range store.MaxWebhookEndpoints {
		b.receive(t, hang(release), "generation.*")
	}
	other := *b
	org, err := b.db.CreateOrg(t.Context(), "other", "unlimited", nil)
	if err != nil {
		t.Fatal(err)
	}
	if other.project, err = b.db.CreateProject(t.Context(), org.ID, "other"); err != nil {
		t.Fatal(err)
	}
	quick := other.receive(t, nil)
	t.Cleanup(func() { close(release) }) // before the servers close
	for range 30 {
		b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	}
	for i := range 5 {
		g := other.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
		other.ended(t, g.ID)
		told := time.Now()
		if got := quick.until(t, i+1); got[i].At.Sub(told) > 3*time.Second {
			t.Errorf("it came %s after the end was seen", got[i].At.Sub(told))
		}
	}
}
