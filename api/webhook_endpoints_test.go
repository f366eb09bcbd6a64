package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

const endpointBody = `{"url":"https://example.com/hook","events":["generation.*","generation.*"],"description":"all"}`

// newEndpoint makes a webhook endpoint and returns its path.
func (b *bundle) newEndpoint(key, body string) string {
	b.Helper()
	a := b.do(key, "POST", "/v1/webhook_endpoints", body)
	if a.status != http.StatusCreated {
		b.Fatalf("create endpoint: status %d, %s", a.status, a.body)
	}
	return a.header.Get("Location")
}

// last4s are the secrets that an answer lists.
func last4s(a *answer) (list []string) {
	secrets, _ := a.json["secrets"].([]any)
	for _, s := range secrets {
		list = append(list, s.(map[string]any)["last4"].(string))
	}
	return list
}

func TestCreateWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody)
	id, _ := a.json["id"].(string)
	secret, _ := a.json["secret"].(string)
	if a.status != 201 || a.header.Get("Location") != "/v1/webhook_endpoints/"+id || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, %v, %s", a.status, a.header, a.body)
	}
	if _, err := webhook.ParseSecret(secret); err != nil {
		t.Error(err)
	}
	want := map[string]any{
		"id": id, "object": "webhook_endpoint", "url": "https://example.com/hook", "events": []any{"generation.*"},
		"description": "all", "project_id": b.project.ID, "test": false, "api_version": "2026-11-01", "enabled": true,
		"disabled_at": nil, "disabled_reason": nil, "failing_since": nil, "created_at": a.json["created_at"], "secret": secret,
		"secrets": []any{map[string]any{"last4": secret[len(secret)-4:], "created_at": a.json["created_at"], "expires_at": nil}},
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(want, "secret") // it is shown once
	got := b.do(b.live, "GET", "/v1/webhook_endpoints/"+id, "")
	if diff := cmp.Diff(want, got.json); diff != "" || got.status != 200 {
		t.Errorf("read: status %d (-want +got):\n%s", got.status, diff)
	}
	kept, err := b.db.WebhookSecrets(t.Context(), b.project.OrgID, id)
	if err != nil || len(kept) != 1 || strings.Contains(string(kept[0].Sealed), secret) {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if opened, err := b.keyring.Open(kept[0].Sealed, b.project.OrgID, id); opened != secret {
		t.Errorf("what is kept opens to %q, %v", opened, err)
	}
}

func TestCreateWebhookEndpoint_Defaults(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.test, "POST", "/v1/webhook_endpoints", fmt.Sprintf(`{"url":"https://example.com","project_id":%q,"api_version":"2026-11-01","enabled":false}`, b.project.ID))
	got := []any{a.status, a.json["events"], a.json["description"], a.json["test"], a.json["enabled"], a.json["disabled_reason"]}
	want := []any{201, []any{"generation.succeeded", "generation.failed", "generation.canceled", "generation.expired"}, "", true, false, "asked"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, a.body)
	}
}

