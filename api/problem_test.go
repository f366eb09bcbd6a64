package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.MaxBody = 4000 })
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		body   string
		header string
		status int
		code   string
		faults []string
	}{
		"BrokenJSON":        {`{"prompt":`, "", 400, "invalid_json", nil},
		"TrailingGarbage":   {`{"prompt":"x"} x`, "", 400, "invalid_json", nil},
		"EmptyBody":         {``, "Content-Type: application/json", 400, "invalid_json", nil},
		"List":              {`[]`, "", 422, "validation_failed", []string{" invalid_type"}},
		"Null":              {`null`, "", 422, "validation_failed", []string{" invalid_type"}},
		"NoPrompt":          {`{}`, "", 422, "validation_failed", []string{"prompt required"}},
		"BlankPrompt":       {`{"prompt":"  "}`, "", 422, "validation_failed", []string{"prompt required"}},
		"NullPrompt":        {`{"prompt":null}`, "", 422, "validation_failed", []string{"prompt invalid_type"}},
		"NumberAsPrompt":    {`{"prompt":5}`, "", 422, "validation_failed", []string{"prompt invalid_type"}},
		"NulInPrompt":       {`{"prompt":"a\u0000"}`, "", 422, "validation_failed", []string{"prompt invalid"}},
		"UnknownField":      {`{"prompt":"x","promt":"y"}`, "", 422, "validation_failed", []string{"promt unknown_parameter"}},
		"LaterField":        {`{"prompt":"x","response_format":"url"}`, "", 422, "validation_failed", []string{"response_format unknown_parameter"}},
		"UnknownModel":      {`{"prompt":"x","model":"sd"}`, "", 422, "validation_failed", []string{"model unsupported_value"}},
		"TextAsNumber":      {`{"prompt":"x","n":"2"}`, "", 422, "validation_failed", []string{"n invalid_type"}},
		"Fraction":          {`{"prompt":"x","n":1.5}`, "", 422, "validation_failed", []string{"n invalid_type"}},
		"WholeAsFraction":   {`{"prompt":"x","n":1.0}`, "", 422, "validation_failed", []string{"n invalid_type"}},
		"TooMany":           {`{"prompt":"x","n":11}`, "", 422, "validation_failed", []string{"n out_of_range"}},
		"None":              {`{"prompt":"x","n":0}`, "", 422, "validation_failed", []string{"n out_of_range"}},
		"Size":              {`{"prompt":"x","size":"1x1"}`, "", 422, "validation_failed", []string{"size unsupported_value"}},
		"Ratio":             {`{"prompt":"x","aspect_ratio":"7:3"}`, "", 422, "validation_failed", []string{"aspect_ratio unsupported_value"}},
		"SizeAgainstRatio":  {`{"prompt":"x","size":"1024x1024","aspect_ratio":"16:9"}`, "", 422, "validation_failed", []string{"aspect_ratio conflict"}},
		"Style":             {`{"prompt":"x","style":"grim"}`, "", 422, "validation_failed", []string{"style unsupported_value"}},
		"Format":            {`{"prompt":"x","format":"gif"}`, "", 422, "validation_failed", []string{"format unsupported_value"}},
		"OutputFormat":      {`{"prompt":"x","output_format":"gif"}`, "", 422, "validation_failed", []string{"output_format unsupported_value"}},
		"FormatsDiffer":     {`{"prompt":"x","format":"png","output_format":"webp"}`, "", 422, "validation_failed", []string{"output_format conflict"}},
		"Seed":              {`{"prompt":"x","seed":4294967296}`, "", 422, "validation_failed", []string{"seed out_of_range"}},
		"Compression":       {`{"prompt":"x","output_compression":101}`, "", 422, "validation_failed", []string{"output_compression out_of_range"}},
		"Background":        {`{"prompt":"x","background":"transparent"}`, "", 422, "validation_failed", []string{"background unsupported_value"}},
		"Deadline":          {`{"prompt":"x","deadline_seconds":86401}`, "", 422, "validation_failed", []string{"deadline_seconds out_of_range"}},
		"Wait":              {`{"prompt":"x","wait":121}`, "", 422, "validation_failed", []string{"wait out_of_range"}},
		"User":              {`{"prompt":"x","user":"` + long + `"}`, "", 422, "validation_failed", []string{"user too_long"}},
		"Tag":               {`{"prompt":"x","tags":["ok",""]}`, "", 422, "validation_failed", []string{"tags.1 too_long"}},
		"TagType":           {`{"prompt":"x","tags":["ok",7]}`, "", 422, "validation_failed", []string{"tags.1 invalid_type"}},
		"TagsType":          {`{"prompt":"x","tags":"ok"}`, "", 422, "validation_failed", []string{"tags invalid_type"}},
		"MetadataType":      {`{"prompt":"x","metadata":{"a":1}}`, "", 422, "validation_failed", []string{"metadata.a invalid_type"}},
		"MetadataTooLong":   {`{"prompt":"x","metadata":{"a":"` + long + long + `"}}`, "", 422, "validation_failed", []string{"metadata.a too_long"}},
		"Several":           {`{"size":"1x1","style":"grim","n":true,"foo":1}`, "", 422, "validation_failed", []string{"n invalid_type", "prompt required", "style unsupported_value", "foo unknown_parameter", "size unsupported_value"}},
		"TooLarge":          {`{"prompt":"` + strings.Repeat("x", 5000) + `"}`, "", 413, "payload_too_large", nil},
		"Form":              {`prompt=x`, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported_media_type", nil},
		"OddTypeOfContent":  {`{"prompt":"x"}`, "Content-Type: Application/JSON ; charset=utf-8", 202, "", nil},
		"OddTypesOfAnswers": {`{"prompt":"x"}`, "Accept: a;;q", 202, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := []string{}
			if c.header != "" {
				headers = append(headers, c.header)
			}
			a, err := b.try(t.Context(), b.live, "POST", "/v1/generations", c.body, headers...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{c.status, c.code, c.faults}, []any{a.status, a.code(), a.faults()}); diff != "" {
				t.Errorf("status, code, faults (-want +got):\n%s\n%s", diff, a.body)
			}
			for _, leak := range []string{"generationBody", "Go struct", "json:", "e+0"} {
				if strings.Contains(a.body, leak) {
					t.Errorf("the answer speaks of %q: %s", leak, a.body)
				}
			}
		})
	}
}

