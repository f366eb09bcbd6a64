package store_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// errands inserts n generations whose first event is to go to an endpoint, and
// returns what their tickets ask for, in order.
func (b *bundle) errands(t *testing.T, endpoint string, n int) (errands []store.Errand) {
	t.Helper()
	for range n {
		b.queued(t, nil)
	}
	rows, err := b.Pool().Query(t.Context(), `
		SELECT endpoint_id, event_id, ticket FROM webhook_delivery
		WHERE endpoint_id = $1 AND state = 'pending'
		ORDER BY event_id DESC
		LIMIT $2`, endpoint, n)
	if err != nil {
		t.Fatal(err)
	}
	if errands, err = pgx.CollectRows(rows, pgx.RowToStructByName[store.Errand]); err != nil || len(errands) != n {
		t.Fatal(errands, err)
	}
	slices.Reverse(errands)
	return errands
}

// sent is an attempt that was made now.
func sent(e store.Errand, state string) *store.Sent {
	s := &store.Sent{
		EndpointID: e.EndpointID, EventID: e.EventID, Ticket: e.Ticket, State: state,
		Attempt: store.DeliveryAttempt{At: time.Now().UTC().Truncate(time.Second), MS: 7, Status: 500, Error: "answered 500"},
	}
	if state == store.DeliveryPending {
		s.RetrySecs = 60
	}
	s.Revision = 1
	return s
}