func TestWebhookEndpoint_Faults(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := b.newEndpoint(b.live, endpointBody)
	before := b.do(b.live, "GET", path, "").body
	for name, c := range map[string]struct {
		method, body string
		status       int
		code         string
		want         []string
	}{
		"NoURL":            {"POST", `{}`, 422, "validation_failed", []string{"url required"}},
		"HTTP":             {"POST", `{"url":"http://example.com"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"Loopback":         {"POST", `{"url":"https://127.0.0.1/"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"Metadata":         {"POST", `{"url":"https://169.254.169.254/latest"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"Port":             {"POST", `{"url":"https://example.com:22"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"NUL":              {"POST", `{"url":"https://example.com/\u0000"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"EmptyURL":         {"POST", `{"url":""}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"UnknownEvent":     {"POST", `{"url":"https://example.com","events":["generation.done"]}`, 422, "validation_failed", []string{"events unsupported_value"}},
		"NoEvents":         {"POST", `{"url":"https://example.com","events":[]}`, 422, "validation_failed", []string{"events required"}},
		"PatchTwoNulls":    {"PATCH", `{"url":null,"events":["*"],"enabled":null}`, 422, "validation_failed", []string{"enabled invalid_type", "url invalid_type"}},
		"PatchNull":        {"PATCH", `null`, 422, "validation_failed", []string{" invalid_type"}},
		"ManyEvents":       {"POST", `{"url":"https://example.com","events":["*"` + strings.Repeat(`,"*"`, webhook.MaxFilter) + `]}`, 422, "validation_failed", []string{"events too_long"}},
		"AllAtOnce":        {"POST", `{"url":"http://example.com","events":["x"],"description":"\u0000"}`, 422, "validation_failed", []string{"url webhook_url_forbidden", "events unsupported_value", "description invalid"}},
		"LongDescription":  {"POST", `{"url":"https://example.com","description":"` + strings.Repeat("x", 501) + `"}`, 422, "validation_failed", []string{"description too_long"}},
		"APIVersion":       {"POST", `{"url":"https://example.com","api_version":"2020-01-01"}`, 422, "validation_failed", []string{"api_version unsupported_value"}},
		"UnknownParameter": {"POST", `{"url":"https://example.com","secret":"mine"}`, 422, "validation_failed", []string{"secret unknown_parameter"}},
		"AnothersProject":  {"POST", `{"url":"https://example.com","project_id":"proj_other"}`, 404, "not_found", nil},
		"PatchURL":         {"PATCH", `{"url":"https://10.0.0.1"}`, 422, "webhook_url_forbidden", []string{"url webhook_url_forbidden"}},
		"PatchNullURL":     {"PATCH", `{"url":null}`, 422, "validation_failed", []string{"url invalid_type"}},
		"PatchNullEvents":  {"PATCH", `{"events":null}`, 422, "validation_failed", []string{"events invalid_type"}},
		"PatchNoEvents":    {"PATCH", `{"events":[]}`, 422, "validation_failed", []string{"events required"}},
		"PatchNullEnabled": {"PATCH", `{"enabled":null}`, 422, "validation_failed", []string{"enabled invalid_type"}},
		"PatchNullText":    {"PATCH", `{"description":null}`, 422, "validation_failed", []string{"description invalid_type"}},
		"PatchProject":     {"PATCH", `{"project_id":"proj_other"}`, 422, "validation_failed", []string{"project_id unknown_parameter"}},
		"PatchNoBody":      {"PATCH", ``, 400, "invalid_json", nil},
	} {
		target := path
		if c.method == "POST" {
			target = "/v1/webhook_endpoints"
		}
		a := b.do(b.live, c.method, target, c.body)
		if a.status != c.status || a.code() != c.code || !cmp.Equal(c.want, a.faults()) {
			t.Errorf("%s: status %d, code %s, faults %v, want %d %s %v; %s", name, a.status, a.code(), a.faults(), c.status, c.code, c.want, a.body)
		}
	}
	if after := b.do(b.live, "GET", path, "").body; after != before {
		t.Errorf("a refused change changed it:\n%s", cmp.Diff(before, after))
	}
	allowed := b.do(b.live, "POST", "/v1/webhook_endpoints", `{"url":"https://example.com","events":["x"]}`).json["errors"].([]any)[0].(map[string]any)["allowed"]
	if list, _ := allowed.([]any); !slices.Contains(list, any("generation.succeeded")) || !slices.Contains(list, any("*")) {
		t.Errorf("allowed: %v", allowed)
	}
}

func TestUpdateWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := b.newEndpoint(b.live, endpointBody)
	shown := func(a *answer) []any {
		return []any{a.status, a.json["url"], a.json["events"], a.json["description"], a.json["enabled"], a.json["disabled_reason"]}
	}
	const first, second = "https://example.com/hook", "https://example.com:8443/other"
	all, failed := []any{"generation.*"}, []any{"generation.failed"}
	for _, c := range []struct {
		name, method, path, body string
		want                     []any
	}{
		{"Nothing", "PATCH", "", `{}`, []any{200, first, all, "all", true, nil}},
		{"URL", "PATCH", "", `{"url":"https://example.com:8443/other"}`, []any{200, second, all, "all", true, nil}},
		{"Rest", "PATCH", "", `{"events":["generation.failed"],"description":""}`, []any{200, second, failed, "", true, nil}},
		{"Disabled", "PATCH", "", `{"enabled":false}`, []any{200, second, failed, "", false, "asked"}},
		{"Enabled", "PATCH", "", `{"enabled":true}`, []any{200, second, failed, "", true, nil}},
		{"Disable", "POST", "/disable", "", []any{200, second, failed, "", false, "asked"}},
		{"DisableTwice", "POST", "/disable", "", []any{200, second, failed, "", false, "asked"}},
		{"Enable", "POST", "/enable", "", []any{200, second, failed, "", true, nil}},
		{"EnableTwice", "POST", "/enable", "", []any{200, second, failed, "", true, nil}},
	} {
		a := b.do(b.live, c.method, path+c.path, c.body)
		if diff := cmp.Diff(c.want, shown(a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", c.name, diff, a.body)
		}
		if len(last4s(a)) != 1 || a.json["secret"] != nil {
			t.Errorf("%s: secrets %v, secret %v", c.name, last4s(a), a.json["secret"])
		}
		if read := b.do(b.live, "GET", path, ""); !cmp.Equal(a.json, read.json) {
			t.Errorf("%s: read otherwise:\n%s", c.name, cmp.Diff(a.json, read.json))
		}
	}
}

// What fails is shown, and enabling forgets it.
func TestEnableWebhookEndpoint_Failing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := b.newEndpoint(b.live, endpointBody)
	_, err := b.db.Pool().Exec(t.Context(), `
		UPDATE webhook_endpoint
		SET failing_since = '2026-11-01', disabled_at = '2026-11-06', disabled_reason = 'failing'`)
	b.must(err)
	shown := func(a *answer) []any {
		return []any{a.json["enabled"], a.json["disabled_at"], a.json["disabled_reason"], a.json["failing_since"]}
	}
	if diff := cmp.Diff([]any{false, "2026-11-06T00:00:00Z", "failing", "2026-11-01T00:00:00Z"}, shown(b.do(b.live, "GET", path, ""))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{true, nil, nil, nil}, shown(b.do(b.live, "POST", path+"/enable", ""))); diff != "" {
		t.Errorf("enabled (-want +got):\n%s", diff)
	}
}

func TestWebhookEndpoint_BelongsToItsProjectAndMode(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := b.newEndpoint(b.live, endpointBody)
	before := b.do(b.live, "GET", path, "").body
	for name, key := range map[string]string{"AnotherProject": b.other, "TestKey": b.test} {
		for _, c := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"PATCH", "", `{"enabled":false}`}, {"DELETE", "", ""}, {"POST", "/enable", ""}, {"POST", "/disable", ""},
			{"POST", "/rotate", ""}, {"POST", "/test", ""},
		} {
			if a := b.do(key, c.method, path+c.path, c.body); a.status != 404 || a.code() != "not_found" {
				t.Errorf("%s: %s %s: status %d, %s", name, c.method, c.path, a.status, a.body)
			}
		}
		if ids := idsOf(b.do(key, "GET", "/v1/webhook_endpoints", "")); len(ids) > 0 {
			t.Errorf("%s lists %v", name, ids)
		}
	}
	if after := b.do(b.live, "GET", path, "").body; after != before {
		t.Errorf("strangers changed it:\n%s", cmp.Diff(before, after))
	}
	for _, c := range []struct{ method, path string }{
		{"GET", "/v1/webhook_endpoints"}, {"POST", "/v1/webhook_endpoints"}, {"GET", path}, {"POST", path + "/rotate"},
		{"GET", "/v1/webhooks/default/secret"}, {"POST", "/v1/webhooks/default/rotate"},
	} {
		if a := b.do("", c.method, c.path, ""); a.status != 401 {
			t.Errorf("without a key: %s %s: status %d", c.method, c.path, a.status)
		}
	}
}

func TestWebhookEndpoint_Unknown(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, id := range []string{store.NewWebhookEndpointID(), "whep_x", "gen_06f0r3k8cg7q1v2m4n6p8s9tb0", "%00"} {
		for _, c := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"PATCH", "", `{"enabled":false}`}, {"DELETE", "", ""}, {"POST", "/enable", ""}, {"POST", "/rotate", `{}`}, {"POST", "/test", ""},
		} {
			if a := b.do(b.live, c.method, "/v1/webhook_endpoints/"+id+c.path, c.body); a.status != 404 || a.code() != "not_found" {
				t.Errorf("%s %s%s: status %d, %s", c.method, id, c.path, a.status, a.body)
			}
		}
	}
}

func TestDeleteWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	path := b.newEndpoint(b.live, endpointBody)
	for _, want := range []int{204, 404} {
		if a := b.do(b.live, "DELETE", path, ""); a.status != want {
			t.Errorf("status %d, want %d; %s", a.status, want, a.body)
		}
	}
	if a := b.do(b.live, "GET", path, ""); a.status != 404 {
		t.Errorf("afterwards: status %d", a.status)
	}
}

func TestListWebhookEndpoints(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if a := b.do(b.live, "GET", "/v1/webhook_endpoints", ""); a.body != `{"object":"list","data":[],"has_more":false,"first_id":null,"last_id":null,"next_cursor":null}`+"\n" {
		t.Errorf("without any: %s", a.body)
	}
	var ids []string
	for range 4 {
		path := b.newEndpoint(b.live, endpointBody)
		ids = append(ids, path[strings.LastIndex(path, "/")+1:])
	}
	b.newEndpoint(b.other, endpointBody)
	for name, c := range map[string]struct {
		query string
		want  []string
		more  bool
		next  any
	}{
		"NewestFirst":   {"", []string{ids[3], ids[2], ids[1], ids[0]}, false, nil},
		"Limit":         {"limit=2", []string{ids[3], ids[2]}, true, ids[2]},
		"After":         {"limit=2&after=" + ids[2], []string{ids[1], ids[0]}, false, nil},
		"Before":        {"limit=2&before=" + ids[0], []string{ids[2], ids[1]}, true, ids[2]},
		"BeforeAtStart": {"limit=3&before=" + ids[0], []string{ids[3], ids[2], ids[1]}, false, nil},
		"Ascending":     {"order=asc&limit=1&after=" + ids[0], []string{ids[1]}, true, ids[1]},
	} {
		a := b.do(b.live, "GET", "/v1/webhook_endpoints?"+c.query, "")
		if diff := cmp.Diff([]any{c.want, c.more, c.next}, []any{idsOf(a), a.json["has_more"], a.json["next_cursor"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if first := a.json["data"].([]any)[0].(map[string]any); len(first["secrets"].([]any)) != 1 || first["secret"] != nil {
			t.Errorf("%s: %v", name, first)
		}
	}
	for query, code := range map[string]string{
		"after=gen_06f0r3k8cg7q1v2m4n6p8s9tb0": "invalid_cursor", "before=x": "invalid_cursor", "after=" + ids[0] + "&before=" + ids[1]: "invalid_cursor",
		"limit=0": "validation_failed", "limit=101": "validation_failed", "order=up": "validation_failed", "enabled=true": "validation_failed",
	} {
		if a := b.do(b.live, "GET", "/v1/webhook_endpoints?"+query, ""); a.code() != code {
			t.Errorf("%s: status %d, code %s, want %s", query, a.status, a.code(), code)
		}
	}
}

func TestCreateWebhookEndpoint_Limit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var path string
	for range store.MaxWebhookEndpoints {
		path = b.newEndpoint(b.live, endpointBody)
	}
	if a := b.do(b.live, "POST", "/v1/webhook_endpoints", endpointBody); a.status != 409 || a.code() != "webhook_endpoint_limit" || a.header.Get("X-Should-Retry") != "false" {
		t.Errorf("one too many: status %d, %s", a.status, a.body)
	}
	b.newEndpoint(b.other, endpointBody)
	b.newEndpoint(b.test, endpointBody)
	b.do(b.live, "DELETE", path, "")
	b.newEndpoint(b.live, endpointBody)
}
