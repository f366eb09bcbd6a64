package api_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
)

func TestNew_NamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := api.New(api.Options{}); err == nil {
		t.Error("an API without a database was made")
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	list := b.do(b.live, "GET", "/v1/models", "")
	var ids []string
	for _, m := range list.json["data"].([]any) {
		ids = append(ids, m.(map[string]any)["id"].(string))
	}
	if diff := cmp.Diff([]string{
		"banana", "banana-pro", "banana-lite",
		"gpt-image-2.6-flare", "gpt-image-2.6-sunburst", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "gpt-image-2",
	}, ids); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	lite := b.do(b.live, "GET", "/v1/models/banana-lite", "")
	want := map[string]any{
		"id": "banana-lite", "object": "model", "created": 1780272000.0, "owned_by": "gemini", "title": "Nano Banana Lite",
		"default": false, "provider": "gemini", "simulated": false, "capabilities": []any{"generate"}, "max_images": 10.0,
		"released_at": "2026-06-01T00:00:00Z", "deprecated_at": nil, "shutdown_at": nil, "replaced_by": nil,
	}
	for name := range want {
		if diff := cmp.Diff(want[name], lite.json[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, size := range []string{"1280x896", "1584x672"} {
		if !slices.Contains(lite.json["sizes"].([]any), any(size)) {
			t.Errorf("size %s is not listed", size)
		}
		a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x","model":"banana-lite","size":"`+size+`"}`)
		if a.status != 202 {
			t.Errorf("the listed size %s is refused: %s", size, a.body)
		}
	}
	resolution := lite.json["resolutions"].([]any)[0].(map[string]any)
	if diff := cmp.Diff(map[string]any{"amount": "0.0000", "currency": "usd"}, resolution["price"]); diff != "" {
		t.Errorf("price (-want +got):\n%s", diff)
	}
	retired := b.do(b.test, "GET", "/v1/models/imagen-4.0-fast-generate-001", "")
	if retired.json["id"] != "banana-lite" || retired.json["provider"] != "simulator" || retired.json["simulated"] != true {
		t.Errorf("by a retired name, with a test key: %s", retired.body)
	}
	if !strings.Contains(retired.body, `{"id":"imagen-4.0-fast-generate-001","shutdown_at":"2026-08-17T00:00:00Z","replaced_by":"gemini-3.1-flash-lite-image"}`) {
		t.Errorf("the alias does not tell its end: %s", retired.body)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, path := range []string{"/livez", "/readyz", "/health"} {
		a := b.do("", "GET", path, "")
		if diff := cmp.Diff(map[string]any{"status": "ok", "version": "test"}, a.json); diff != "" || a.status != 200 {
			t.Errorf("%s: status %d (-want +got):\n%s", path, a.status, diff)
		}
		if a := b.do("", "HEAD", path, ""); a.status != 200 {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
	}
}

func TestReadyz_DatabaseClosed(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.db.Close()
	if a := b.do("", "GET", "/readyz", ""); a.status != 503 || a.code() != "service_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %s", a.status, a.body)
	}
}

func TestIndexAndDocument(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	index := b.do("", "GET", "/", "")
	doc := b.do("", "GET", index.json["openapi"].(string), "")
	if doc.status != 200 || doc.json["openapi"] != "3.1.0" {
		t.Errorf("status %d, openapi %v", doc.status, doc.json["openapi"])
	}
}

// Every operation of the document answers 401 without a key, or needs none.
func TestEveryOperationChecksTheCaller(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	doc := b.do("", "GET", "/openapi.json", "")
	checked := 0
	for path, item := range doc.json["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			security := op.(map[string]any)["security"].([]any)
			target := strings.NewReplacer("{id}", "x", "{name}", "banana", "{code}", "not_found").Replace(path)
			a := b.do("", strings.ToUpper(method), target, "")
			anyone := op.(map[string]any)["x-access"].(map[string]any)["area"] == "anyone"
			if want := len(security) > 0; want != (a.status == 401) && (!anyone || !want) { // who calls may be told there, or not
				t.Errorf("%s %s without a key: %d, though its security is %v", method, path, a.status, security)
			}
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d operations were checked", checked)
	}
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.do(b.live, "POST", "/v1/generations", `{"prompt":"secret prompt","metadata":{"a":"secret value"}}`,
		"X-Request-Id: client-7", "Idempotency-Key: secret-idempotency")
	b.do(b.live, "GET", "/v1/generations?q=secret+search", "", "X-Request-Id: bad id\"")
	b.do("", "GET", "/v1/images/x/content?sig=secretsignature", "")
	b.do("nb_live_secretmalformed", "GET", "/v1/models", "")
	b.do("", "GET", "/secretpath", "")

	type line struct {
		Level, Msg, Method, Route, Project, Key string
		Status                                  int
		ClientRequest                           string `json:"client_request"`
	}
	text := b.log.String()
	for _, secret := range []string{"secret", b.live, b.live[8:30]} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
	var got []line
	for text := range strings.Lines(text) {
		var l line
		b.must(json.Unmarshal([]byte(text), &l))
		if (l.Key != "") != (l.Project != "") || l.Key != "" && !strings.HasPrefix(l.Key, "key_") {
			t.Errorf("key %q, project %q", l.Key, l.Project)
		}
		l.Key, l.Project = "", ""
		got = append(got, l)
	}
	want := []line{
		{Level: "INFO", Msg: "request", Method: "POST", Route: "/v1/generations", Status: 202, ClientRequest: "client-7"},
		{Level: "INFO", Msg: "request", Method: "GET", Route: "/v1/generations", Status: 200},
		{Level: "INFO", Msg: "request", Method: "GET", Route: "/v1/images/:id/content", Status: 404},
		{Level: "INFO", Msg: "request", Method: "GET", Route: "/v1/models", Status: 401},
		{Level: "INFO", Msg: "request", Method: "GET", Route: "", Status: 404},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPanicIsA500(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Now = func() time.Time { panic("the clock is broken") } })
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x"}`) // when it is admitted is kept
	if a.status != 500 || a.code() != "internal_error" || strings.Contains(a.body, "clock") {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if log := b.log.String(); !strings.Contains(log, "the clock is broken") || !strings.Contains(log, "access.go") || !strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log does not say where: %s", log)
	}
}

func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.BodyTimeout = 700 * time.Millisecond })
	// The deadline of the body must not reach the wait that follows it.
	start := time.Now()
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x"}`, "Prefer: wait=1")
	if took := time.Since(start); a.status != 202 || took < time.Second {
		t.Errorf("status %d after %s, want 202 after the second that was asked", a.status, took)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	b.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /v1/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+b.live+"\r\nContent-Length: 100\r\n\r\n{")
	b.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	b.must(err)
	b.must(resp.Body.Close())
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a body that never comes: %d, want 408", resp.StatusCode)
	}
}

func BenchmarkGetGeneration(b *testing.B) {
	bundle := setup(b, nil)
	id := bundle.done(bundle.live, `{"prompt":"x"}`, []byte("x"))
	queued := bundle.submit(bundle.live, `{"prompt":"x"}`)
	claimed := bundle.submit(bundle.live, `{"prompt":"x"}`)
	bundle.claim(claimed)
	for name, id := range map[string]string{"Succeeded": id, "Queued": queued, "Processing": claimed} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					r := httptest.NewRequest("GET", "/v1/generations/"+id, nil)
					r.Header.Set("Authorization", "Bearer "+bundle.live)
					w := httptest.NewRecorder()
					if bundle.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
						b.Errorf("status %d", w.Code)
					}
				}
			})
		})
	}
}

func BenchmarkCreateGeneration(b *testing.B) {
	bundle := setup(b, nil)
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := httptest.NewRequest("POST", "/v1/generations", strings.NewReader(`{"prompt":"a banana","size":"1024x1024"}`))
			r.Header.Set("Authorization", "Bearer "+bundle.live)
			w := httptest.NewRecorder()
			if bundle.handler.ServeHTTP(w, r); w.Code != http.StatusAccepted {
				b.Errorf("status %d", w.Code)
			}
		}
	})
}
