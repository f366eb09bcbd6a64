package providers_test

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

// A fleet keeps a row for each route and shows it to all its processes, the one
// that changed it included, as the database does.
type fleet struct {
	mu        sync.Mutex
	rows      map[string]providers.RouteState
	processes []*client
}

// join adds a process.
func (f *fleet) join(t *testing.T, o providers.ChainOptions) *client {
	t.Helper()
	o.OnChange = f.hear
	cl := connect(t, o)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes = append(f.processes, cl)
	return cl
}

func (f *fleet) hear(ch providers.RouteChange) {
	f.set(ch.Route, func(row *providers.RouteState) {
		switch ch.What {
		case providers.ChangeCooldown:
			row.CooldownUntil, row.CooldownReason = ch.Until, ch.Reason
		case providers.ChangeOpen:
			row.OpenUntil = ch.Until
		case providers.ChangeClosed:
			row.OpenUntil = time.Time{}
		}
	})
}

// set changes a row and shows it to every process.
func (f *fleet) set(route string, change func(*providers.RouteState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rows == nil {
		f.rows = map[string]providers.RouteState{}
	}
	row, ok := f.rows[route]
	if !ok {
		row = providers.RouteState{Name: route, Enabled: true}
	}
	change(&row)
	f.rows[route] = row
	for _, cl := range f.processes {
		cl.Apply(row)
	}
}

func TestFleet_SharesCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		f := &fleet{}
		a := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		b := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		if served := a.burst(t.Context(), 1, "[[sim:429 retry=34s route=aaaa]]"); served != 1 {
			t.Error("the second route did not serve")
		}
		for range 3 {
			if served := b.burst(t.Context(), 1, "an owl"); served != 1 {
				t.Error("the second route did not serve")
			}
		}
		wantText(t, "calls", "aaaa bbbb bbbb bbbb bbbb", callsOf(sim))
		wantText(t, "told by the process that only heard", "", b.whatChanged())
		wantText(t, "reason", "rate_limited: RESOURCE_EXHAUSTED", b.Status()[0].CooldownReason)
		time.Sleep(35 * time.Second)
		if result, err := b.generate(t.Context(), "an owl"); err != nil || result.Route != "aaaa" {
			t.Errorf("result %v, error %v, want the first route again", result, err)
		}
		// An operator ends a pause for all.
		a.burst(t.Context(), 1, "[[sim:day route=aaaa]]")
		f.set("aaaa", func(row *providers.RouteState) { row.CooldownUntil = time.Time{} })
		for _, cl := range f.processes {
			if call, ok := cl.First(cl.ask("").Model, providers.Request{}); !ok || call.Route != "aaaa" {
				t.Errorf("first call %+v, want the first route", call)
			}
		}
	})
}

func TestFleet_SharesBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patient{}
		transport, calls := play(t, p.answer)
		f := &fleet{}
		a := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		b := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		p.sicken(t, a)
		if e := b.fails(t.Context(), t, "an owl"); e.Code != "breaker_open" || calls("aaaa") != 5 {
			t.Errorf("error %v after %d calls, want the breaker open without a call more", e, calls("aaaa"))
		}
		wantText(t, "the other's state", "open", b.Status()[0].Breaker)
		time.Sleep(19 * time.Second)
		wantText(t, "states", "probe_ready probe_ready", a.Status()[0].Breaker+" "+b.Status()[0].Breaker)
		if served := b.burst(t.Context(), 10, "an owl"); served != 0 || calls("aaaa") != 6 {
			t.Errorf("%d served after %d calls, want none after a single probe", served, calls("aaaa"))
		}
		wantText(t, "states", "open open", a.Status()[0].Breaker+" "+b.Status()[0].Breaker)
		time.Sleep(19 * time.Second)
		p.status.Store(0)
		if served := a.burst(t.Context(), 1, "an owl"); served != 1 {
			t.Error("the probe was not served")
		}
		wantText(t, "states", "closed closed", a.Status()[0].Breaker+" "+b.Status()[0].Breaker)
		if served := b.burst(t.Context(), 10, "an owl"); served != 10 {
			t.Errorf("%d served, want 10", served)
		}
		wantText(t, "changes", "aaaa open, aaaa closed | aaaa open", a.whatChanged()+" | "+b.whatChanged())
	})
}

