package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/billing"
	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/gemini"
	"github.com/nanobanana/nanobanana/providers/simulator"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
	"github.com/nanobanana/nanobanana/worker"
)

const stripeSecret = "whsec_of_the_tests"

// shop is a front door with a worker and a Stripe of its own, all on one clock.
type shop struct {
	*people
	sim    *stripesim.Simulator
	client *billing.Client
	queue  *river.Client[pgx.Tx]
}

// setupShop serves the API. Stripe sends its events as disorder says.
func setupShop(t *testing.T, disorder stripesim.Disorder) *shop {
	t.Helper()
	s := &shop{}
	var handler atomic.Pointer[stripesim.Simulator]
	stripe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) }))
	t.Cleanup(stripe.Close)
	s.client = billing.New(billing.Options{APIKey: stripesim.DefaultAPIKey, WebhookSecret: stripeSecret, URL: stripe.URL})
	clock := func() time.Time { return time.Now() }
	var own *jobs.Queue
	s.people = setupPeople(t, func(o *api.Options) {
		clock = o.Now
		o.Billing = s.client
		var err error
		if own, err = jobs.NewQueue(jobs.Options{DB: o.DB, LiveSimulated: true, Now: clock}); err != nil {
			t.Fatal(err)
		}
		o.Queue = own
	})
	t.Cleanup(own.Close)
	sim, err := stripesim.New(stripesim.Options{
		WebhookURL: s.url + "/v1/billing/stripe/webhook", WebhookSecret: stripeSecret, BaseURL: stripe.URL, Webhooks: disorder,
		Backoff: []time.Duration{20 * time.Millisecond},
	})
	s.must(err)
	s.sim = sim
	handler.Store(sim)
	t.Cleanup(sim.Close)
	plans, err := s.db.Plans(t.Context())
	s.must(err)
	_, err = s.client.EnsureCatalogue(t.Context(), catalogueOf(plans))
	s.must(err)
	s.exec(`UPDATE org SET plan = 'free' WHERE id = $1`, s.org)
	s.queue, err = river.NewClient(riverpgxv5.New(s.db.Pool()), &river.Config{Schema: store.RiverSchema})
	s.must(err)
	s.startWorker(t)
	return s
}

func catalogueOf(plans []*store.Plan) billing.Catalogue {
	c := billing.Catalogue{CreditMicros: billing.CreditMicros}
	for _, p := range plans {
		if p.Offered && (p.PriceMicros > 0 || p.Metered) {
			c.Plans = append(c.Plans, billing.Sale{Plan: p.Name, Title: p.Title, PriceMicros: p.PriceMicros, Metered: p.Metered, CreditMicros: int64(p.CreditMicros)})
		}
	}
	return c
}

// newStripe is a Stripe that sells a plan and credits, and tells nobody.
func newStripe(t testing.TB) *billing.Client {
	t.Helper()
	sim, err := stripesim.New(stripesim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() { server.Close(); sim.Close() })
	client := billing.New(billing.Options{APIKey: stripesim.DefaultAPIKey, WebhookSecret: stripeSecret, URL: server.URL})
	_, err = client.EnsureCatalogue(t.Context(), billing.Catalogue{
		Plans: []billing.Sale{{Plan: "pro", Title: "Pro", PriceMicros: 29_000_000}}, CreditMicros: billing.CreditMicros,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// startWorker makes pictures with a simulated provider, and does what Stripe tells.
func (s *shop) startWorker(t *testing.T) {
	t.Helper()
	sim := simulator.New(simulator.Options{})
	server := httptest.NewServer(sim)
	t.Cleanup(func() { _ = sim.Close(); server.Close() })
	provider, err := gemini.New(gemini.Options{Name: "simulator", APIKey: "sim-key", BaseURL: server.URL})
	s.must(err)
	queueDB, err := store.Open(t.Context(), storetest.URL(s.db), store.Options{Queue: true, MaxConns: 6})
	s.must(err)
	t.Cleanup(queueDB.Close)
	w, err := worker.New(worker.Options{
		DB: s.db, QueueDB: queueDB, Blobs: s.blobs, SpoolDir: s.blobs.TempDir(), Keyring: s.keyring,
		Simulator:    providers.ChainOptions{Routes: []providers.RouteOptions{{Name: "simulator", API: "gemini", Provider: provider}}, Base: time.Millisecond, Cap: time.Millisecond},
		View:         view.New(view.Options{SignImage: func(string) string { return "signed" }}),
		DrainTimeout: 200 * time.Millisecond, Billing: s.client, Ahead: func() time.Duration { return time.Duration(s.later.Load()) },
	})
	s.must(err)
	s.must(w.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("stop worker: %v", err)
		}
	})
}

// advance puts every clock forward.
func (s *shop) advance(d time.Duration) {
	s.Helper()
	s.later.Add(int64(d))
	s.sim.Advance(d)
}

// settled waits until Stripe has told everything and all of it is handled.
func (s *shop) settled() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	if err := s.sim.Idle(ctx); err != nil {
		s.Fatalf("Stripe's events: %v", err)
	}
	s.eventually("every event is handled", func() bool {
		return len(s.strings(`SELECT id FROM stripe_event WHERE handled_at IS NULL`)) == 0
	})
}

