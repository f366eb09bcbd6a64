package providers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

// A client asks one chain and remembers what it was told.
type client struct {
	*providers.Chain
	dir string

	mu      sync.Mutex
	begun   []string // route of each call
	ended   []string // and how it ended
	changes []providers.RouteChange
}

// connect makes a client. The options' OnChange is called after it took note.
func connect(t *testing.T, o providers.ChainOptions) *client {
	t.Helper()
	cl := &client{dir: t.TempDir()}
	heard := o.OnChange
	o.OnChange = func(ch providers.RouteChange) {
		cl.mu.Lock()
		cl.changes = append(cl.changes, ch)
		cl.mu.Unlock()
		if heard != nil {
			heard(ch)
		}
	}
	chain, err := providers.NewChain(o)
	if err != nil {
		t.Fatal(err)
	}
	cl.Chain = chain
	return cl
}

// ask is a request for one image of the default model that may go on after one
// call with an unknown outcome.
func (cl *client) ask(prompt string) providers.Ask {
	model, _ := providers.Lookup("")
	return providers.Ask{
		Model: model, Request: providers.Request{Prompt: prompt, Dir: cl.dir}, Unknown: 1,
		Begin: func(_ context.Context, c providers.Call) error {
			cl.mu.Lock()
			defer cl.mu.Unlock()
			cl.begun = append(cl.begun, c.Route)
			return nil
		},
		End: func(c providers.Call, _ *providers.Result, err error) {
			cl.mu.Lock()
			defer cl.mu.Unlock()
			outcome := "ok"
			if err != nil {
				outcome = string(providers.KindOf(err))
			}
			cl.ended = append(cl.ended, c.Route+"="+outcome)
		},
	}
}

func (cl *client) generate(ctx context.Context, prompt string) (*providers.Result, error) {
	return cl.Generate(ctx, cl.ask(prompt))
}

// fails generates and returns the error.
func (cl *client) fails(ctx context.Context, t *testing.T, prompt string) *providers.Error {
	t.Helper()
	result, err := cl.generate(ctx, prompt)
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("result %v, error %v, want an *Error", result, err)
	}
	return e
}

// outcomes is how the calls so far ended, in order.
func (cl *client) outcomes() string {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return strings.Join(cl.ended, " ")
}

func (cl *client) whatChanged() string {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	var list []string
	for _, ch := range cl.changes {
		list = append(list, ch.Route+" "+ch.What)
	}
	return strings.Join(list, ", ")
}

func wantText(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestChain_Serves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		result, err := cl.generate(t.Context(), "an owl")
		if err != nil {
			t.Fatal(err)
		}
		wantText(t, "served by", "aaaa banana", result.Route+" "+result.Model)
		wantText(t, "calls", "aaaa", callsOf(sim))
		if _, err := os.Stat(result.Image.Path); err != nil {
			t.Error(err)
		}
	})
}