// An older state than what this process found out ends nothing; one as new does.
func TestApply_OlderState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patient{}
		transport, _ := play(t, p.answer)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		p.sicken(t, cl)
		old := providers.RouteState{Name: "aaaa", Enabled: true}
		cl.Apply(old)
		wantText(t, "state", "open", cl.Status()[0].Breaker)
		seen := old
		seen.OpenUntil = cl.changes[0].Until
		cl.Apply(seen)
		wantText(t, "state", "open", cl.Status()[0].Breaker)
		p.status.Store(0)
		time.Sleep(17 * time.Second)
		if _, err := cl.generate(t.Context(), "an owl"); err != nil {
			t.Error(err)
		}
		cl.Apply(seen) // from before the probe
		wantText(t, "state", "closed", cl.Status()[0].Breaker)
		p.status.Store(429)
		cl.fails(t.Context(), t, "an owl")
		cl.Apply(old)
		if s := cl.Status()[0]; s.CooldownUntil.IsZero() {
			t.Errorf("status %+v, want its own pause to stand", s)
		}
		p.sicken2(t, cl)
		seen.OpenUntil = cl.Status()[0].OpenUntil
		cl.Apply(seen)
		cl.Apply(old) // an operator closed it
		wantText(t, "state", "closed", cl.Status()[0].Breaker)
	})
}

// What the fleet has been told of, the fleet may end, even before this process has
// read it back.
func TestTold_EndsProtection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &patient{}
		transport, _ := play(t, p.answer)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		enabled := providers.RouteState{Name: "aaaa", Enabled: true}
		p.status.Store(429)
		cl.fails(t.Context(), t, "an owl")
		paused := cl.changes[0]
		older := paused
		older.Until = older.Until.Add(-time.Second)
		for _, ch := range []providers.RouteChange{older, {Route: "aaaa", What: providers.ChangeOpen, Until: paused.Until}, {Route: "none", What: providers.ChangeCooldown}} {
			cl.Told(ch)
			cl.Apply(enabled)
			if cl.Status()[0].CooldownUntil.IsZero() {
				t.Errorf("told of %+v, it forgot the pause", ch)
			}
		}
		cl.Told(paused)
		cl.Apply(enabled)
		if s := cl.Status()[0]; !s.CooldownUntil.IsZero() {
			t.Errorf("status %+v, want the pause ended", s)
		}
		p.status.Store(401)
		cl.fails(t.Context(), t, "an owl")
		cl.Apply(enabled)
		wantText(t, "state before it was told", "open", cl.Status()[0].Breaker)
		cl.Told(cl.changes[1])
		wantText(t, "state when it was told", "open", cl.Status()[0].Breaker)
		cl.Apply(enabled)
		wantText(t, "state when it was enabled", "closed", cl.Status()[0].Breaker)
	})
}

// A breaker that closes ends no pause, neither here nor elsewhere.
func TestFleet_ClosedEndsNoCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, hold := &patient{}, make(chan struct{})
		transport, _ := play(t, func(w http.ResponseWriter, r *http.Request, key string, call int) {
			switch call {
			case 6: // the one's probe is still under way while the other's is refused
				<-hold
				draw(w)
			case 7:
				w.Header().Set("Retry-After", "3600")
				fail(w, 429)
			default:
				p.answer(w, r, key, call)
			}
		})
		f := &fleet{}
		a := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		b := f.join(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		p.sicken(t, a)
		time.Sleep(19 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			if served := a.burst(t.Context(), 1, "an owl"); served != 1 {
				t.Error("the probe was not served")
			}
		})
		synctest.Wait()
		if e := b.fails(t.Context(), t, "an owl"); e.Kind != providers.KindRate {
			t.Errorf("error %v, want the rate limit", e)
		}
		close(hold)
		wg.Wait()
		wantText(t, "changes", "aaaa open, aaaa closed | aaaa cooldown", a.whatChanged()+" | "+b.whatChanged())
		for _, cl := range f.processes {
			if e := cl.fails(t.Context(), t, "an owl"); e.Code != "cooldown" || e.RetryAfter < 59*time.Minute {
				t.Errorf("error %+v, want the pause to go on", e)
			}
		}
	})
}

