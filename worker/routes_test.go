package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/gemini"
	"github.com/nanobanana/nanobanana/providers/openai"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// threeRoutes are two Gemini projects, a and b, and OpenAI, o, all of them the
// simulator, which knows them by their keys.
func (b *bundle) threeRoutes(t *testing.T) providers.ChainOptions {
	t.Helper()
	opts := providers.ChainOptions{Base: time.Millisecond, Cap: time.Millisecond}
	for _, name := range []string{"a", "b"} {
		p, err := gemini.New(gemini.Options{APIKey: "key-" + name, BaseURL: b.simURL})
		if err != nil {
			t.Fatal(err)
		}
		opts.Routes = append(opts.Routes, providers.RouteOptions{Name: name, API: "gemini", Provider: p})
	}
	p, err := openai.New(openai.Options{APIKey: "key-o", BaseURL: b.simURL})
	if err != nil {
		t.Fatal(err)
	}
	opts.Routes = append(opts.Routes, providers.RouteOptions{Name: "o", API: "openai", Provider: p})
	return opts
}

// setupLive starts a worker with live routes, and a front door that promises them.
func setupLive(t *testing.T, change func(*worker.Options)) *bundle {
	t.Helper()
	b := setupIdle(t)
	var err error
	if b.queue, err = jobs.NewQueue(jobs.Options{DB: b.db}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.queue.Close)
	b.start(t, func(o *worker.Options) {
		o.Live = b.threeRoutes(t)
		if change != nil {
			change(o)
		}
	})
	return b
}

// wire returns the calls that reached the simulator for a prompt, by route, in
// order, and how many of them would be billed.
func (b *bundle) wire(prompt string) (order string, paid int) {
	for _, r := range b.sim.Requests() {
		if !strings.HasSuffix(r.Prompt, prompt) {
			continue
		}
		order += strings.TrimPrefix(r.Route, "key-")
		if r.Paid {
			paid++
		}
	}
	return order, paid
}

// The table of docs/routes.md: for each fault which routes are called, in which
// order, how many calls are paid for, and what the customer gets.
func TestRoutes_EveryFault(t *testing.T) {
	t.Parallel()
	const ok, failed = store.StatusSucceeded, store.StatusFailed
	for _, c := range []struct {
		fault  string
		order  string // of the calls on the wire
		paid   int
		status store.Status
		code   string
		model  string // that made the image
	}{
		{"", "a", 1, ok, "", "banana"},
		// Faults of the upstream's server: three calls, then the next route.
		{"503 route=key-a", "aaab", 1, ok, "", "banana"},
		{"503 first=1", "aa", 1, ok, "", "banana"},
		{"500 route=key-a", "aaab", 1, ok, "", "banana"},
		{"html route=key-a", "aaab", 1, ok, "", "banana"},
		{"503 model=gemini", "aaabbbo", 1, ok, "", "gpt-image"},
		// All of them down: the second run opens the breakers at the fifth failure.
		{"503", "aaabbboooaabboo", 0, failed, "provider_error", ""},
		// Rate limits: at once elsewhere, unless the wait is short.
		{"429 retry=0.01s first=1", "aa", 1, ok, "", "banana"},
		{"429 retry=50s route=key-a", "ab", 1, ok, "", "banana"},
		{"429 retry=none route=key-a", "ab", 1, ok, "", "banana"},
		{"429 retry=50s", "abo", 0, failed, "provider_quota", ""},
		{"day route=key-a", "ab", 1, ok, "", "banana"},
		{"billing route=key-a", "ab", 1, ok, "", "banana"},
		{"day", "abo", 0, failed, "provider_quota", ""},
		// Nobody knows whether it is paid: on the next route, once.
		{"reset route=key-a", "ab", 2, ok, "", "banana"},
		{"truncate route=key-a", "ab", 2, ok, "", "banana"},
		{"badjson route=key-a", "ab", 2, ok, "", "banana"},
		{"504 route=key-a", "ab", 1, ok, "", "banana"},
		{"reset", "ab", 2, failed, "provider_error", ""},
		{"504", "ab", 0, failed, "provider_timeout", ""},
		// Our account or the model is at fault: never twice.
		{"key route=key-a", "ab", 1, ok, "", "banana"},
		{"gone route=key-a", "ab", 1, ok, "", "banana"},
		// An answer without an image: again without text, then once elsewhere.
		{"text first=1", "aa", 1, ok, "", "banana"},
		{"noimage route=key-a", "aab", 1, ok, "", "banana"},
		{"empty", "aab", 0, failed, "provider_error", ""},
		// Refused: no other provider is asked.
		{"safety", "a", 0, failed, "content_moderated", ""},
		{"block", "a", 0, failed, "content_moderated", ""},
		{"recitation", "a", 0, failed, "content_moderated", ""},
		{"invalid", "a", 0, failed, "provider_error", ""},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			b := setupLive(t, nil)
			prompt := fmt.Sprintf("[[sim:%s]] a banana", c.fault)
			if c.fault == "" {
				prompt = "a banana"
			}
			// A generation that only waits for its routes fails at its deadline.
			g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: prompt, DeadlineSeconds: 5}).ID)
			order, paid := b.wire(prompt)
			if order != c.order || paid != c.paid {
				t.Errorf("the calls were %q, %d of them paid; want %q, %d", order, paid, c.order, c.paid)
			}
			var got store.GenerationError
			if g.Error != nil {
				got = *g.Error
			}
			if g.Status != c.status || got.Code != c.code {
				t.Errorf("it is %s, %+v; want %s, %q", g.Status, got, c.status, c.code)
			}
			if c.model != "" && g.ModelUsed != c.model && !strings.HasPrefix(g.ModelUsed, c.model) {
				t.Errorf("it was made by %q, want %q", g.ModelUsed, c.model)
			}
			if charged := len(b.images(t, g)); (charged == 1) != (c.status == ok) {
				t.Errorf("a %s generation has %d images to charge", g.Status, charged)
			}
			b.wantRecord(t, g, order)
		})
	}
}