func TestBadQuery(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := store.NewGenerationID()
	for name, c := range map[string]struct {
		target string
		status int
		code   string
		faults []string
	}{
		"LimitTooLow":    {"/v1/generations?limit=0", 422, "validation_failed", []string{"limit out_of_range"}},
		"LimitTooHigh":   {"/v1/generations?limit=101", 422, "validation_failed", []string{"limit out_of_range"}},
		"LimitText":      {"/v1/generations?limit=many", 422, "validation_failed", []string{"limit invalid_type"}},
		"Order":          {"/v1/generations?order=up", 422, "validation_failed", []string{"order unsupported_value"}},
		"Status":         {"/v1/generations?status=done", 422, "validation_failed", []string{"status unsupported_value"}},
		"Time":           {"/v1/generations?created_after=yesterday", 422, "validation_failed", []string{"created_after invalid_type"}},
		"Unknown":        {"/v1/generations?limits=5", 422, "validation_failed", []string{"limits unknown_parameter"}},
		"NotYet":         {"/v1/generations?batch_id=x", 422, "validation_failed", []string{"batch_id unknown_parameter"}},
		"Cursor":         {"/v1/generations?after=gen_x", 400, "invalid_cursor", nil},
		"TwoCursors":     {"/v1/generations?after=" + id + "&before=" + id, 400, "invalid_cursor", nil},
		"ForeignProject": {"/v1/generations?project_id=proj_x", 404, "not_found", nil},
		"WaitTooLong":    {"/v1/generations/" + id + "?wait=61", 422, "validation_failed", []string{"wait out_of_range"}},
		"Model":          {"/v1/models/sd", 404, "not_found", nil},
	} {
		a := b.do(b.live, "GET", c.target, "")
		if diff := cmp.Diff([]any{c.status, c.code, c.faults}, []any{a.status, a.code(), a.faults()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", name, diff, a.body)
		}
	}
}

func TestProblemDocument(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x","sizes":"y"}`)
	const message = "sizes is not a parameter of this request; did you mean size?"
	want := map[string]any{
		"type": "/errors/validation_failed", "title": "Validation failed", "status": 422.0, "detail": message,
		"instance": "/v1/generations", "code": "validation_failed", "request_id": a.header.Get("X-Request-Id"),
		"retryable": false, "charged": false,
		"errors": []any{map[string]any{"param": "sizes", "code": "unknown_parameter", "message": message}},
		"error":  map[string]any{"message": message, "type": "invalid_request_error", "param": "sizes", "code": "validation_failed"},
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %s", got)
	}
	explained := b.do("", "GET", a.json["type"].(string), "")
	if explained.json["code"] != "validation_failed" || explained.json["status"] != 422.0 {
		t.Errorf("its type leads to %s", explained.body)
	}
	if a := b.do("", "GET", "/errors/nonsense", ""); a.status != 404 {
		t.Errorf("an unknown code: %d", a.status)
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	mistyped := "x"
	if b.live[20] == 'x' {
		mistyped = "y"
	}
	for name, c := range map[string]struct {
		header string
		status int
		code   string
	}{
		"Missing":      {"X-Other: 1", 401, "missing_api_key"},
		"Bearer":       {"Authorization: Bearer " + b.live, 200, ""},
		"LowerCase":    {"Authorization: bearer  " + b.live, 200, ""},
		"XAPIKey":      {"X-API-Key: " + b.live, 200, ""},
		"Basic":        {"Authorization: Basic dTpw", 401, "invalid_api_key"},
		"Mistyped":     {"Authorization: Bearer " + b.live[:20] + mistyped + b.live[21:], 401, "invalid_api_key"},
		"OtherService": {"Authorization: Bearer sk-123", 401, "invalid_api_key"},
	} {
		a := b.do("", "GET", "/v1/models", "", c.header)
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.code(), c.status, c.code)
		}
		if c.status == 401 && a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	key, row, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "n", Kind: store.KeyLive})
	b.must(err)
	_, err = b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID)
	b.must(err)
	if a := b.do(key, "GET", "/v1/models", ""); a.code() != "key_revoked" {
		t.Errorf("a revoked key: %d %s", a.status, a.body)
	}
}

