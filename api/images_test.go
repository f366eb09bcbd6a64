package api_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

func TestImageContent(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	content := strings.Repeat("0123456789", 1000)
	id := store.ImageID(b.done(b.live, `{"prompt":"x"}`, []byte(content)), 0)
	path := "/v1/images/" + id + "/content"
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content)))
	for name, c := range map[string]struct {
		method  string
		headers []string
		status  int
		body    string
	}{
		"Whole":         {"GET", nil, 200, content},
		"Range":         {"GET", []string{"Range: bytes=3-6"}, 206, "3456"},
		"RangeOfIt":     {"GET", []string{"Range: bytes=-2", "If-Range: " + tag}, 206, "89"},
		"RangeOfOther":  {"GET", []string{"Range: bytes=3-6", `If-Range: "other"`}, 200, content},
		"NotModified":   {"GET", []string{"If-None-Match: " + tag}, 304, ""},
		"Modified":      {"GET", []string{`If-None-Match: "other"`}, 200, content},
		"Head":          {"HEAD", nil, 200, ""},
		"OddPreference": {"GET", []string{"Accept: text/html;"}, 200, content},
	} {
		a := b.do(b.live, c.method, path, "", c.headers...)
		if diff := cmp.Diff(c.body, a.body); a.status != c.status || diff != "" {
			t.Errorf("%s: status %d, want %d; body (-want +got):\n%s", name, a.status, c.status, diff)
		}
		if c.status == 304 {
			continue
		}
		want := []string{tag, "private, max-age=86400", "nosniff", "sandbox; default-src 'none'", `inline; filename="` + id + `.png"`, "image/png"}
		var got []string
		for _, h := range []string{"ETag", "Cache-Control", "X-Content-Type-Options", "Content-Security-Policy", "Content-Disposition", "Content-Type"} {
			got = append(got, a.header.Get(h))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
	}
	a := b.do(b.live, "GET", path, "", "Range: bytes=99999-")
	want := []any{416, "range_not_satisfiable", "application/problem+json", "bytes */10000", "", "nosniff"}
	got := []any{a.status, a.code(), a.header.Get("Content-Type"), a.header.Get("Content-Range"), a.header.Get("ETag"), a.header.Get("X-Content-Type-Options")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a range beyond the end (-want +got):\n%s\n%s", diff, a.body)
	}
	if a := b.do(b.live, "HEAD", path, "", "Range: bytes=99999-"); a.status != 416 || a.body != "" {
		t.Errorf("HEAD of a range beyond the end: %d %q", a.status, a.body)
	}
}

func TestImageContent_Access(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := store.ImageID(b.done(b.live, `{"prompt":"x"}`, []byte("x")), 0)
	path := "/v1/images/" + id + "/content"
	unknown := store.ImageID(store.NewGenerationID(), 0)
	for name, c := range map[string]struct {
		key, target string
		status      int
		code        string
	}{
		"Key":                   {b.live, path, 200, ""},
		"TestKeyOfTheProject":   {b.test, path, 404, "not_found"},
		"Signature":             {"", path + "?sig=" + b.signer.Sign(id), 200, ""},
		"Neither":               {"", path, 401, "missing_api_key"},
		"WrongSignature":        {"", path + "?sig=" + b.signer.Sign(unknown), 404, "not_found"},
		"SignedButUnknown":      {"", "/v1/images/" + unknown + "/content?sig=" + b.signer.Sign(unknown), 404, "not_found"},
		"OtherProject":          {b.other, path, 404, "not_found"},
		"OtherProjectWithURL":   {b.other, path + "?sig=" + b.signer.Sign(id), 200, ""},
		"BadKeyWithURL":         {"nb_live_x", path + "?sig=" + b.signer.Sign(id), 200, ""},
		"KeyAndWrongSignature":  {b.live, path + "?sig=x", 200, ""},
		"OtherAndWrong":         {b.other, path + "?sig=x", 404, "not_found"},
		"BadKeyAndWrong":        {"nb_live_x", path + "?sig=x", 401, "invalid_api_key"},
		"BadKey":                {"nb_live_x", path, 401, "invalid_api_key"},
		"NoID":                  {b.live, "/v1/images/x/content", 404, "not_found"},
		"IndexBeyondTheRequest": {b.live, "/v1/images/" + store.ImageID(b.generationOf(id), 1) + "/content", 404, "not_found"},
		"BadWait":               {b.live, path + "?wait=31", 422, "validation_failed"},
	} {
		a := b.do(c.key, "GET", c.target, "")
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.code(), c.status, c.code)
		}
	}
	if a := b.do("", "GET", path+"?sig="+b.signer.Sign(id), ""); a.header.Get("Cache-Control") != "public, max-age=86400" {
		t.Errorf("Cache-Control of a signed URL: %s", a.header.Get("Cache-Control"))
	}
}

