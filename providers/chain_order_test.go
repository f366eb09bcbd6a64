package providers_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

func TestNewChain_Refuses(t *testing.T) {
	t.Parallel()
	good := func() []providers.RouteOptions {
		return []providers.RouteOptions{{Name: "a", API: "gemini", Provider: account(t, "a", nil)}}
	}
	for want, change := range map[string]func(*providers.ChainOptions){
		`create chain: no route`:                                     func(o *providers.ChainOptions) { o.Routes = nil },
		`create chain: route "" lacks a name, an API or a provider`:  func(o *providers.ChainOptions) { o.Routes[0].Name = "" },
		`create chain: route "a" lacks a name, an API or a provider`: func(o *providers.ChainOptions) { o.Routes[0].Provider = nil },
		`create chain: two routes are named "a"`:                     func(o *providers.ChainOptions) { o.Routes = append(o.Routes, o.Routes[0]) },
		`create chain: route "a": unknown capability "paint"`:        func(o *providers.ChainOptions) { o.Routes[0].Only = []providers.Capability{"paint"} },
		`create chain: order of unknown capability "paint"`: func(o *providers.ChainOptions) {
			o.Order = map[providers.Capability][]string{"paint": {"a"}}
		},
		`create chain: order for "edit": route "b" is unknown or named twice`: func(o *providers.ChainOptions) {
			o.Order = map[providers.Capability][]string{providers.CanEdit: {"a", "b"}}
		},
		`create chain: order for "mask": route "a" is unknown or named twice`: func(o *providers.ChainOptions) {
			o.Order = map[providers.Capability][]string{providers.CanMask: {"a", "a"}}
		},
	} {
		o := providers.ChainOptions{Routes: good()}
		change(&o)
		_, err := providers.NewChain(o)
		if err == nil {
			t.Errorf("no error, want %s", want)
			continue
		}
		wantText(t, "error", want, err.Error())
	}
}

// Which routes serve a request depends on what it needs and which model would.
func TestChain_Order(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		list := routes(t, transport, "aaaa", "bbbb", "cccc")
		list[0].Only = []providers.Capability{providers.CanGenerate}
		list[2].API = "openai"
		cl := connect(t, providers.ChainOptions{Routes: list, Order: map[providers.Capability][]string{
			providers.CanGenerate: {"bbbb", "aaaa"},
		}})
		banana, _ := providers.Lookup("banana")
		banana.Substitutes = nil
		other := banana
		other.Name, other.Provider, other.Substitutes = "other", "openai", []string{"banana"}
		masked := other
		masked.Masks, masked.Substitutes = true, nil
		ref := providers.File{Path: "ref.png", MediaType: "image/png"}
		for name, c := range map[string]struct {
			model providers.Model
			req   providers.Request
			want  string
		}{
			"Words":         {banana, providers.Request{}, "bbbb banana gemini-nano-banana-2.1"},
			"Reference":     {banana, providers.Request{References: []providers.File{ref}}, "bbbb banana gemini-nano-banana-2.1"},
			"Substitute":    {other, providers.Request{}, "bbbb banana gemini-nano-banana-2.1"},
			"OwnRouteFirst": {other, providers.Request{References: []providers.File{ref}}, "cccc other gemini-nano-banana-2.1"},
			"Mask":          {masked, providers.Request{References: []providers.File{ref}, Mask: &ref}, "cccc other gemini-nano-banana-2.1"},
			"ManyRefs":      {banana, providers.Request{References: make([]providers.File, 15)}, ""},
			"UnknownRatio":  {banana, providers.Request{AspectRatio: "7:3"}, ""},
			"MaskByNone":    {banana, providers.Request{Mask: &ref}, ""},
			"ServedByNoAPI": {masked, providers.Request{}, ""},
		} {
			got := ""
			if call, ok := cl.First(c.model, c.req); ok {
				got = call.Route + " " + call.Model.Name + " " + call.Upstream
				if call.Provider != call.Route || call.Request.Model != call.Upstream || call.Attempt != 1 {
					t.Errorf("%s: call %+v does not agree with itself", name, call)
				}
			}
			wantText(t, name, c.want, got)
		}
		ask := cl.ask("an owl")
		ask.Model, ask.Request.Mask = banana, &ref
		if _, err := cl.Generate(t.Context(), ask); providers.KindOf(err) != providers.KindModelGone {
			t.Errorf("error %v, want that no route can", err)
		}
	})
}

// First skips what takes no call.
func TestChain_First(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb", "cccc")})
		soon := time.Now().Add(time.Minute)
		first := func() string {
			call, _ := cl.First(cl.ask("").Model, providers.Request{})
			return call.Route
		}
		got := []string{first()}
		cl.Apply(providers.RouteState{Name: "aaaa", Enabled: true, CooldownUntil: soon})
		got = append(got, first())
		cl.Apply(providers.RouteState{Name: "bbbb", Enabled: true, OpenUntil: soon})
		got = append(got, first())
		cl.Apply(providers.RouteState{Name: "cccc"})
		got = append(got, first())
		time.Sleep(62 * time.Second)
		got = append(got, first())
		if diff := cmp.Diff([]string{"aaaa", "bbbb", "cccc", "", "aaaa"}, got); diff != "" {
			t.Errorf("first routes (-want +got):\n%s", diff)
		}
	})
}

func TestChain_Timeouts(t *testing.T) {
	t.Parallel()
	list := routes(t, nil, "aaaa")
	list[0].Timeouts = map[string]time.Duration{"2K": time.Second}
	cl := connect(t, providers.ChainOptions{Routes: list})
	for resolution, want := range map[string]time.Duration{
		"": 90 * time.Second, "1K": 90 * time.Second, "2K": time.Second, "4K": 180 * time.Second,
	} {
		call, _ := cl.First(cl.ask("").Model, providers.Request{Resolution: resolution})
		if call.Request.Timeout != want {
			t.Errorf("resolution %q: timeout %s, want %s", resolution, call.Request.Timeout, want)
		}
	}
}

func TestChain_Status(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		for _, prompt := range []string{"an owl", "[[sim:safety]]", "[[sim:503 first=1]]", "[[sim:429 retry=9s]]"} {
			_, _ = cl.generate(t.Context(), prompt)
		}
		want := []providers.RouteStatus{{
			Name: "aaaa", Provider: "aaaa", API: "gemini", Enabled: true, Breaker: "closed", Concurrency: 100,
			CooldownUntil: time.Now().Add(9*time.Second + time.Second - 1).Truncate(time.Second).UTC(), CooldownReason: "rate_limited: RESOURCE_EXHAUSTED",
			Calls: 5, OK: 2, Failed: 2,
		}}
		if diff := cmp.Diff(want, cl.Status()); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		time.Sleep(71 * time.Second)
		want = []providers.RouteStatus{{Name: "aaaa", Provider: "aaaa", API: "gemini", Enabled: true, Breaker: "closed", Concurrency: 100}}
		if diff := cmp.Diff(want, cl.Status()); diff != "" {
			t.Errorf("status a minute later (-want +got):\n%s", diff)
		}
		if left, _ := filepath.Glob(filepath.Join(cl.dir, "*")); len(left) != 2 {
			t.Errorf("%d files for 2 images", len(left))
		}
		_ = os.RemoveAll(cl.dir)
	})
}
