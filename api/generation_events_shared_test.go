package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

// visit opens a path as a page of another origin does.
func (b *bundle) visit(ctx context.Context, path string) *follower {
	b.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+path, nil)
	b.must(err)
	req.Header.Set("Origin", "https://elsewhere.example")
	resp, err := http.DefaultClient.Do(req)
	b.must(err)
	b.Cleanup(func() { _ = resp.Body.Close() })
	return &follower{status: resp.StatusCode, header: resp.Header, body: resp.Body, text: bufio.NewReader(resp.Body)}
}

// streamURL is the URL of a generation's stream, as its owner is told.
func (b *bundle) streamURL(id string) string {
	b.Helper()
	return b.do(b.live, "GET", "/v1/generations/"+id, "").json["urls"].(map[string]any)["events"].(string)
}

func TestGenerationEvents_WithoutAKey(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","webhook_url":"https://hooks.example.com/in?token=s3cret","metadata":{"customer":"s3cret"},"tags":["s3cret"]}`)
	path := b.streamURL(id)
	f := b.visit(t.Context(), path)
	if origin := f.header.Get("Access-Control-Allow-Origin"); f.status != 200 || origin != "*" {
		t.Fatalf("%d for origin %q", f.status, origin)
	}
	b.wants(f, "status 1")
	b.make(b.claim(id), 0)
	if end := b.wants(f, "status 2", "status 3.0", "image 3.1", "done 3"); end[3].data["id"] != id {
		t.Errorf("done with %v", end[3].data)
	} else if text := fmt.Sprint(end[3].data); strings.Contains(text, "s3cret") || end[3].data["usage"] != nil || end[3].data["project_id"] != "" {
		t.Errorf("it shows what is the owner's: %v", end[3].data)
	}
	list, err := b.visit(t.Context(), path+"&last_event_id=3.0").rest()
	if diff := cmp.Diff([]string{"image 3.1", "done 3"}, list); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestGenerationEvents_SignatureAccess(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id, second := b.done(b.live, `{"prompt":"x"}`, []byte("x")), b.submit(b.live, `{"prompt":"x"}`)
	path, sig := "/v1/generations/"+id+"/events", b.signer.SignEvents(id)
	unknown := store.NewGenerationID()
	for name, c := range map[string]struct {
		key, method, path string
		status            int
		origin            string
	}{
		"Own":              {"", "GET", path + "?sig=" + sig, 200, "*"},
		"Head":             {"", "HEAD", path + "?sig=" + sig, 200, "*"},
		"AtTheEnd":         {"", "GET", path + "?last_event_id=3&sig=" + sig, 204, "*"},
		"BadPosition":      {"", "GET", path + "?last_event_id=x&sig=" + sig, 400, "*"},
		"WithMore":         {"", "GET", path + "?lastEventId=&sig=" + sig, 200, "*"},
		"Twice":            {"", "GET", path + "?sig=" + sig + "&sig=" + sig, 422, "*"},
		"WithOthersKey":    {b.other, "GET", path + "?sig=" + sig, 200, "*"},
		"Unknown":          {"", "GET", "/v1/generations/" + unknown + "/events?sig=" + b.signer.SignEvents(unknown), 404, "*"},
		"NoID":             {"", "GET", "/v1/generations/x/events?sig=" + b.signer.SignEvents("x"), 404, "*"},
		"OfOther":          {"", "GET", "/v1/generations/" + second + "/events?sig=" + sig, 404, ""},
		"OfImage":          {"", "GET", path + "?sig=" + b.signer.Sign(store.ImageID(id, 0)), 404, ""},
		"OfTheID":          {"", "GET", path + "?sig=" + b.signer.Sign(id), 404, ""},
		"Changed":          {"", "GET", path + "?sig=" + sig[1:] + "A", 404, ""},
		"ChangedOthersKey": {b.other, "GET", path + "?sig=x", 404, ""},
		"ChangedOwnKey":    {b.live, "GET", path + "?sig=x", 200, ""},
		"None":             {"", "GET", path + "?sig=", 401, ""},
		"OtherRoute":       {"", "GET", "/v1/generations/" + id + "?sig=" + sig, 401, ""},
	} {
		a := b.do(c.key, c.method, c.path, "")
		if origin := a.header.Get("Access-Control-Allow-Origin"); a.status != c.status || origin != c.origin {
			t.Errorf("%s: %d %s for origin %q, want %d for %q", name, a.status, a.body, origin, c.status, c.origin)
		}
	}
	if strings.Contains(b.log.String(), sig) {
		t.Error("the log has the signature")
	}
}

// Streams by signed URL are counted by generation, apart from those of the key.
func TestGenerationEvents_SharedLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.MaxStreams, o.MaxKeyStreams, o.MaxSharedStreams = 20, 1, 2 })
	first, second, third := b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`)
	statuses := func(path string, n int) (list []int) {
		for range n {
			f := b.visit(t.Context(), path)
			list = append(list, f.status)
		}
		return list
	}
	b.open(b.live, first)
	if diff := cmp.Diff([]int{200, 200, 429}, statuses(b.streamURL(first), 3)); diff != "" {
		t.Errorf("of the first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{200, 200}, statuses(b.streamURL(second), 2)); diff != "" {
		t.Errorf("of the second (-want +got):\n%s", diff)
	}
	// A fifth of the process is the most that all of a project's addresses have.
	if a := b.do(b.live, "GET", b.streamURL(third), ""); a.code() != "concurrency_limited" || !strings.Contains(a.body, "The project has 4 streams open") {
		t.Errorf("of the third: %d %s", a.status, a.body)
	}
	a := b.do(b.live, "GET", b.streamURL(first), "")
	if a.code() != "concurrency_limited" || !strings.Contains(a.body, "The generation's URL has 2 streams open") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
