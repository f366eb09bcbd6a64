package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestQueryIsUnderstoodWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","metadata":{"a":"b c"},"tags":["t"]}`)
	for name, c := range map[string]struct {
		route  string
		status int
		faults []string
		says   string
	}{
		"NulInText":        {"GET /v1/generations?q=%00", 422, []string{"q invalid"}, "UTF-8"},
		"NotUTF8":          {"GET /v1/generations?q=%ff", 422, []string{"q invalid"}, "UTF-8"},
		"NulInTag":         {"GET /v1/generations?tag=%00", 422, []string{"tag invalid"}, "U+0000"},
		"NulInModel":       {"GET /v1/generations?model=%00", 422, []string{"model invalid"}, "U+0000"},
		"NulInPair":        {"GET /v1/generations?metadata[a]=%00", 422, []string{"metadata.a invalid"}, "U+0000"},
		"NulInKey":         {"GET /v1/generations?metadata[a%00]=b", 422, []string{"metadata.a\x00 invalid"}, "U+0000"},
		"NotUTF8InKey":     {"GET /v1/generations?metadata[%ff]=b", 422, []string{"metadata.\uFFFD invalid"}, "UTF-8"},
		"Semicolon":        {"GET /v1/generations?limit=1;limit=2", 400, nil, "semicolon"},
		"BadEscape":        {"GET /v1/generations?%zz", 400, nil, "%25"},
		"BadEscapeOfImage": {"GET /v1/images/x/content?%zz", 400, nil, "%25"},
		"TagTwice":         {"GET /v1/generations?tag=a&tag=b", 422, []string{"tag conflict"}, "tag is given 2 times"},
		"LimitTwice":       {"GET /v1/generations?limit=5&limit=6", 422, []string{"limit conflict"}, "once"},
		"PairTwice":        {"GET /v1/generations?metadata[a]=1&metadata[a]=2", 422, []string{"metadata.a conflict"}, "once"},
		"TwoPairs":         {"GET /v1/generations?metadata[a]=b%20c&metadata[d]=2", 200, nil, `"data":[]`},
		"Pair":             {"GET /v1/generations?metadata[a]=b+c&tag=t", 200, nil, id},
		"BareMetadata":     {"GET /v1/generations?metadata=x", 422, []string{"metadata invalid"}, "metadata[key]=value"},
		"NoKey":            {"GET /v1/generations?metadata[]=x", 422, []string{"metadata. invalid"}, "metadata[key]=value"},
		"OpenKey":          {"GET /v1/generations?metadata[a=x", 422, []string{"metadata.a invalid"}, "metadata[key]=value"},
		"KeyOfAKey":        {"GET /v1/generations?metadata[a][b]=x", 422, []string{"metadata.a.b invalid"}, "metadata[key]=value"},
		"OtherCase":        {"GET /v1/generations?Limit=5", 422, []string{"Limit unknown_parameter"}, "did you mean limit?"},
		"Several":          {"GET /v1/generations?limits=5&q=%00", 422, []string{"limits unknown_parameter", "q invalid"}, "did you mean limit?"},
		"NoName":           {"GET /v1/generations?=5", 422, []string{" unknown_parameter"}, "an empty name"},
		"TooMany":          {"GET /v1/generations?" + strings.Repeat("a&", 500), 400, nil, "more than"},
		"WaitOfTheBody":    {"POST /v1/generate?wait=5", 422, []string{"wait unknown_parameter"}, "send it in the body or as the header"},
		"SizeOfTheBody":    {"POST /v1/generate?size=5", 422, []string{"size unknown_parameter"}, "send it in the body"},
		"WaitTwice":        {"GET /v1/images/x/content?wait=1&wait=2", 422, []string{"wait conflict"}, "once"},
		"OfTheURLAlone":    {"GET /v1/images/" + store.ImageID(id, 0) + "/content?utm=%00", 202, nil, "queued"},
		"CancelNul":        {"POST /v1/generations/gen_%00/cancel", 404, nil, "not_found"},
		"CancelNotUTF8":    {"POST /v1/generations/%ff/cancel", 404, nil, "not_found"},
		"DeleteNul":        {"DELETE /v1/generations/gen_%00", 404, nil, "not_found"},
		"GetNul":           {"GET /v1/generations/gen_%00", 404, nil, "not_found"},
		"ModelNul":         {"GET /v1/models/%00", 404, nil, "not_found"},
		"ImageNul":         {"GET /v1/images/img_%00/content", 404, nil, "not_found"},
		"ImageNotUTF8":     {"GET /v1/images/%ff/content", 404, nil, "not_found"},
		"CodeNul":          {"GET /errors/%00", 404, nil, "not_found"},
	} {
		method, target, _ := strings.Cut(c.route, " ")
		a := b.do(b.live, method, target, "")
		if diff := cmp.Diff([]any{c.status, c.faults}, []any{a.status, a.faults()}); diff != "" || !strings.Contains(a.body, c.says) {
			t.Errorf("%s (-want +got), and it should say %q:\n%s\n%s", name, c.says, diff, a.body)
		}
		if strings.Contains(a.body, "wait; did you mean wait") || strings.Contains(a.body, "did you mean metadata?") {
			t.Errorf("%s: it offers what was sent: %s", name, a.body)
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	for _, path := range []string{
		"/", "/openapi.json", "/errors/not_found", "/v1/generations", "/v1/generations/" + id, "/v1/models", "/v1/models/banana",
	} {
		get, head := b.do(b.live, "GET", path, ""), b.do(b.live, "HEAD", path, "")
		for _, varying := range []string{"X-Request-Id", "Date", "Content-Length", "Transfer-Encoding"} {
			get.header.Del(varying)
			head.header.Del(varying)
		}
		if diff := cmp.Diff(get.header, head.header); head.status != 200 || head.body != "" || diff != "" {
			t.Errorf("%s: %d %q, headers (-GET +HEAD):\n%s", path, head.status, head.body, diff)
		}
	}
	for path, want := range map[string]int{"/v1/generations/gen_x": 404, "/v1/generations?limit=0": 422, "/v1/generations?%zz": 400} {
		if a := b.do(b.live, "HEAD", path, ""); a.status != want || a.body != "" {
			t.Errorf("HEAD %s: %d %q, want %d", path, a.status, a.body, want)
		}
	}
	if a := b.do("", "HEAD", "/v1/generations", ""); a.status != 401 {
		t.Errorf("without a key: %d", a.status)
	}
}
