package worker_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/providers/simulator"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// front is a front door to a bundle's database, which asks for receipts.
type front struct{ url, key string }

// pays makes the organization pay two cents for each credit, and opens a front door.
func (b *bundle) pays(t *testing.T) front {
	t.Helper()
	b.exec(t, `UPDATE org SET plan = 'pay_as_you_go'`)
	keys := auth.NewKeys(auth.Options{DB: b.db, DatabaseSecret: "database secret"})
	key, _, err := keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "k", Kind: store.KeyLive})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Options{
		DB: b.db, Queue: b.queue, Blobs: b.blobs, Keys: keys, Signer: auth.NewSigner("", "database secret"), Keyring: keyring(),
		Live: b.live, Sessions: auth.NewSessions(auth.SessionsOptions{DB: b.db, DatabaseSecret: "database secret"}),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return front{url: server.URL, key: key}
}

// get decodes what a path answers, and returns X-NB-Cost-Micros.
func (f front) get(t *testing.T, path string, into any) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", path, resp.StatusCode, err)
	}
	return resp.Header.Get("X-NB-Cost-Micros")
}

// paper is what a receipt says.
type paper struct {
	Credits struct{ Reserved, Charged, Released int }
	Cost    view.Money
	Reason  string `json:"release_reason"`
	Lines   []struct {
		Delivered bool
		Reason    string
		Credits   int
		Cost      view.Money
	}
	Entries []struct {
		Kind              string
		Credits, Released int
		Reason            string
	}
	Attempts []struct{ Outcome string }
}

// wantMoney checks what the ledger, the account, the receipt and the view say of an
// ended generation, the only one there is: of each other, and as expected.
func (b *bundle) wantMoney(t *testing.T, f front, g *store.Generation, entries string, charged int, lines ...string) {
	t.Helper()
	var p paper
	header := f.get(t, "/v1/generations/"+g.ID+"/receipt", &p)
	var gotEntries, gotLines []string
	for _, e := range p.Entries {
		gotEntries = append(gotEntries, strings.TrimSpace(fmt.Sprintf("%s %d -%d %s", e.Kind, e.Credits, e.Released, e.Reason)))
	}
	sum := 0
	for _, l := range p.Lines {
		gotLines = append(gotLines, strings.TrimSpace(fmt.Sprintf("%t %d %s", l.Delivered, l.Credits, l.Reason)))
		sum += l.Credits
		if want := view.Dollars(int64(l.Credits) * 20_000); l.Cost != want {
			t.Errorf("%d credits cost %v, want %v", l.Credits, l.Cost, want)
		}
	}
	if diff := cmp.Diff(entries, strings.Join(gotEntries, ", ")); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(lines, gotLines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	micros := int64(charged) * 20_000
	if p.Credits.Charged != charged || sum != charged || p.Credits.Reserved != charged+p.Credits.Released || p.Cost != view.Dollars(micros) || header != fmt.Sprint(micros) {
		t.Errorf("the receipt has %+v, %v (%s), and lines of %d credits; want %d charged", p.Credits, p.Cost, header, sum, charged)
	}
	var shown view.Generation
	if header := f.get(t, "/v1/generations/"+g.ID, &shown); header != fmt.Sprint(micros) {
		t.Errorf("X-NB-Cost-Micros is %s, want %d", header, micros)
	}
	cost := shown.Usage.Cost
	if cost.Credits != charged || cost.Released != p.Credits.Released || cost.Money != p.Cost || cost.Images != shown.Usage.BillableImages {
		t.Errorf("the view has %+v, the receipt %+v", cost, p)
	}
	if len(p.Attempts) != len(shown.Attempts) {
		t.Errorf("the receipt has %d calls, the view %d", len(p.Attempts), len(shown.Attempts))
	}
	account, err := b.db.CreditAccount(t.Context(), b.project.OrgID, time.Now())
	if err != nil || account.Reserved != 0 || account.Used != int64(charged) {
		t.Errorf("the account is %+v, %v; want %d used", account, err, charged)
	}
	if faults, err := b.db.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

func TestCharge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request jobs.GenerationRequest
		entries string
		charged int
		lines   []string
	}{
		"Made":      {request: jobs.GenerationRequest{Prompt: "x", Model: "banana-pro"}, entries: "reserve 4 -0, settle 4 -0", charged: 4, lines: []string{"true 4"}},
		"Retried":   {request: jobs.GenerationRequest{Prompt: "[[sim:503 first=1]] x"}, entries: "reserve 1 -0, settle 1 -0", charged: 1, lines: []string{"true 1"}},
		"PaidTwice": {request: jobs.GenerationRequest{Prompt: "[[sim:truncate route=key-a]] x"}, entries: "reserve 1 -0, settle 1 -0", charged: 1, lines: []string{"true 1"}},
		// Gemini is down, and OpenAI's picture of medium quality costs one credit, not four.
		"Substitute": {
			request: jobs.GenerationRequest{Prompt: "[[sim:503 model=gemini]] x", Model: "banana-pro", N: 2},
			entries: "reserve 8 -0, settle 2 -6 substituted", charged: 2, lines: []string{"true 1 substituted", "true 1 substituted"},
		},
		// OpenAI is down, and Gemini's pictures cost no more than what was asked for.
		"SubstituteIsDearer": {
			request: jobs.GenerationRequest{Prompt: "[[sim:key route=key-o]] x", Model: "gpt-image", Size: "2048x2048"},
			entries: "reserve 1 -0, settle 1 -0", charged: 1, lines: []string{"true 1"},
		},
		"FailedAfterPaidCalls": {
			request: jobs.GenerationRequest{Prompt: "[[sim:reset]] x", N: 2}, entries: "reserve 2 -0, release 2 -2 provider_error",
			lines: []string{"false 0 provider_error", "false 0 provider_error"},
		},
		"Refused": {
			request: jobs.GenerationRequest{Prompt: "[[sim:safety]] x", Model: "banana-pro"}, entries: "reserve 4 -0, release 4 -4 content_moderated",
			lines: []string{"false 0 content_moderated"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupLive(t, nil)
			f := b.pays(t)
			g := b.ended(t, b.submit(t, c.request).ID)
			b.wantMoney(t, f, g, c.entries, c.charged, c.lines...)
		})
	}
}