// TestChain_Kinds holds the chain to the table of treatments, over the wire: with
// a fault on the first account, or on both, who is called and what comes of it.
func TestChain_Kinds(t *testing.T) {
	t.Parallel()
	const served = providers.Kind("")
	for name, c := range map[string]struct {
		prompt  string
		calls   string // accounts, in order
		kind    providers.Kind
		least   time.Duration // of RetryAfter
		most    time.Duration
		changes string
	}{
		"Overloaded":       {prompt: "[[sim:503 route=aaaa]]", calls: "aaaa aaaa aaaa bbbb"},
		"OverloadedOnce":   {prompt: "[[sim:503 route=aaaa first=1]]", calls: "aaaa aaaa"},
		"OverloadedAll":    {prompt: "[[sim:503]]", calls: "aaaa aaaa aaaa bbbb bbbb bbbb", kind: providers.KindOverload},
		"ServerError":      {prompt: "[[sim:500 route=aaaa]]", calls: "aaaa aaaa aaaa bbbb"},
		"ProxyPage":        {prompt: "[[sim:html route=aaaa]]", calls: "aaaa aaaa aaaa bbbb"},
		"RateShort":        {prompt: "[[sim:429 retry=2s route=aaaa first=1]]", calls: "aaaa aaaa", changes: "aaaa cooldown"},
		"RateShortTwice":   {prompt: "[[sim:429 retry=2s route=aaaa]]", calls: "aaaa aaaa bbbb", changes: "aaaa cooldown, aaaa cooldown"},
		"RateLong":         {prompt: "[[sim:429 retry=34.4s route=aaaa]]", calls: "aaaa bbbb", changes: "aaaa cooldown"},
		"RateLongAll":      {prompt: "[[sim:429 retry=34.4s]]", calls: "aaaa bbbb", kind: providers.KindRate, least: 34400 * time.Millisecond, most: 43 * time.Second, changes: "aaaa cooldown, bbbb cooldown"},
		"RateUnsaid":       {prompt: "[[sim:429 retry=none]]", calls: "aaaa bbbb", kind: providers.KindRate, least: 30 * time.Second, most: 38 * time.Second, changes: "aaaa cooldown, bbbb cooldown"},
		"RateShortest":     {prompt: "[[sim:429 retry=60s route=aaaa]] [[sim:429 retry=20s route=bbbb]]", calls: "aaaa bbbb", kind: providers.KindRate, least: 20 * time.Second, most: 26 * time.Second, changes: "aaaa cooldown, bbbb cooldown"},
		"Quota":            {prompt: "[[sim:day route=aaaa]]", calls: "aaaa bbbb", changes: "aaaa cooldown"},
		"QuotaAll":         {prompt: "[[sim:day]]", calls: "aaaa bbbb", kind: providers.KindQuota, least: 15 * time.Minute, most: 30 * time.Hour, changes: "aaaa cooldown, bbbb cooldown"},
		"BadKey":           {prompt: "[[sim:key route=aaaa]]", calls: "aaaa bbbb", changes: "aaaa open"},
		"BadKeyAll":        {prompt: "[[sim:key]]", calls: "aaaa bbbb", kind: providers.KindAuth, least: 13 * time.Second, most: 21 * time.Second, changes: "aaaa open, bbbb open"},
		"Timeout":          {prompt: "[[sim:hang route=aaaa]]", calls: "aaaa bbbb"},
		"TimeoutAll":       {prompt: "[[sim:hang]]", calls: "aaaa bbbb", kind: providers.KindTimeout},
		"GatewayTimeout":   {prompt: "[[sim:504 route=aaaa]]", calls: "aaaa bbbb"},
		"Truncated":        {prompt: "[[sim:truncate route=aaaa]]", calls: "aaaa bbbb"},
		"TruncatedAll":     {prompt: "[[sim:truncate]]", calls: "aaaa bbbb", kind: providers.KindNetwork},
		"BadJSON":          {prompt: "[[sim:badjson route=aaaa]]", calls: "aaaa bbbb"},
		"TextOnce":         {prompt: "[[sim:text route=aaaa first=1]]", calls: "aaaa aaaa"},
		"Text":             {prompt: "[[sim:text route=aaaa]]", calls: "aaaa aaaa bbbb"},
		"TextAll":          {prompt: "[[sim:text]]", calls: "aaaa aaaa bbbb", kind: providers.KindNoImage},
		"Empty":            {prompt: "[[sim:empty]]", calls: "aaaa aaaa bbbb", kind: providers.KindNoImage},
		"NoImage":          {prompt: "[[sim:noimage]]", calls: "aaaa aaaa bbbb", kind: providers.KindNoImage},
		"Moderation":       {prompt: "[[sim:safety route=aaaa]]", calls: "aaaa", kind: providers.KindModeration},
		"Blocked":          {prompt: "[[sim:block route=aaaa]]", calls: "aaaa", kind: providers.KindModeration},
		"Recitation":       {prompt: "[[sim:recitation route=aaaa]]", calls: "aaaa", kind: providers.KindModeration},
		"Invalid":          {prompt: "[[sim:invalid route=aaaa]]", calls: "aaaa", kind: providers.KindInvalid},
		"ModerationSecond": {prompt: "[[sim:503 route=aaaa]] [[sim:safety route=bbbb]]", calls: "aaaa aaaa aaaa bbbb", kind: providers.KindModeration},
		"FaultOverRate":    {prompt: "[[sim:429 route=aaaa]] [[sim:503 route=bbbb]]", calls: "aaaa bbbb bbbb bbbb", kind: providers.KindOverload, changes: "aaaa cooldown"},
		"NoImageOverFault": {prompt: "[[sim:503 route=aaaa]] [[sim:text route=bbbb]]", calls: "aaaa aaaa aaaa bbbb bbbb", kind: providers.KindNoImage},
		"FaultNotNoImage":  {prompt: "[[sim:text route=aaaa]] [[sim:503 route=bbbb]]", calls: "aaaa aaaa bbbb bbbb bbbb", kind: providers.KindNoImage},
		"KeyNotNoImage":    {prompt: "[[sim:text route=aaaa]] [[sim:key route=bbbb]]", calls: "aaaa aaaa bbbb", kind: providers.KindNoImage, changes: "bbbb open"},
		"GoneNotNoImage":   {prompt: "[[sim:text route=aaaa]] [[sim:gone route=bbbb]]", calls: "aaaa aaaa bbbb", kind: providers.KindNoImage},
		"FaultOverOneText": {prompt: "[[sim:text route=aaaa first=1]] [[sim:503]]", calls: "aaaa aaaa aaaa bbbb bbbb bbbb", kind: providers.KindOverload},
		"UnknownOverText":  {prompt: "[[sim:text route=aaaa]] [[sim:truncate route=bbbb]]", calls: "aaaa aaaa bbbb", kind: providers.KindNetwork},
		"UnknownOverFault": {prompt: "[[sim:503 route=aaaa]] [[sim:truncate route=bbbb]]", calls: "aaaa aaaa aaaa bbbb", kind: providers.KindNetwork},
		"MixedRetries":     {prompt: "[[sim:503 route=aaaa first=1]] [[sim:500 route=aaaa]]", calls: "aaaa aaaa aaaa bbbb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim, transport := simulate(t)
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
				_, err := cl.generate(t.Context(), c.prompt)
				wantText(t, "calls", c.calls, callsOf(sim))
				wantText(t, "changes", c.changes, cl.whatChanged())
				if got := providers.KindOf(err); got != c.kind || (err == nil) != (c.kind == served) {
					t.Errorf("error %v, want kind %q", err, c.kind)
				}
				if n := len(strings.Fields(c.calls)); len(cl.begun) != n || len(cl.ended) != n {
					t.Errorf("%d calls begun and %d ended, want %d", len(cl.begun), len(cl.ended), n)
				}
				var e *providers.Error
				if errors.As(err, &e) && (e.RetryAfter < c.least || e.RetryAfter > c.most) {
					t.Errorf("retry after %s, want %s to %s", e.RetryAfter, c.least, c.most)
				}
			})
		})
	}
}

