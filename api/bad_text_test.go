package api_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs/mail"
)

// badTexts are what no row can hold, and what is far too long, in front of what a
// request would have there. In JSON, a byte is either itself or escaped.
var badTexts = map[string]struct{ plain, json string }{
	"NUL":  {"a\x00b", `a\u0000b`},
	"0xFF": {"a\xffb", "a\xffb"},
	"long": {strings.Repeat("x", 10<<10), strings.Repeat("x", 10<<10)},
}

// badHeaders are those whose value something may keep, look up or compare.
var badHeaders = []string{
	"Authorization", "User-Agent", "Nanobanana-Organization", "Nanobanana-Project", "Nanobanana-Mode", "Idempotency-Key", "X-Request-Id", "X-Api-Key",
	"X-Forwarded-For", "X-Forwarded-Proto", "Last-Event-Id", "If-None-Match", "Prefer", "X-Csrf-Token", "Cookie", "Origin", "Content-Type", "Range",
}

// A described operation has what of its input the document tells.
type described struct {
	operation
	query, params []string
	members       [][]string // of the body, that are text: the names that lead there
}

type schema struct {
	Ref        string          `json:"$ref"`
	Type       any             `json:"type"`
	Properties map[string]any  `json:"properties"`
	Items      json.RawMessage `json:"items"`
	Additional json.RawMessage `json:"additionalProperties"`
}

// describedOperations reads what operations take.
func describedOperations(t testing.TB) []described {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In, Style string }
			Body       struct {
				Content map[string]struct{ Schema json.RawMessage }
			} `json:"requestBody"`
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var list []described
	for _, op := range operations(t) {
		said := doc.Paths[op.path][strings.ToLower(op.method)]
		d := described{operation: op}
		for _, p := range said.Parameters {
			switch {
			case p.In == "path":
				d.params = append(d.params, p.Name)
			case p.Style == "deepObject":
				d.query = append(d.query, p.Name+"[k]")
			case p.In == "query":
				d.query = append(d.query, p.Name)
			}
		}
		d.members = textsOf(t, doc.Components.Schemas, said.Body.Content["application/json"].Schema, nil)
		list = append(list, d)
	}
	return list
}

// textsOf lists the paths to every text within a schema.
func textsOf(t testing.TB, known map[string]json.RawMessage, raw json.RawMessage, at []string) (paths [][]string) {
	t.Helper()
	var s schema
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || len(at) > 5 {
		return nil
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return textsOf(t, known, known[name], at)
	}
	kinds, ok := s.Type.([]any)
	if !ok {
		kinds = []any{s.Type}
	}
	if slices.Contains(kinds, "string") {
		paths = append(paths, slices.Clone(at))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		part, err := json.Marshal(s.Properties[name])
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, textsOf(t, known, part, append(slices.Clone(at), name))...)
	}
	paths = append(paths, textsOf(t, known, s.Items, append(slices.Clone(at), "[]"))...)
	return append(paths, textsOf(t, known, s.Additional, append(slices.Clone(at), "k"))...)
}

// withMember returns a body in which a member, and those around it, is a value.
func withMember(value any, at []string, text string) any {
	if len(at) == 0 {
		before, _ := value.(string)
		return before + text
	}
	if at[0] == "[]" {
		return []any{withMember(nil, at[1:], text)}
	}
	object, _ := value.(map[string]any)
	object = maps.Clone(object)
	if object == nil {
		object = map[string]any{}
	}
	object[at[0]] = withMember(object[at[0]], at[1:], text)
	return object
}

// send asks without a network, which would refuse some headers by itself.
func (m *matrix) send(op operation, why, caller, path, body string, headers ...string) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, op.method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("X-Forwarded-For", strings.TrimPrefix(m.anotherAddress(), "X-Forwarded-For: "))
	for _, h := range slices.Concat(m.headers[caller], headers) {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, r)
	if w.Code >= 500 {
		m.Errorf("%s by %s with %s: %d %s", op.id, caller, why, w.Code, w.Body)
	}
	if op.method != "GET" && op.method != "HEAD" && w.Code < 300 {
		delete(m.targets, operationRows[op.id].target)
	}
}

// strain asks for an operation with a bad text in every place that takes one.
func (m *matrix) strain(op described, caller string) {
	m.Helper()
	row := operationRows[op.id]
	fresh := func() (path, body string, params map[string]string) {
		params = m.target(row.target)
		words := strings.NewReplacer("PROJECT", m.project.ID, "ORG", m.org, "GUEST", params["email"])
		return fill(op.path, params) + words.Replace(row.query), words.Replace(row.body), params
	}
	for name, bad := range badTexts {
		for _, p := range op.params {
			_, body, params := fresh()
			for _, before := range []string{"", params[p]} {
				changed := maps.Clone(params)
				changed[p] = url.PathEscape(before + bad.plain)
				m.send(op.operation, name+" in path "+p, caller, fill(op.path, changed), body)
			}
		}
		for _, q := range op.query {
			path, body, _ := fresh()
			path, _, _ = strings.Cut(path, "?")
			m.send(op.operation, name+" in query "+q, caller, path+"?"+url.QueryEscape(q)+"="+url.QueryEscape(bad.plain), body)
		}
		for _, h := range badHeaders {
			path, body, _ := fresh()
			m.send(op.operation, name+" in header "+h, caller, path, body, h+": "+bad.plain)
		}
		path, body, _ := fresh()
		m.send(op.operation, name+" in cookies", caller, path, body, "Cookie: nb_refresh="+bad.plain+".1.x; nb_csrf="+bad.plain, "X-CSRF-Token: "+bad.plain)
		for _, at := range op.members {
			path, body, _ := fresh()
			for _, base := range []string{body, ""} {
				var object any
				if base != "" {
					m.must(json.Unmarshal([]byte(base), &object))
				}
				text, err := json.Marshal(withMember(object, at, "@BAD@"))
				m.must(err)
				m.send(op.operation, name+" in member "+strings.Join(at, "."), caller, path, strings.ReplaceAll(string(text), "@BAD@", bad.json))
			}
		}
	}
}

// No text in a request makes the service fail, whoever sends it and wherever.
func TestBadText(t *testing.T) {
	t.Parallel()
	ops := describedOperations(t)
	_, byClass := expectations()
	for class, expect := range byClass {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			m := newMatrix(t)
			for _, op := range ops {
				if operationRows[op.id].class != class {
					continue
				}
				who := []string{"owner", "operator"} // people say in headers where they ask
				may := slices.IndexFunc(who, func(caller string) bool { return expect[caller] == "ok" })
				if may < 0 {
					t.Fatalf("nobody may ask for %s", op.id)
				}
				m.strain(op, who[may])
			}
		})
	}
}

// The same of pages and forms, which are not in the document.
func TestBadText_Pages(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	for name, bad := range badTexts {
		text := url.QueryEscape(bad.plain)
		for _, path := range []string{mail.VerifyPath, mail.ResetPath, mail.InvitationPath, "/errors/x", "/no/such/route"} {
			op := operation{id: "page", method: "GET"}
			m.send(op, name, "", path+"?token="+text, "")
			m.send(op, name, "", path+"/"+url.PathEscape(bad.plain), "")
			op.method = "POST"
			m.send(op, name, "", path, "token="+text+"&password="+text, "Content-Type: application/x-www-form-urlencoded")
		}
	}
}