// sicken2 opens the breaker of a route whose pause is over soon.
func (p *patient) sicken2(t *testing.T, cl *client) {
	t.Helper()
	time.Sleep(31 * time.Second)
	p.status.Store(401)
	cl.fails(t.Context(), t, "an owl")
	wantText(t, "state after a refused key", "open", cl.Status()[0].Breaker)
}

func TestApply_Switch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		list := routes(t, transport, "aaaa", "bbbb")
		list[1].Disabled = true
		cl := connect(t, providers.ChainOptions{Routes: list})
		cl.Apply(providers.RouteState{Name: "bbbb", Enabled: true})
		cl.Apply(providers.RouteState{Name: "cccc", Enabled: true}) // unknown here
		cl.Apply(providers.RouteState{Name: "aaaa", Enabled: false})
		e := cl.fails(t.Context(), t, "an owl")
		if e.Kind != providers.KindBusy || e.Code != "no_route" || e.RetryAfter < 15*time.Second || e.RetryAfter > 18*time.Second {
			t.Errorf("error %+v, want no route for 15 s", e)
		}
		if s := cl.Status(); s[0].Enabled || s[1].Enabled {
			t.Errorf("status %+v, want both switched off", s)
		}
		cl.Apply(providers.RouteState{Name: "aaaa", Enabled: true})
		if _, err := cl.generate(t.Context(), "an owl"); err != nil {
			t.Error(err)
		}
		wantText(t, "calls", "aaaa", callsOf(sim))
	})
}

// A route that was switched on again has to prove itself anew.
func TestApply_SwitchedOnIsUnproven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, call int) {
			if call > 1 {
				<-hold
			}
			draw(w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa")})
		cl.burst(t.Context(), 1, "an owl")
		cl.Apply(providers.RouteState{Name: "aaaa"})
		cl.Apply(providers.RouteState{Name: "aaaa", Enabled: true})
		var wg sync.WaitGroup
		wg.Go(func() { cl.burst(t.Context(), 20, "an owl") })
		synctest.Wait()
		if calls("aaaa") != 6 {
			t.Errorf("%d calls, want five after the first", calls("aaaa"))
		}
		close(hold)
		wg.Wait()
	})
}

// A switch reaches calls that wait at the gate.
func TestApply_ReleasesGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
			if key == "aaaa" {
				<-hold
			}
			draw(w)
		})
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		var wg sync.WaitGroup
		wg.Go(func() { cl.burst(t.Context(), 20, "an owl") })
		synctest.Wait()
		cl.Apply(providers.RouteState{Name: "aaaa"})
		synctest.Wait()
		if diff := cmp.Diff([]int{5, 15}, []int{calls("aaaa"), calls("bbbb")}); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		close(hold)
		wg.Wait()
	})
}

// Changes are told one by one in their order, by whoever tells already.
func TestChain_TellsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		hold := make(chan struct{})
		cl := connect(t, providers.ChainOptions{
			Routes:   routes(t, transport, "aaaa", "bbbb"),
			OnChange: func(providers.RouteChange) { <-hold },
		})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = cl.generate(t.Context(), "[[sim:key route=aaaa]]") })
		synctest.Wait()
		if _, err := cl.generate(t.Context(), "[[sim:day route=bbbb]]"); providers.KindOf(err) != providers.KindQuota {
			t.Errorf("error %v, want the quota", err)
		}
		wantText(t, "told while the first is being told", "aaaa open", cl.whatChanged())
		close(hold)
		wg.Wait()
		wantText(t, "told", "aaaa open, bbbb cooldown", cl.whatChanged())
	})
}