// A reset is not in the table, since net.Pipe knows none.
func TestChain_UnknownOutcomes(t *testing.T) {
	t.Parallel()
	for unknown, want := range []string{"aaaa", "aaaa bbbb", "aaaa bbbb cccc", "aaaa bbbb cccc"} {
		t.Run(fmt.Sprint(unknown), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim, transport := simulate(t)
				cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb", "cccc")})
				ask := cl.ask("[[sim:truncate]]")
				ask.Unknown = unknown
				_, err := cl.Generate(t.Context(), ask)
				var e *providers.Error
				if !errors.As(err, &e) || !e.Ambiguous {
					t.Errorf("error %v, want one of unknown outcome", err)
				}
				wantText(t, "calls", want, callsOf(sim))
			})
		})
	}
}

func TestChain_ImageOnlyAfterText(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		var only []bool
		ask := cl.ask("[[sim:text]]")
		ask.Begin = func(_ context.Context, c providers.Call) error {
			only = append(only, c.Request.ImageOnly)
			return nil
		}
		if _, err := cl.Generate(t.Context(), ask); providers.KindOf(err) != providers.KindNoImage {
			t.Errorf("error %v, want no image", err)
		}
		if diff := cmp.Diff([]bool{false, true, true}, only); diff != "" {
			t.Errorf("text forbidden (-want +got):\n%s", diff)
		}
	})
}