// wantRecord checks that each call on the wire has its row, in order.
func (b *bundle) wantRecord(t *testing.T, g *store.Generation, order string) {
	t.Helper()
	attempts, err := b.db.Attempts(t.Context(), b.project.ID, []string{g.ID})
	if err != nil {
		t.Fatal(err)
	}
	recorded := ""
	for _, a := range attempts {
		recorded += a.Route
		if want := map[string]string{"a": "gemini", "b": "gemini", "o": "openai"}[a.Route]; a.Provider == nil || *a.Provider != want || a.Outcome == nil {
			t.Errorf("attempt %+v has no outcome, or a provider other than %s", a, want)
		}
	}
	if diff := cmp.Diff(order, recorded); diff != "" || g.Attempts != len(order) {
		t.Errorf("%d calls recorded (-wire +record):\n%s", g.Attempts, diff)
	}
}

// A request for one model goes first over the routes that serve it.
func TestRoutes_TheModelsOwnFirst(t *testing.T) {
	t.Parallel()
	b := setupLive(t, nil)
	for _, c := range []struct{ prompt, fault, order, used string }{
		{"own", "", "o", "gpt-image"},
		{"substitute", "[[sim:key route=key-o]] ", "oa", "banana"},
	} {
		g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: c.fault + c.prompt, Model: "gpt-image"}).ID)
		order, _ := b.wire(c.prompt)
		if g.Status != store.StatusSucceeded || order != c.order || !strings.HasPrefix(g.ModelUsed, c.used) {
			t.Errorf("%s: %s by %s after %q, %+v; want %s after %q", c.prompt, g.Status, g.ModelUsed, order, g.Error, c.used, c.order)
		}
	}
}

// A worker that was started while a route is paused does not call it, nor does one
// that has found nothing out itself.
func TestRoutes_TheFleetKnows(t *testing.T) {
	t.Parallel()
	b := setupLive(t, nil)
	b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "[[sim:429 retry=30m route=key-a]] first"}).ID)
	b.until(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID, func(*store.Generation) bool {
		known, err := b.db.ProviderRoutes(t.Context())
		return err == nil && len(known) == 1 && known[0].CooldownUntil != nil
	})
	b.start(t, func(o *worker.Options) { o.ID, o.Live = "second", b.threeRoutes(t) })
	for i := range 20 {
		b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: fmt.Sprint("later ", i)}).ID)
	}
	if order, _ := b.wire(""); strings.Count(order, "a") != 1 {
		t.Errorf("the calls were %q, want one to a", order)
	}
}