// What belongs to another project does not exist.
func TestOtherProjectSeesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.done(b.live, `{"prompt":"x"}`, []byte("x"))
	for _, route := range []string{
		"GET /v1/generations/" + id, "GET /v1/generations/" + id + "?wait=5", "POST /v1/generations/" + id + "/cancel",
		"DELETE /v1/generations/" + id, "GET /v1/images/" + store.ImageID(id, 0) + "/content",
	} {
		method, path, _ := strings.Cut(route, " ")
		foreign := b.do(b.other, method, path, "")
		absent := b.do(b.other, method, strings.ReplaceAll(path, id[4:], store.NewGenerationID()[4:]), "")
		if foreign.status != 404 || foreign.code() != "not_found" {
			t.Errorf("%s: %d %s, want 404", route, foreign.status, foreign.body)
		}
		if !strings.Contains(path, "images") && foreign.json["detail"] != absent.json["detail"] {
			t.Errorf("%s: a foreign id (%v) is told from an absent one (%v)", route, foreign.json["detail"], absent.json["detail"])
		}
	}
	if a := b.do(b.live, "GET", "/v1/generations/"+id, ""); a.json["status"] != "succeeded" || a.json["data_removed"] != false {
		t.Errorf("it was touched: %s", a.body)
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		method, path string
		status       int
		code, allow  string
	}{
		"UnknownRoute": {"GET", "/v2/generations", 404, "not_found", ""},
		"UnknownID":    {"GET", "/v1/generations/gen_nonsense", 404, "not_found", ""},
		"WrongMethod":  {"PUT", "/v1/generations", 405, "method_not_allowed", "OPTIONS, GET, HEAD, POST"},
		"HeadOfPost":   {"HEAD", "/v1/generate", 405, "", "OPTIONS, POST"},
	} {
		a := b.do(b.live, c.method, c.path, "")
		if diff := cmp.Diff([]any{c.status, c.code, c.allow}, []any{a.status, a.code(), a.header.Get("Allow")}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: headers %v", name, a.header)
		}
	}
}

func TestChunkedBodyOverTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.MaxBody = 1000 })
	body := struct{ io.Reader }{strings.NewReader(`{"prompt":"` + strings.Repeat("x", 2000) + `"}`)} // of unknown length
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/v1/generations", body)
	b.must(err)
	req.Header.Set("Authorization", "Bearer "+b.live)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	b.must(err)
	b.must(resp.Body.Close())
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}