// Of four images those are charged that are there.
func TestCharge_PartOfThem(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	f := b.pays(t)
	b.sim.SetFaults([]simulator.Fault{{Kind: simulator.KindSafety, First: 1}})
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "four", N: 4, Model: "banana-pro"}).ID)
	lines := []string{"true 4", "true 4", "true 4", "true 4"}
	lines[g.ImageErrors[0].Index] = "false 0 content_moderated"
	b.wantMoney(t, f, g, "reserve 16 -0, settle 12 -4 content_moderated", 12, lines...)
}

func TestCharge_CanceledDuringARun(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	f := b.pays(t)
	const prompt = "[[sim:hang]] x"
	g := b.submit(t, jobs.GenerationRequest{Prompt: prompt, N: 2, Model: "banana-pro"})
	b.until(t, g.ID, func(*store.Generation) bool { return b.calls(prompt) == 2 })
	var live paper
	if header := f.get(t, "/v1/generations/"+g.ID+"/receipt", &live); header != "" || live.Credits.Reserved != 8 || live.Credits.Charged != 0 || live.Lines[1].Reason != "pending" {
		t.Errorf("while it runs the receipt is %+v, with the cost %q", live, header)
	}
	if _, err := b.queue.CancelGeneration(t.Context(), b.project.ID, g.ID); err != nil {
		t.Fatal(err)
	}
	b.untilTickets(t, "cancelled", 1)
	b.wantMoney(t, f, b.ended(t, g.ID), "reserve 8 -0, release 8 -8 canceled", 0, "false 0 canceled", "false 0 canceled")
}

// What a run that died has stored is charged as what it asked for: of two images, the
// first was made by a cheaper model, and the second is made by the one asked for.
func TestCharge_EachImageItsOwn(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	first := b.start(t, nil)
	example := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "example"}).ID)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	blob := b.images(t, example)[0].BlobKey
	b.exec(t, `DELETE FROM generation`)
	b.exec(t, `DELETE FROM usage_hour`)
	b.exec(t, `DELETE FROM usage_day`)
	b.exec(t, `ALTER TABLE credit_entry DISABLE TRIGGER credit_entry_append_only`)
	b.exec(t, `DELETE FROM credit_entry`)
	b.exec(t, `ALTER TABLE credit_entry ENABLE TRIGGER credit_entry_append_only`)
	b.exec(t, `DELETE FROM credit_account`)
	f := b.pays(t)
	g := b.submit(t, jobs.GenerationRequest{Prompt: "lost", N: 2, Model: "banana-pro"})
	claims, err := b.db.ClaimGenerations(t.Context(), store.Claimer{Worker: "dead", Calls: map[string]store.NewAttempt{
		store.CallKey(true, "banana-pro"): {Route: "o", Provider: "openai", Model: "gpt-image-2.6-flare"},
	}}, []store.Ticket{{GenerationID: g.ID, RiverJobID: *g.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	b.copyBlob(t, blob, fmt.Sprintf("%s/%s/0", b.project.ID, g.ID))
	b.start(t, func(o *worker.Options) { o.ID = "second" })
	got := b.ended(t, g.ID)
	if b.calls("lost") != 1 {
		t.Errorf("%d calls, want one for the second image", b.calls("lost"))
	}
	b.wantMoney(t, f, got, "reserve 8 -0, settle 5 -3 substituted", 5, "true 1 substituted", "true 4")
}