// run has a job done, and what one of its kind that the timetable began does.
func (s *shop) run(args river.JobArgs) {
	s.Helper()
	_, err := s.queue.Insert(s.Context(), args, nil)
	s.must(err)
	s.eventually(args.Kind()+" is done", func() bool {
		return s.rows(`SELECT count(*) FROM river.river_job WHERE kind = $1 AND finalized_at IS NULL`, args.Kind()) == 0
	})
}

// report has what was used reported, whenever that was done last.
func (s *shop) report() {
	s.Helper()
	s.exec(`UPDATE credit_account SET reported_at = NULL`)
	s.run(jobs.ReportUsageArgs{})
}

// checkout returns the id of a page that a POST has made.
func (s *shop) checkout(path, body string) string {
	s.Helper()
	return s.does(s.master, "POST", path, body, 201).text("id")
}

// subscribe pays for a plan.
func (s *shop) subscribe(plan string) {
	s.Helper()
	s.must(s.sim.Pay(s.checkout("/v1/billing/checkout", `{"plan":"`+plan+`"}`)))
	s.settled()
}

// customer is the organization's at Stripe.
func (s *shop) customer() string {
	s.Helper()
	sub, err := s.db.Subscription(s.Context(), s.org)
	s.must(err)
	return sub.Customer
}

// credits is the account of now.
func (s *shop) credits() *store.CreditAccount {
	s.Helper()
	a, err := s.db.OpenPeriod(s.Context(), s.org, time.Now().Add(time.Duration(s.later.Load())))
	s.must(err)
	return a
}

// has checks the plan, the state of the subscription and the credits of now.
func (s *shop) has(why, plan, status string, granted, used, bought int64) {
	s.Helper()
	sub := s.does(s.master, "GET", "/v1/billing/subscription", "", 200)
	a := s.credits()
	if sub.text("plan") != plan || sub.text("status") != status || a.Granted != granted || a.Used != used || a.Bought != bought {
		s.Errorf("%s: %s %s, %d granted, %d used, %d bought; want %s %s %d %d %d", why,
			sub.text("plan"), sub.text("status"), a.Granted, a.Used, a.Bought, plan, status, granted, used, bought)
	}
}

// sound checks what must always hold.
func (s *shop) sound() {
	s.Helper()
	faults, err := s.db.CreditFaults(s.Context())
	s.must(err)
	for _, fault := range faults {
		s.Error(fault)
	}
	for _, line := range s.strings(`SELECT id || ' ' || type || ': ' || error FROM stripe_event WHERE handled_at IS NULL OR error LIKE '%refused%'`) {
		s.Errorf("event %s", line)
	}
}

// use has a picture made, which takes one credit.
func (s *shop) use() {
	s.Helper()
	id := s.submit(s.live, `{"prompt":"a banana"}`)
	s.eventually("the picture is there", func() bool {
		return s.do(s.live, "GET", "/v1/generations/"+id, "").text("status") == "succeeded"
	})
}

// nextPeriod puts every clock forward to so long after the end of the period.
func (s *shop) nextPeriod(after time.Duration) {
	s.Helper()
	s.advance(s.untilNext() + after)
}

func (s *shop) untilNext() time.Duration {
	s.Helper()
	ends, err := time.Parse(time.RFC3339, s.does(s.master, "GET", "/v1/billing/subscription", "", 200).text("period_end"))
	s.must(err)
	return ends.Sub(time.Now().Add(time.Duration(s.later.Load())))
}
