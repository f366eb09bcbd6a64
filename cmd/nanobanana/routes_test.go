package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestRoutes_EveryFaultOfTheConfigurationAtOnce(t *testing.T) {
	t.Setenv("SOME_KEY", "k")
	t.Setenv("TORN_KEY", "torn\nsecret")
	for name, c := range map[string]struct {
		routes string
		want   []string
	}{
		"NotJSON":     {`gemini`, []string{`it must be {"routes": [...]} or @FILE`}},
		"NoFile":      {`@/nowhere/routes.json`, []string{"read routes"}},
		"Empty":       {`{"routes":[]}`, []string{"it lists no route"}},
		"Unknown":     {`{"routes":[{"nam":"x"}]}`, []string{`unknown field "nam"`}},
		"More":        {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY"}]} {}`, []string{"something after"}},
		"NoKey":       {`{"routes":[{"name":"a","api":"gemini"}]}`, []string{"it needs key_env"}},
		"Order":       {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY"}],"order":{"mask":["b"],"draw":[]}}`, []string{`no route "b"`, `"draw" is none of`}},
		"OrderOfIt":   {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY"}],"order":{"mask":["a","a"],"edit":[]}}`, []string{`order of mask: route "a" is listed twice`, "order of edit: it lists no route"}},
		"TwoOrders":   {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY"}],"order":{"mask":["a"],"mask":["a"]}}`, []string{"there are two orders of mask"}},
		"NotAnOrder":  {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY"}],"order":["a"]}`, []string{"cannot unmarshal array"}},
		"Prices":      {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY","prices":{"banana":{"input":-1,"image":1},"banana-pro":{"input":1,"image":1,"text":1,"inputImage":-1}}}]}`, []string{"prices of banana: input is negative", "prices of banana: text is missing", "prices of banana-pro: inputImage is negative"}},
		"Account":     {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY","vertex":{"project":"x/y","location":"eu.evil/"}},{"name":"b","api":"openai","key_env":"TORN_KEY"}]}`, []string{"key_env or vertex, not both", `project "x/y"`, `location "eu.evil/"`, "key in TORN_KEY has blanks"}},
		"Address":     {`{"routes":[{"name":"a","api":"gemini","key_env":"SOME_KEY","url":"ftp://me:secret@host/v1?key=secret#secret"},{"name":"b","api":"openai","key_env":"SOME_KEY","url":"me:secret@host:%zz"}]}`, []string{`url "ftp://host/v1" is not`, `url "host:%zz" is not`}},
		"SeveralOfIt": {`{"routes":[{"name":"A","api":"g","key_env":"SOME_KEY","url":"x","concurrency":-1,"timeouts":{"8K":"1s"},"prices":{"x":{}},"only":["y"]},{"name":"A","api":"openai","vertex":{"project":""}}]}`, []string{"lower-case", "neither gemini nor openai", "not an http", "concurrency -1", `"8K" is none`, `"1s" is not a time`, `no model "x"`, `"y" is none of`, "two of this name", "only gemini is reached"}},
	} {
		_, err := (&config{Routes: c.routes}).routes()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error lacks %q: %v", name, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

// Only a worker needs the keys. It says of each that is missing.
func TestRoutes_KeysThatAreNotSet(t *testing.T) {
	t.Parallel()
	cfg := &config{Routes: `{"routes":[{"name":"a","api":"gemini","key_env":"UNSET_A"},{"name":"b","api":"openai","key_env":"UNSET_B"}]}`}
	if _, err := cfg.routes(); err != nil {
		t.Errorf("a front door is refused: %v", err)
	}
	_, err := liveChain(cfg)
	if err == nil || !strings.Contains(err.Error(), "UNSET_A is not set") || !strings.Contains(err.Error(), "UNSET_B is not set") {
		t.Errorf("the error does not name both: %v", err)
	}
	cfg.Routes = `{"routes":[{"name":"a","api":"gemini","vertex":{"project":"p","credentials":"/nowhere/a.json"}},{"name":"b","api":"gemini","vertex":{"project":"example.com:p","credentials":"/nowhere/b.json"}}]}`
	if _, err = liveChain(cfg); err == nil || !strings.Contains(err.Error(), "/nowhere/a.json") || !strings.Contains(err.Error(), "/nowhere/b.json") {
		t.Errorf("the error does not name both files: %v", err)
	}
}

// The keys of the environment are looked at like those of the routes, and are not
// told. A line break at the end is nobody's fault.
func TestRoutes_KeysThatAreNone(t *testing.T) {
	t.Parallel()
	_, err := (&config{GeminiAPIKey: "my secret", Gemini2APIKey: "secret\x00", OpenAIAPIKey: "secr\u00e9t", VertexProject: "P"}).routes()
	for _, want := range []string{"GEMINI_API_KEY", "NANOBANANA_GEMINI_2_API_KEY", "OPENAI_API_KEY", `project "P"`} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secr") {
			t.Errorf("the error lacks %q, or tells a key: %v", want, err)
		}
	}
	file, err := (&config{GeminiAPIKey: "good\r\n", OpenAIAPIKey: "\n"}).routes()
	if err != nil || len(file.Routes) != 1 || file.Routes[0].key != "good" {
		t.Errorf("routes %+v, error %v, want one with the key alone", file, err)
	}
}

// A route that is switched off promises nothing.
func TestRoutes_SwitchedOff(t *testing.T) {
	t.Parallel()
	const off = `{"name":"a","api":"gemini","key_env":"UNSET_A","disabled":true}`
	for routes, want := range map[string][]string{
		`{"routes":[` + off + `]}`: nil,
		`{"routes":[` + off + `,{"name":"b","api":"openai","key_env":"UNSET_B"}]}`: {"openai"},
	} {
		if diff := cmp.Diff(want, (&config{Routes: routes}).liveProviders()); diff != "" {
			t.Errorf("live providers of %s (-want +got):\n%s", routes, diff)
		}
	}
}

func TestRoutes_OneForEachAccount(t *testing.T) {
	t.Parallel()
	file, err := (&config{GeminiAPIKey: "a", Gemini2APIKey: "b", VertexProject: "p", OpenAIAPIKey: "c"}).routes()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range file.Routes {
		got = append(got, r.Name+" "+r.API)
	}
	if diff := cmp.Diff([]string{"gemini gemini", "gemini-2 gemini", "vertex gemini", "openai openai"}, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// dead is an upstream that refuses every call with 503.
type dead struct {
	calls atomic.Int64
}

func (d *dead) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	d.calls.Add(1)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}`))
}

// route sends live keys' calls over two Gemini accounts: first at the address
// given, then the simulator.
func (f *fleet) route(t *testing.T, first string) {
	t.Helper()
	var simulator string
	for _, e := range f.env {
		if url, ok := strings.CutPrefix(e, "NANOBANANA_SIMULATOR_URL="); ok {
			simulator = url
		}
	}
	routes, err := json.Marshal(routeFile{Routes: []routeSpec{
		{Name: "first", API: "gemini", KeyEnv: "FIRST_KEY", URL: first, Concurrency: 50},
		{Name: "second", API: "gemini", KeyEnv: "SECOND_KEY", URL: simulator},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.env = append(f.env, "NANOBANANA_ROUTES="+string(routes), "FIRST_KEY=first", "SECOND_KEY=second", "NANOBANANA_CONCURRENCY=50")
	f.url = startProcess(t, f.env, nil, "api", "--listen=127.0.0.1:0").line(t, "api listening on ")
}

func (f *fleet) submitMany(t *testing.T, n int, prompt string) {
	t.Helper()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range n / 10 {
				f.submit(t, prompt)
			}
		})
	}
	wg.Wait()
}

// run runs a command of the program and returns what it printed.
func (f *fleet) run(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	p := startProcess(t, f.env, func(cmd *exec.Cmd) {}, args...)
	for line := range p.lines {
		out.WriteString(line + "\n")
	}
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("%v ended with %d:\n%s%s", args, code, out.String(), p.errs)
	}
	return out.String()
}

func TestFleet_LeavesADeadRoute(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	d := &dead{}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	f.route(t, server.URL)
	f.submitMany(t, 100, "x")
	one, two := f.startWorker(t), f.startWorker(t)
	f.until(t, 100, countEnded)
	const served = `SELECT count(DISTINCT generation_id) FROM attempt WHERE route = 'second' AND outcome = 'succeeded'`
	if succeeded := f.count(t, `SELECT count(*) FROM generation WHERE status = 'succeeded'`); succeeded != 100 || f.count(t, served) != 100 {
		t.Errorf("%d of 100 succeeded, %d of them over the second route", succeeded, f.count(t, served))
	}
	calls := int(d.calls.Load())
	if recorded := f.count(t, `SELECT count(*) FROM attempt WHERE route = 'first'`); calls > 10 || calls == 0 || recorded != calls {
		t.Errorf("the dead route was called %d times, %d of them recorded; want 1 to 10", calls, recorded)
	}
	if list := f.run(t, "routes"); !strings.Contains(list, "first   gemini    open, probe in") || !strings.Contains(list, "second  gemini    ready") {
		t.Errorf("the list of routes is:\n%s", list)
	}
	for _, p := range []*process{one, two} {
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("a worker ended with %d:\n%s", code, p.errs)
		}
	}
}

// A pause that the upstream asks one worker for holds for all within 2 s, and an
// operator's switch as well.
func TestLong_ARoutesPauseAndSwitchHoldForTheFleet(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	var calls, limited atomic.Int64
	limited.Store(1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"error":{"code":429,"message":"Quota exceeded. Please retry in 25s.","status":"RESOURCE_EXHAUSTED"}}`))
	}))
	t.Cleanup(server.Close)
	f.route(t, server.URL)
	f.startWorker(t)
	f.submit(t, "x")
	f.until(t, 1, countEnded)
	f.until(t, 1, `SELECT count(*) FROM provider_route WHERE cooldown_until > now() + interval '10 seconds'`)
	f.startWorker(t)
	f.submitMany(t, 50, "x")
	f.until(t, 51, countEnded)
	if n := calls.Load(); n != 1 {
		t.Errorf("the limited route was called %d times, want once", n)
	}
	if list := f.run(t, "routes"); !strings.Contains(list, "cooldown") || !strings.Contains(list, "(rate_limited") {
		t.Errorf("the list of routes is:\n%s", list)
	}

	if said := f.run(t, "routes", "drain", "second"); !strings.Contains(said, "second is drained") {
		t.Errorf("drain said %q", said)
	}
	f.run(t, "routes", "enable", "first")
	switched := time.Now()
	const asked = `SELECT count(*) FROM attempt WHERE route = 'second'`
	before := 0
	for time.Since(switched) < 2*time.Second {
		before = f.count(t, asked)
		time.Sleep(50 * time.Millisecond)
	}
	f.submitMany(t, 20, "y")
	f.until(t, 20, `SELECT count(*) FROM generation WHERE status = 'queued' AND fence > 0`)
	if after := f.count(t, asked); after != before || calls.Load() < 2 {
		t.Errorf("the drained route was called %d times more, the enabled one %d times in all", after-before, calls.Load())
	}
	var views []routeView
	if err := json.Unmarshal([]byte(f.run(t, "routes", "--json")), &views); err != nil || len(views) != 2 || views[1].State != "drained" || views[1].Workers != 2 {
		t.Errorf("the routes are %+v, %v", views, err)
	}
	f.run(t, "routes", "enable", "second")
	f.until(t, 71, countEnded)
}

func TestRoutes_ListedInTheOrderOfTheConfiguration(t *testing.T) {
	t.Parallel()
	now := time.Now()
	report := func(names ...string) (reports []store.RouteReport) {
		for _, name := range names {
			reports = append(reports, store.RouteReport{Name: name, Enabled: name != "off", Breaker: "closed"})
		}
		return reports
	}
	workers := []*store.Worker{
		{ID: "a", StartedAt: now.Add(-time.Hour), Routes: report("openai", "old", "gemini")},
		{ID: "b", StartedAt: now, Routes: report("gemini", "off", "openai")},
	}
	known := []*store.ProviderRoute{{Name: "forgotten", Enabled: true}, {Name: "off", Enabled: false}, {Name: "openai", Enabled: false}}
	var got []string
	for _, v := range viewRoutes(workers, known, now) {
		got = append(got, fmt.Sprint(v.Name, " ", v.State, " ", v.Workers))
	}
	want := []string{"gemini ready 2", "off disabled 1", "openai drained 2", "old ready 1", "forgotten ready 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// refused runs a command that must fail and returns what it said.
func (f *fleet) refused(t *testing.T, args ...string) string {
	t.Helper()
	p := startProcess(t, f.env, nil, args...)
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%v ended with %d, want 1", args, code)
	}
	return p.errs.String()
}

func TestRoutes_DisabledAndNone(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	if said := f.run(t, "routes"); said != "no worker is running\n" {
		t.Errorf("without a worker it said %q", said)
	}
	simulating := f.startWorker(t)
	if said := f.run(t, "routes"); said != "1 worker runs and has no route: live keys are simulated\n" {
		t.Errorf("with a worker that has none it said %q", said)
	}
	if said := f.refused(t, "routes", "drain", "x"); !strings.Contains(said, `no route "x": 1 worker runs`) {
		t.Errorf("drain said %q", said)
	}
	simulating.stop(t, syscall.SIGTERM)
	f.env = append(f.env, "K=k", "OPENAI_API_KEY=o", `NANOBANANA_ROUTES={"routes":[{"name":"z","api":"gemini","key_env":"K"},{"name":"a","api":"gemini","key_env":"K","disabled":true}]}`)
	worker := f.startWorker(t)
	list := f.run(t, "routes")
	if lines := strings.Split(list, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[1], "z      gemini    ready") || !strings.HasPrefix(lines[2], "a      gemini    disabled") {
		t.Errorf("the list of routes is:\n%s", list)
	}
	if said := f.refused(t, "routes", "enable", "a"); !strings.Contains(said, `route "a" is disabled by the workers' configuration: take "disabled" out`) {
		t.Errorf("enable said %q", said)
	}
	if n := f.count(t, `SELECT count(*) FROM provider_route`); n != 0 {
		t.Error("a refused switch was recorded")
	}
	if log := worker.errs.String(); !strings.Contains(log, "NANOBANANA_ROUTES replaces") || !strings.Contains(log, "[OPENAI_API_KEY]") {
		t.Errorf("the worker does not say that an account is ignored:\n%s", log)
	}
}

func TestConfig_AccountsIgnoredBesideRoutes(t *testing.T) {
	t.Parallel()
	const gemini = `{"routes":[{"name":"a","api":"gemini","key_env":"GEMINI_API_KEY"}]}`
	const vertex = `{"routes":[{"name":"a","api":"gemini","vertex":{"project":"p"}}]}`
	for name, tt := range map[string]struct {
		cfg  config
		want []string
	}{
		"NoRoutes":   {config{GeminiAPIKey: "x"}, nil},
		"OnlyRoutes": {config{Routes: gemini}, nil},
		"Named":      {config{Routes: gemini, GeminiAPIKey: "x"}, nil},
		"Others":     {config{Routes: gemini, Gemini2APIKey: "x", VertexProject: "p", OpenAIAPIKey: "y"}, []string{"NANOBANANA_GEMINI_2_API_KEY", "NANOBANANA_VERTEX_PROJECT", "OPENAI_API_KEY"}},
		"SameVertex": {config{Routes: vertex, VertexProject: "p", GeminiAPIKey: "x"}, []string{"GEMINI_API_KEY"}},
	} {
		if diff := cmp.Diff(tt.want, tt.cfg.ignoredAccounts()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