// lines collects a query's texts.
func (b *bundle) lines(t *testing.T, sql string, args ...any) []string {
	t.Helper()
	rows, err := b.Pool().Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// deliveries says of each delivery how it stands, and what its ticket does.
func (b *bundle) deliveries(t *testing.T) []string {
	t.Helper()
	return b.lines(t, `
		SELECT format('%s tries=%s attempts=%s logged=%s ticket=%s', d.state, d.tries, d.attempts, coalesce(jsonb_array_length(d.log), 0), coalesce(j.state::text, CASE WHEN d.due_at IS NULL THEN 'none' ELSE 'waits' END))
		FROM webhook_delivery AS d LEFT JOIN river.river_job AS j ON j.id = d.ticket
		ORDER BY d.event_id`)
}

func TestRecordSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 3)
	record := func(list ...*store.Sent) {
		t.Helper()
		if err := b.RecordSent(t.Context(), 0, list); err != nil {
			t.Fatal(err)
		}
	}
	stale := e[1]
	stale.Ticket++
	record(sent(e[0], store.DeliveryDelivered), sent(stale, store.DeliveryFailed), sent(e[2], store.DeliveryPending))
	want := []string{
		"delivered tries=1 attempts=1 logged=1 ticket=none",
		"pending tries=0 attempts=0 logged=0 ticket=available",
		"pending tries=1 attempts=1 logged=1 ticket=waits",
	}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
	// Another ticket's run finds that it was delivered; the rest is over.
	record(sent(stale, store.DeliveryDelivered), sent(e[0], store.DeliveryFailed), sent(e[2], store.DeliveryFailed))
	want[1] = "delivered tries=1 attempts=1 logged=1 ticket=none"
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
	sendings, err := b.Sendings(t.Context(), e)
	if diff := cmp.Diff([]*store.Sending{nil, nil, nil}, sendings); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRecordSent_TwoOfOneDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 2)
	if err := b.RecordSent(t.Context(), 0, []*store.Sent{
		sent(e[0], store.DeliveryPending), sent(e[0], store.DeliveryDelivered), sent(e[0], store.DeliveryPending),
		sent(e[1], store.DeliveryPending), sent(e[1], store.DeliveryPending),
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"delivered tries=1 attempts=1 logged=1 ticket=none",
		"pending tries=1 attempts=1 logged=1 ticket=waits",
	}
	if diff := cmp.Diff(want, b.deliveries(t)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("", b.tickets(t)); diff != "" {
		t.Error(diff)
	}
}

func TestRecordSent_KeepsTheLatest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.errands(t, b.endpoint(t, []string{"generation.queued"}, ""), 1)[0]
	for i := range 25 {
		s := sent(e, store.DeliveryPending)
		s.Attempt.MS = int64(i)
		if err := b.RecordSent(t.Context(), 0, []*store.Sent{s}); err != nil {
			t.Fatal(err)
		}
		b.release(t, time.Hour)
		if err := b.Pool().QueryRow(t.Context(), `SELECT ticket FROM webhook_delivery`).Scan(&e.Ticket); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"25 attempts, 20 logged, 5 to 24"}
	got := b.lines(t, `SELECT format('%s attempts, %s logged, %s to %s', attempts, jsonb_array_length(log), log -> 0 ->> 'ms', log -> -1 ->> 'ms') FROM webhook_delivery`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordSent_EndpointsHealth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		set   string // of the endpoint
		sent  []string
		gone  bool
		own   int // how many, from the first, were the service's fault
		want  string
		event bool
	}{
		{"good", "", []string{"delivered"}, false, 0, "f f ", false},
		{"first failure", "", []string{"pending"}, false, 0, "f t ", false},
		{"one success is enough", "failing_since = now()", []string{"pending", "delivered"}, false, 0, "f f ", false},
		{"still failing", "failing_since = now() - interval '4 days 23 hours', failed_at = now()", []string{"failed"}, false, 0, "f t ", false},
		{"five days", "failing_since = now() - interval '5 days 1 minute', failed_at = now() - interval '20 hours'", []string{"pending"}, false, 0, "t t failing", true},
		{"two failures six days apart", "failing_since = now() - interval '6 days', failed_at = now() - interval '6 days'", []string{"failed"}, false, 0, "f t ", false},
		{"five days, then good", "failing_since = now() - interval '6 days'", []string{"delivered"}, false, 0, "f f ", false},
		{"gone", "", []string{"failed"}, true, 0, "t t gone", true},
		{"changed since", "failing_since = now() - interval '6 days', revision = 2", []string{"failed"}, true, 0, "f t ", false},
		{"disabled before", "disabled_at = now(), disabled_reason = 'asked'", []string{"failed"}, true, 0, "t f asked", false},
		{"not sent", "", []string{"pending", "failed"}, false, 2, "f f ", false},
		{"not sent for five days", "failing_since = now() - interval '6 days'", []string{"pending"}, false, 1, "f t ", false},
		{"not sent, and failed", "", []string{"pending", "pending"}, false, 1, "f t ", false},
		{"not sent, and good", "failing_since = now()", []string{"pending", "delivered"}, false, 1, "f f ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			endpoint := b.endpoint(t, []string{"generation.queued"}, "")
			errands := b.errands(t, endpoint, len(c.sent))
			if c.set != "" {
				if _, err := b.Pool().Exec(t.Context(), `UPDATE webhook_endpoint SET `+c.set); err != nil {
					t.Fatal(err)
				}
			}
			var list []*store.Sent
			for i, state := range c.sent {
				s := sent(errands[i], state)
				s.Gone, s.Unsent = c.gone, i < c.own
				list = append(list, s)
			}
			if err := b.RecordSent(t.Context(), 0, list); err != nil {
				t.Fatal(err)
			}
			got := b.lines(t, `SELECT format('%s %s %s', disabled_at IS NOT NULL, failing_since IS NOT NULL, disabled_reason) FROM webhook_endpoint`)
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Error(diff)
			}
			want := []string{}
			if c.event {
				want = []string{fmt.Sprintf("%s %d", endpoint, len(c.sent)+1)}
			}
			got = b.lines(t, `SELECT format('%s %s', data ->> 'id', sequence) FROM event WHERE type = 'webhook_endpoint.disabled'`)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is sent to a webhook_url is signed with the secrets of the mode in which the
// generation was asked, to an endpoint with the endpoint's.
func TestSendings_SecretsOfTheMode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	live, test := b.scope(), b.scope()
	test.Test = true
	endpoint := b.made(t, live, nil).ID
	want := map[string]string{endpoint + " false": "sealed one1"}
	for name, scope := range map[string]store.Scope{"live": live, "test": test} {
		rows, err := b.EnsureProjectSecret(t.Context(), scope, sealed(name))
		if err != nil || len(rows) != 1 {
			t.Fatal(rows, err)
		}
		want[fmt.Sprint(store.EndpointRequest, " ", scope.Test)] = "sealed " + name
		url := "https://example.com/" + name
		b.queued(t, func(g *store.NewGeneration) {
			g.Test, g.WebhookURL, g.WebhookEvents = scope.Test, &url, []string{"generation.*"}
		})
	}
	rows, err := b.Pool().Query(t.Context(), `SELECT endpoint_id, event_id, ticket FROM webhook_delivery`)
	if err != nil {
		t.Fatal(err)
	}
	errands, err := pgx.CollectRows(rows, pgx.RowToStructByName[store.Errand])
	if err != nil {
		t.Fatal(err)
	}
	sendings, err := b.Sendings(t.Context(), errands)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range sendings {
		got[fmt.Sprint(s.EndpointID, " ", s.Event.Test)] = string(bytes.Join(s.Secrets, []byte(", ")))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A delivery is signed with what is in force, newest first, and told how often its
// generation's webhook_url was to be told before.
func TestSendings_SecretsInForceAndAttemptsSoFar(t *testing.T) {
	t.Parallel()
	b := setup(t)
	endpoint := b.endpoint(t, []string{"*"}, "")
	url := "https://example.com/own"
	told := func(g *store.NewGeneration) { g.WebhookURL, g.WebhookEvents = &url, []string{"generation.*"} }
	one, two := b.queued(t, told), b.queued(t, told)
	b.claim(t, one.ID) // its second event
	for _, owner := range []string{endpoint, b.project.ID} {
		b.exec(t, `
			INSERT INTO webhook_secret (owner, n, org_id, sealed, last4, expires_at)
			SELECT $1, n, 'org', convert_to(concat('secret ', n), 'UTF8'), '', expires_at
			FROM (VALUES (1, now() - interval '1 second'), (2, now() + interval '1 hour'), (3, NULL)) AS s (n, expires_at)`, owner)
	}
	b.exec(t, `
		UPDATE webhook_delivery SET attempts = CASE
			WHEN endpoint_id <> 'request' THEN 100
			WHEN substr(event_id, 5, 25) = substr($1, 5, 25) THEN CASE WHEN right(event_id, 1) = '4' THEN 3 ELSE 2 END
			ELSE 7 END`, one.ID)
	rows, err := b.Pool().Query(t.Context(), `SELECT endpoint_id, event_id, ticket FROM webhook_delivery ORDER BY endpoint_id, event_id`)
	if err != nil {
		t.Fatal(err)
	}
	errands, err := pgx.CollectRows(rows, pgx.RowToStructByName[store.Errand])
	if err != nil || len(errands) != 6 {
		t.Fatalf("%d deliveries, %v; want two of each end and one of each queued", len(errands), err)
	}
	sendings, err := b.Sendings(t.Context(), errands)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{one.ID: 5, two.ID: 7}
	for _, s := range sendings {
		if got := string(bytes.Join(s.Secrets, []byte(", "))); got != "secret 3, secret 2" || s.Told != times[s.Generation.ID] {
			t.Errorf("%s to %s: signed with %s, told %d times; want %d", s.EventID, s.EndpointID, got, s.Told, times[s.Generation.ID])
		}
	}
}

// What a finish reads for its deliveries is what would be read after it.
func TestFinishGenerations_ReadsWhatItsDeliveriesTake(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"*"}, "")
	b.endpoint(t, []string{"generation.succeeded"}, "project_id = NULL")
	url := "https://example.com/own"
	g := b.queued(t, func(g *store.NewGeneration) {
		g.WebhookURL, g.WebhookEvents = &url, []string{"generation.*"}
	})
	c := b.claim(t, g.ID)
	if !c.Told {
		t.Error("the claim does not know that customers are told")
	}
	o := succeeded(c)
	o.Told = true
	finished, err := b.FinishGenerations(t.Context(), store.Sender{Worker: "w", Net: time.Minute}, []*store.Outcome{o})
	if err != nil || len(finished[0].Errands) != 3 {
		t.Fatal(finished, err)
	}
	after, err := b.Sendings(t.Context(), finished[0].Errands)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(after, finished[0].Sendings); diff != "" || after[0] == nil || len(after[0].Images) != 1 {
		t.Error(diff)
	}
	quiet := setup(t)
	if c := quiet.claim(t, quiet.queued(t, nil).ID); c.Told {
		t.Error("nobody is to be told")
	}
}
