package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// status calls one of the APIs with a key and reports the status, or 0 where the
// connection was reset.
func status(t *testing.T, url, api, key, prompt string) int {
	t.Helper()
	path, sent, header := "/v1/images/generations", images(prompt, `"quality":"low"`), bearer(key)
	if api == apiGemini {
		path, sent, header = generateURL(""), body(prompt, ""), map[string]string{"X-Goog-Api-Key": key}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if errors.Is(err, syscall.ECONNRESET) {
		return 0
	} else if err != nil {
		t.Fatalf("call %s: %v", api, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestRoutesFailIndependently(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{Faults: []Fault{{Kind: KindDown, Route: "gemini"}}})
	sim.AddFaults(Fault{Kind: Kind503, Route: "openai", First: 1})
	statuses := func(prompt string) []int {
		return []int{
			status(t, url, apiGemini, "gemini", prompt), status(t, url, apiGemini, "gemini-2", prompt),
			status(t, url, apiOpenAI, "openai", prompt), status(t, url, apiOpenAI, "openai-2", prompt),
		}
	}
	if diff := cmp.Diff([]int{0, 200, 503, 200}, statuses("a")); diff != "" {
		t.Errorf("first calls (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{0, 429, 200, 200}, statuses("a [[sim:429 route=gemini-2]]")); diff != "" {
		t.Errorf("second calls (-want +got):\n%s", diff)
	}
	do(t, http.MethodDelete, url+"/__sim/faults?route=gemini")
	if diff := cmp.Diff([]int{200, 200, 200, 500}, statuses("a [[sim:500 route=*-2 model=gpt]]")); diff != "" {
		t.Errorf("calls after the route came back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Count{
		{API: "gemini", Route: "gemini", Calls: 3, Paid: 1, Images: 1, Faults: map[Kind]int{KindDown: 2}},
		{API: "gemini", Route: "gemini-2", Calls: 3, Paid: 2, Images: 2, Faults: map[Kind]int{Kind429: 1}},
		{API: "openai", Route: "openai", Calls: 3, Paid: 2, Images: 2, Faults: map[Kind]int{Kind503: 1}},
		{API: "openai", Route: "openai-2", Calls: 3, Paid: 2, Images: 2, Faults: map[Kind]int{Kind500: 1}},
	}, sim.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// A dead route does not wait for the request's body.
func TestDownResetsBeforeTheBody(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	sim.SetFaults([]Fault{{Kind: KindDown}})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /v1/images/edits HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer k\r\nContent-Length: 1000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection ended with %v", err)
	}
	if r := sim.Requests(); len(r) != 1 || r[0].Fault != "down" || r[0].Status != 0 || r[0].Paid || r[0].Route != "k" {
		t.Errorf("journal shows %+v", r)
	}
}

func TestTimedFaults(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	_, url := serve(t, Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	set := func(faults string) {
		if resp, b := post(t, url+"/__sim/faults", faults, nil); resp.StatusCode != http.StatusNoContent {
			t.Fatalf("set %s: status %d: %s", faults, resp.StatusCode, b)
		}
	}
	set(`[{"Kind":"503","Route":"gemini","For":"2s"}]`)
	set(`{"Kind":"500","Route":"openai","N":2}`) // one more
	set(`{"Kind":"slow","Ms":1}`)
	if got := get(t, url+"/__sim/faults"); strings.Count(got, "kind") != 3 {
		t.Errorf("faults are %s", got)
	}
	var got []int
	for range 3 {
		got = append(got, status(t, url, apiGemini, "gemini", "a"), status(t, url, apiOpenAI, "openai", "a"))
		pass(time.Second)
	}
	if diff := cmp.Diff([]int{503, 500, 503, 500, 200, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if got := get(t, url+"/__sim/faults"); strings.Contains(got, "503") {
		t.Errorf("a fault that is over is still there: %s", got)
	}
	do(t, http.MethodDelete, url+"/__sim/faults")
	if got := get(t, url+"/__sim/faults"); got != "[]\n" {
		t.Errorf("faults after delete are %s", got)
	}
}

func TestPaid(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	for _, api := range []string{apiGemini, apiOpenAI} {
		for kind, want := range map[Kind]bool{
			"none": true, KindSlow: true, KindWrongSize: true, KindThoughtImage: true,
			KindReset: true, KindTruncate: true, KindBadJSON: true,
			KindSafety: false, KindBlock: false, KindRecitation: false, KindText: false, KindEmpty: false, KindNoImage: false,
			Kind429: false, KindDay: false, KindBilling: false, Kind500: false, Kind503: false, Kind504: false,
			KindKey: false, KindGone: false, KindInvalid: false, KindDown: false, KindHTML: false,
		} {
			prompt := fmt.Sprintf("[[sim:id=%s-%s]]", api, kind)
			if kind != "none" {
				prompt += fmt.Sprintf("a [[sim:%s ms=1]]", kind)
			}
			status(t, url, api, "key-0001", prompt)
			calls, _ := sim.Calls(api + "-" + string(kind))
			if len(calls) != 1 || calls[0].Calls != 1 || (calls[0].Paid == 1) != want || calls[0].Canceled != 0 {
				t.Errorf("%s %s: %+v, want paid %t", api, kind, calls, want)
			}
		}
	}
	paid := 0
	for _, c := range sim.Counts() {
		paid += c.Paid
		if c.Active != 0 || c.Calls != 24 {
			t.Errorf("counts are %+v", c)
		}
	}
	if paid != 14 {
		t.Errorf("%d calls are paid for, want 14", paid)
	}
}

func TestCanceledCalls(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	for i, prompt := range []string{"a [[sim:hang]]", "a [[sim:slow ms=600000]]", "a [[sim:503 ms=600000]]"} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/images/generations", strings.NewReader(images(prompt, "")))
			for k, v := range bearer("key-0001") {
				req.Header.Set(k, v)
			}
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
		until(t, func() bool { r := sim.Requests(); return len(r) > i && r[i].Fault != "" })
		cancel()
		<-ended
		until(t, func() bool { return !sim.Requests()[i].Ended.IsZero() })
		if r := sim.Requests()[i]; !r.Canceled || r.Status != 0 || r.Paid != (i < 2) {
			t.Errorf("%s: journal shows %+v", prompt, r)
		}
	}
	if diff := cmp.Diff([]Count{{
		API: "openai", Route: "key-0001", Calls: 3, Paid: 2, Canceled: 3,
		Faults: map[Kind]int{KindHang: 1, KindSlow: 1, Kind503: 1},
	}}, sim.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// until waits for a condition.
func until(t *testing.T, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatal("condition was not met")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestJournalFilters(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{JournalSize: 4})
	status(t, url, apiGemini, "forgotten", "x [[sim:500]]")
	status(t, url, apiGemini, "a", "x [[sim:500]]")
	status(t, url, apiOpenAI, "a", "y [[sim:503]]")
	status(t, url, apiOpenAI, "b", "x1 [[sim:503]]")
	status(t, url, apiOpenAI, "b", "x2 [[sim:503]]")
	prompts := func(query string) (list []string) {
		var got struct{ Requests []Request }
		if err := json.Unmarshal([]byte(get(t, url+"/__sim/requests"+query)), &got); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.Requests {
			list = append(list, r.API+" "+r.Route+" "+r.Prompt[:2])
		}
		return list
	}
	for query, want := range map[string][]string{
		"?route=a":                 {"gemini a x ", "openai a y "},
		"?route=a&api=openai":      {"openai a y "},
		"?prompt=x":                {"gemini a x ", "openai b x1", "openai b x2"},
		"?fault=503&model=gpt":     {"openai a y ", "openai b x1", "openai b x2"},
		"?last=1":                  {"openai b x2"},
		"?route=*&prompt=x&last=2": {"openai b x1", "openai b x2"},
		"?route=c":                 nil,
	} {
		if diff := cmp.Diff(want, prompts(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	routes := func() (list []string) {
		var got struct{ Routes []Count }
		if err := json.Unmarshal([]byte(get(t, url+"/__sim/counts")), &got); err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Routes {
			list = append(list, fmt.Sprint(c.API, " ", c.Route, " ", c.Calls))
		}
		return list
	}
	do(t, http.MethodDelete, url+"/__sim/requests?prompt=x1")
	if diff := cmp.Diff([]string{"gemini a 1", "gemini forgotten 1", "openai a 1", "openai b 2"}, routes()); diff != "" {
		t.Errorf("counts after forgetting a prompt (-want +got):\n%s", diff)
	}
	do(t, http.MethodDelete, url+"/__sim/requests?route=a")
	if diff := cmp.Diff([]string{"openai b x2"}, prompts("")); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gemini forgotten 1", "openai b 2"}, routes()); diff != "" {
		t.Errorf("counts after forgetting a route (-want +got):\n%s", diff)
	}
	for i := range 5 { // the ring goes on where it was shortened
		status(t, url, apiOpenAI, "b", fmt.Sprintf("z%d [[sim:503]]", i))
	}
	if diff := cmp.Diff([]string{"openai b z1", "openai b z2", "openai b z3", "openai b z4"}, prompts("")); diff != "" {
		t.Errorf("journal after more calls (-want +got):\n%s", diff)
	}
	if got := get(t, url+"/__sim/calls?prompt=z"); strings.Count(got, `"calls":1`) != 5 || !strings.Contains(got, `"forgotten":0`) {
		t.Errorf("calls by prompt are %s", got)
	}
}

func TestVertexRouteIsTheProject(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	sim.SetFaults([]Fault{{Kind: Kind503, Route: "p1"}})
	call := func(project, token string) int {
		resp, _ := post(t, url+"/v1beta1/projects/"+project+"/locations/global/publishers/google/models/"+banana+":generateContent",
			body("a [[sim:key route=p3]]", ""), map[string]string{"X-Goog-Api-Key": "", "Authorization": "Bearer " + token})
		return resp.StatusCode
	}
	if diff := cmp.Diff([]int{503, 200, 401, 401}, []int{call("p1", "t"), call("p2", "t"), call("p3", "t"), call("p2", "bad")}); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if got := sim.Requests()[1].Route; got != "p2" {
		t.Errorf("route is %q", got)
	}
}

func TestRouteNames(t *testing.T) {
	t.Parallel()
	secret := "sk-proj-" + strings.Repeat("x", 40) + "9876"
	if got := routeName(secret); got != "...9876" {
		t.Errorf("route of a real key is %q", got)
	}
	for _, c := range []struct {
		pattern, route string
		want           bool
	}{
		{"", "a", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"*b", "ab", true},
		{"*", "", true}, {"a*", "ba", false}, {secret, routeName(secret), true},
	} {
		if got := matchRoute(c.pattern, c.route); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.route, got)
		}
	}
}

func TestCountMemoryIsBounded(t *testing.T) {
	t.Parallel()
	j := journal{size: 10}
	for i := range 3 * maxRoutes {
		e := j.add(Request{API: "openai", Route: fmt.Sprint(i)})
		j.end(e, time.Unix(1, 0))
	}
	if n := len(j.counts); n > maxRoutes+1 {
		t.Errorf("%d routes counted", n)
	}
	if got := j.counts[routeKey{"openai", "*"}].Calls; got != 2*maxRoutes {
		t.Errorf("%d calls of the routes beyond, want %d", got, 2*maxRoutes)
	}
	var b labelBook
	for i := range 3*maxLabels + 1 {
		b.get(fmt.Sprint("job ", i)).Calls++
		b.get("again").Calls++
	}
	if n := len(b.young) + len(b.old); n > 2*maxLabels || b.forgotten+n < 3*maxLabels {
		t.Errorf("%d labels remembered, %d forgotten", n, b.forgotten)
	}
	if got := b.get("again").Calls; got != 3*maxLabels+1 {
		t.Errorf("a label in use was counted %d times, want %d", got, 3*maxLabels+1)
	}
	if got := label("a cat [[sim:id=job-7]] [[sim:503]]") + " " + label(strings.Repeat("é", 100)); got != "job-7 "+strings.Repeat("é", 40) {
		t.Errorf("labels are %q", got)
	}
}

func TestParseFault(t *testing.T) {
	t.Parallel()
	got, err := ParseFault(" 429 retry=2s first=3 p=0.5 route=a model=b ms=4 ")
	if diff := cmp.Diff(Fault{Kind: Kind429, First: 3, P: 0.5, Retry: "2s", Route: "a", Model: "b", Millis: 4}, got); err != nil || diff != "" {
		t.Errorf("fault (-want +got), %v:\n%s", err, diff)
	}
	for _, text := range []string{"", "explode", "503 route", "503 route=", "503 often=1", "503 p=2", "429 retry=soon"} {
		if f, err := ParseFault(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, f)
		}
	}
}