func TestChain_BeginRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		refusal := errors.New("another run has taken over")
		ask := cl.ask("[[sim:503 route=aaaa]]")
		begin := ask.Begin
		ask.Begin = func(ctx context.Context, c providers.Call) error {
			if c.Attempt > 1 {
				return refusal
			}
			return begin(ctx, c)
		}
		if _, err := cl.Generate(t.Context(), ask); err != refusal { //nolint:errorlint // returned as it is
			t.Errorf("error %v, want Begin's", err)
		}
		wantText(t, "calls", "aaaa", callsOf(sim))
		wantText(t, "ended", "aaaa=overloaded", cl.outcomes())
		if s := cl.Status()[0]; s.InFlight != 0 || s.Calls != 1 {
			t.Errorf("status %+v, want nothing in flight and one call", s)
		}
	})
}

func TestChain_LocalDiskEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		cl.dir += "/none"
		if e := cl.fails(t.Context(), t, "an owl"); e.Kind != providers.KindLocal {
			t.Errorf("error %v, want a local one", e)
		}
		wantText(t, "calls", "aaaa", callsOf(sim))
	})
}

// A refused connection was never sent: it is repeated, and then the next route
// gets its chance.
func TestChain_NothingSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead := newPipeNetwork()
		_ = dead.Close()
		refusing := providers.NewTransport()
		refusing.DialContext = dead.dial
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{
			Routes: append(routes(t, refusing, "dead"), routes(t, transport, "bbbb")...),
		})
		if _, err := cl.generate(t.Context(), "an owl"); err != nil {
			t.Error(err)
		}
		wantText(t, "ended", "dead=network dead=network dead=network bbbb=ok", cl.outcomes())
		wantText(t, "calls", "bbbb", callsOf(sim))
	})
}

func TestChain_ModelGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		ask := cl.ask("an owl")
		ask.Model.Upstream = "gemini-0-image"
		if _, err := cl.Generate(t.Context(), ask); providers.KindOf(err) != providers.KindModelGone {
			t.Errorf("error %v, want the model gone", err)
		}
		wantText(t, "calls", "aaaa bbbb", callsOf(sim))
	})
}

func TestChain_ContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport, calls := play(t, func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { fail(w, 504) })
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb")})
		cause := errors.New("the customer cancelled")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if e := cl.fails(ctx, t, "an owl"); e.Kind != providers.KindCanceled || !errors.Is(e, cause) || !errors.Is(e, context.Canceled) {
			t.Errorf("error %v, want the cancellation and its cause", e)
		}
		short, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		if e := cl.fails(short, t, "an owl"); e.Kind != providers.KindDeadline {
			t.Errorf("error %v, want too short a deadline", e)
		}
		if calls("aaaa")+calls("bbbb") != 0 {
			t.Error("a call was made")
		}
		// What may have been paid for is not forgotten over the cancellation.
		ctx, cancel = context.WithCancelCause(t.Context())
		ask := cl.ask("an owl")
		ask.End = func(providers.Call, *providers.Result, error) { cancel(cause) }
		_, err := cl.Generate(ctx, ask)
		var e *providers.Error
		if !errors.As(err, &e) || !e.Ambiguous || calls("bbbb") != 0 {
			t.Errorf("error %v, want the unknown outcome", err)
		}
	})
}

// A request that two routes have no image for is not taken to a third.
func TestChain_NoImageAnywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, transport := simulate(t)
		cl := connect(t, providers.ChainOptions{Routes: routes(t, transport, "aaaa", "bbbb", "cccc")})
		if e := cl.fails(t.Context(), t, "[[sim:noimage]]"); e.Kind != providers.KindNoImage {
			t.Errorf("error %v, want no image", e)
		}
		wantText(t, "calls", "aaaa aaaa bbbb", callsOf(sim))
	})
}