func (b *bundle) generationOf(imageID string) string {
	b.Helper()
	id, _, err := store.GenerationOfImage(imageID)
	b.must(err)
	return id
}

func TestImageContent_BeforeTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x"}`)
	id, url := a.json["id"].(string), a.json["url"].(string)
	a = b.do("", "GET", url, "")
	want := map[string]any{"id": store.ImageID(id, 0), "object": "image", "status": "queued", "generation_id": id, "eta_seconds": 12.0}
	if diff := cmp.Diff(want, a.json); diff != "" || a.status != 202 {
		t.Errorf("status %d (-want +got):\n%s", a.status, diff)
	}
	if a.header.Get("Retry-After") != "12" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Retry-After %q, Cache-Control %q", a.header.Get("Retry-After"), a.header.Get("Cache-Control"))
	}
	b.finish(b.claim(id), []byte("done"))
	if a := b.do("", "GET", url, ""); a.status != 200 || a.body != "done" {
		t.Errorf("the same URL after the end: %d %q", a.status, a.body)
	}
}

func TestImageContent_WithoutAnImage(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	canceled := b.submit(b.live, `{"prompt":"x"}`)
	b.do(b.live, "POST", "/v1/generations/"+canceled+"/cancel", "")
	removed := b.submit(b.live, `{"prompt":"x"}`)
	b.do(b.live, "DELETE", "/v1/generations/"+removed, "")
	partial := b.done(b.live, `{"prompt":"x","n":2}`, []byte("x"))
	for name, c := range map[string]struct {
		id     string
		status int
		code   string
		says   string
	}{
		"Canceled": {store.ImageID(canceled, 0), 404, "not_found", "is canceled"},
		"Removed":  {store.ImageID(removed, 0), 410, "data_removed", "was deleted"},
		"Missing":  {store.ImageID(partial, 1), 404, "not_found", "image_errors"},
	} {
		a := b.do(b.live, "GET", "/v1/images/"+c.id+"/content", "")
		if a.status != c.status || a.code() != c.code || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestImageContent_Expires(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	b := setup(t, func(o *api.Options) { o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	id := store.ImageID(b.done(b.live, `{"prompt":"x"}`, []byte("x")), 0)
	path := "/v1/images/" + id + "/content"
	ahead.Store(int64(30*24*time.Hour - 10*time.Minute))
	var left int
	if _, err := fmt.Sscanf(b.do(b.live, "GET", path, "").header.Get("Cache-Control"), "private, max-age=%d", &left); err != nil || left > 600 || left < 500 {
		t.Errorf("ten minutes before its end it may be kept %d s, %v", left, err)
	}
	ahead.Store(int64(30*24*time.Hour + time.Minute))
	if a := b.do(b.live, "GET", path, ""); a.status != 410 || a.code() != "image_expired" {
		t.Errorf("after its end: %d %s, want 410 image_expired", a.status, a.code())
	}
}

func TestImageContent_LostBlobIsOurFault(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.done(b.live, `{"prompt":"x"}`, []byte("x"))
	b.must(b.blobs.Delete(t.Context(), "test/"+id+".png"))
	a := b.do(b.live, "GET", "/v1/images/"+store.ImageID(id, 0)+"/content", "")
	if a.status != http.StatusInternalServerError || a.code() != "internal_error" || strings.Contains(a.body, "blob") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if !strings.Contains(b.log.String(), "has a row and no blob") {
		t.Errorf("the log does not say why:\n%s", b.log)
	}
}
