package api_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// spenders are an organization whose use costs something, with people and two projects.
type spenders struct {
	*people
	owner   []string // headers
	second  *store.Project
	another string // a live key of second
}

func setupSpenders(t testing.TB) *spenders {
	t.Helper()
	s := &spenders{people: setupPeople(t)}
	s.exec(`UPDATE org SET plan = 'pay_as_you_go'`)
	owner := s.person("owner@example.com", auth.RoleOwner)
	s.owner = []string{"Authorization: Bearer " + owner.token, "NanoBanana-Organization: " + s.org}
	var err error
	s.second, err = s.db.CreateProject(t.Context(), s.org, "second")
	s.must(err)
	s.another = s.newKey(s.second, store.KeyLive)
	return s
}

// comesTo makes a generation of a key end with so many images; below 0: fail.
func (b *bundle) comesTo(key, body string, images int) string {
	b.Helper()
	id := b.submit(key, body)
	c := b.claim(id)
	o := &store.Outcome{Status: store.StatusFailed, Error: &store.GenerationError{Code: "content_moderated"}}
	o.Attempts = []*store.AttemptOutcome{{GenerationID: id, N: 1, Outcome: "blocked", FinishedAt: time.Now(), CostMicros: 500}}
	if images > 0 {
		o.Status, o.Error, o.Attempts[0].Outcome = store.StatusSucceeded, nil, store.AttemptSucceeded
	}
	for i := range c.N {
		if i < images {
			o.Images = append(o.Images, &store.NewImage{
				ID: store.ImageID(id, i), GenerationID: id, Index: i, BlobKey: fmt.Sprint("test/", id, i), MediaType: "image/png", Bytes: 1, Width: 1024, Height: 1024, SHA256: []byte{1},
			})
		} else if images > 0 {
			o.ImageErrors = append(o.ImageErrors, store.ImageError{Index: i, Error: store.GenerationError{Code: "content_moderated"}})
		}
	}
	b.end(c, o)
	return id
}

// live lets keys of both projects make what ends in each way there is.
func (s *spenders) live() {
	s.Helper()
	for _, key := range []string{s.bundle.live, s.another} {
		s.comesTo(key, `{"prompt":"a banana","n":3}`, 3)
		s.comesTo(key, `{"prompt":"a banana","n":3}`, 1)
		s.comesTo(key, `{"prompt":"a banana","n":2,"size":"2048x2048"}`, 2)
		s.comesTo(key, `{"prompt":"a banana","n":2}`, -1)
		s.do(key, "POST", "/v1/generations/"+s.submit(key, `{"prompt":"a banana"}`)+"/cancel", "")
		s.do(key, "DELETE", "/v1/generations/"+s.comesTo(key, `{"prompt":"a banana","size":"2048x2048"}`, 1), "")
		late := s.submit(key, `{"prompt":"a banana"}`)
		s.exec(`UPDATE generation SET deadline_at = now() - interval '1 minute' WHERE id = $1`, late)
		n, err := s.db.ExpireOverdue(s.Context(), 10)
		s.must(err)
		if n != 1 {
			s.Fatalf("%d expired", n)
		}
		s.submit(key, `{"prompt":"a banana"}`) // goes on
	}
	s.comesTo(s.test, `{"prompt":"a banana"}`, 1) // free
}

// recounted is what ended, from the entries, the generations and their images alone, as
// usage shows it.
const recounted = `
		SELECT concat_ws(' ', %s count(*), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
			count(*) FILTER (WHERE status = 'canceled'), count(*) FILTER (WHERE status = 'expired'),
			sum((SELECT count(*) FROM image WHERE generation_id = g.id)), sum(e.used), to_char(sum(e.micros) / 1e6, 'FM990.0000'))
		FROM credit_entry AS e JOIN generation AS g ON g.id = e.subject
		WHERE e.kind IN ('settle', 'release') AND g.org_id = $1 AND ($2 = '' OR g.project_id = $2)
		GROUP BY %s g.org_id
		ORDER BY 1`

// shown are the results of all buckets in the same form, by groups.
func shown(a *answer, groups ...string) (list []string) {
	data, _ := a.json["data"].([]any)
	for _, b := range data {
		for _, r := range b.(map[string]any)["results"].([]any) {
			result, line := r.(map[string]any), ""
			for _, name := range slices.Concat(groups, []string{"generations", "succeeded", "failed", "canceled", "expired", "images", "credits"}) {
				line += fmt.Sprint(result[name], " ")
			}
			list = append(list, line+result["cost"].(map[string]any)["amount"].(string))
		}
	}
	slices.Sort(list)
	return list
}

// Whoever asks, and by whatever it is grouped, use is what the entries say.
func TestUsage_IsWhatTheEntriesSay(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.live()
	faults, err := s.db.CreditFaults(t.Context())
	s.must(err)
	if len(faults) > 0 {
		t.Fatalf("%q", faults)
	}
	bearer := func(key string) []string { return []string{"Authorization: Bearer " + key} }
	columns := map[string]string{"api_key_id": "g.api_key_id", "project_id": "g.project_id", "model": "g.model_used", "size": "g.params ->> 'resolution'", "kind": "g.kind"}
	for who, c := range map[string]struct {
		headers        []string
		query, project string
	}{
		"master key":            {bearer(s.master), "", ""},
		"owner":                 {s.owner, "", ""},
		"owner, of one project": {s.owner, "&project_id=" + s.second.ID, s.second.ID},
		"key":                   {bearer(s.another), "", s.second.ID},
		"key, of its project":   {bearer(s.bundle.live), "&project_id=" + s.project.ID, s.project.ID},
		"key, by the hour":      {bearer(s.bundle.live), "&bucket=1h", s.project.ID},
	} {
		for _, groups := range [][]string{nil, {"api_key_id"}, {"project_id", "size"}, {"size", "kind", "model", "api_key_id", "project_id"}} {
			selected, query := "", "/v1/usage?group_by="+strings.Join(groups, ",")+c.query
			for _, g := range groups {
				selected += columns[g] + ", "
			}
			want := s.strings(fmt.Sprintf(recounted, selected, selected), s.org, c.project)
			if diff := cmp.Diff(want, shown(s.do("", "GET", query, "", c.headers...), groups...)); diff != "" || len(want) == 0 {
				t.Errorf("%s, %s (-want +got):\n%s", who, query, diff)
			}
		}
	}
}

// Nobody sees use of what is not theirs.
func TestUsage_OfOthers(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.live()
	stranger := "Authorization: Bearer " + s.other
	for query, headers := range map[string][]string{
		"?project_id=" + s.project.ID: {"Authorization: Bearer " + s.another}, "?project_id=x": {stranger},
	} {
		if a := s.do("", "GET", "/v1/usage"+query, "", headers...); a.status != 403 || a.code() != "permission_denied" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	a := s.do(s.another, "GET", "/v1/organization/costs?start_time=1&project_ids[]="+s.project.ID, "")
	if a.status != 403 {
		t.Errorf("costs of another project: %d %s", a.status, a.body)
	}
	for name, headers := range map[string][]string{"stranger": {stranger}, "test key": {"Authorization: Bearer " + s.test}} {
		if a := s.do("", "GET", "/v1/usage", "", headers...); a.status != 200 || shown(a) != nil {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a := s.do("", "GET", "/v1/usage/export.csv", "", headers...); a.status != 200 || strings.Count(a.body, "\n") != 1 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a := s.do("", "GET", "/v1/usage/summary", "", headers...); a.status != 200 || a.json["images"] != 0.0 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// many gives the organization use of 3 days by 600 keys.
func (s *spenders) many() {
	s.Helper()
	for _, table := range []string{"usage_hour (org_id, hour", "usage_day (org_id, day"} {
		s.exec(`
			INSERT INTO `+table+`, project_id, api_key_id, model, size, kind, succeeded, images, credits, micros, latency)
			SELECT $1, date_trunc('day', now(), 'UTC') - d * interval '1 day', $2, 'key_' || k, '=SUM(A1), "x"', '1K', 'generate', 1, 1, 2, 40000, array_fill(0, ARRAY[23]) || 1
			FROM generate_series(0, 4, 2) AS d, generate_series(1, 600) AS k`, s.org, s.project.ID)
	}
}

// Use of more groups than a page has comes in pages, with nothing twice and nothing
// left out.
func TestUsage_Pages(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.many()
	var starts, groups []string
	query, pages := "/v1/usage?group_by=model,api_key_id", 0
	for after := ""; ; pages++ {
		a := s.do(s.master, "GET", query+"&after="+after, "")
		if a.status != 200 {
			t.Fatal(a.body)
		}
		for _, b := range a.json["data"].([]any) {
			bucket := b.(map[string]any)
			starts = append(starts, bucket["start"].(string))
			for _, r := range bucket["results"].([]any) {
				groups = append(groups, bucket["start"].(string)+r.(map[string]any)["api_key_id"].(string))
			}
		}
		after = a.text("next_cursor")
		if more := a.json["has_more"] == true; more != (after != "") {
			t.Fatalf("has_more %v, next_cursor %q", more, after)
		}
		if after == "" {
			break
		}
		if a := s.do(s.master, "GET", "/v1/usage?after="+after, ""); a.code() != "invalid_cursor" {
			t.Errorf("a cursor of other use: %d %s", a.status, a.body)
		}
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(groups)))); pages != 1 || len(groups) != 1800 || n != 1800 {
		t.Errorf("%d pages, %d results, %d of them different", pages, len(groups), n)
	}
	// The fifth day's results go on behind the first page.
	if days := slices.Compact(slices.Clone(starts)); len(days) != 7 || !slices.IsSorted(days) || len(starts) != 8 {
		t.Errorf("buckets %q", starts)
	}
}

// A table has every row once, in a form that takes any name and is no formula.
func TestUsage_Export(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.many()
	a := s.do("", "GET", "/v1/usage/export.csv?group_by=model,api_key_id", "", s.owner...)
	lines := strings.Split(a.body, "\r\n")
	if len(lines) != 1802 || lines[1801] != "" {
		t.Fatalf("%d lines, %s", len(lines), a.body)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	first, then := today.AddDate(0, 0, -4).Format(time.RFC3339), today.AddDate(0, 0, -3).Format(time.RFC3339)
	want := []string{
		"start,end,model,api_key_id,generations,succeeded,failed,canceled,expired,images,credits,cost,currency,latency_p50_ms,latency_p90_ms,latency_p99_ms",
		first + "," + then + `,"'=SUM(A1), ""x""",key_1,1,1,0,0,0,1,2,0.0400,usd,608874,608874,608874`,
	}
	if diff := cmp.Diff(want, lines[:2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(lines)))); n != 1802 {
		t.Errorf("%d different lines", n)
	}
	name := fmt.Sprintf(`attachment; filename="usage_%s_%s.csv"`, today.AddDate(0, 0, -6).Format(time.DateOnly), today.AddDate(0, 0, 1).Format(time.DateOnly))
	got := []string{a.header.Get("Content-Disposition"), a.header.Get("Content-Type"), a.header.Get("Cache-Control")}
	if diff := cmp.Diff([]string{name, "text/csv; charset=utf-8; header=present", "no-store"}, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if a := s.do("", "HEAD", "/v1/usage/export.csv", "", s.owner...); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
}

// The summary of an organization that has asked for nothing says what it will find, and
// opens nothing; later it says what the account does.
func TestUsage_Summary(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.exec(`UPDATE org SET plan = 'free'`)
	summary := func(key string) map[string]any {
		t.Helper()
		a := s.do(key, "GET", "/v1/usage/summary", "")
		if a.status != 200 {
			t.Fatal(a.body)
		}
		return a.json
	}
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	want := map[string]any{
		"object": "usage_summary", "plan": "free", "period_start": month.Format(time.RFC3339), "resets_at": month.AddDate(0, 1, 0).Format(time.RFC3339),
		"metered": false, "granted": 50.0, "used": 0.0, "reserved": 0.0, "available": 50.0, "budget": nil, "images": 0.0,
		"spend": map[string]any{"amount": "0.0000", "currency": "usd"},
	}
	before := s.strings(`SELECT count(*) || ' ' || (SELECT count(*) FROM credit_entry) FROM credit_account`)
	if diff := cmp.Diff(want, summary(s.master)); diff != "" {
		t.Errorf("before any use (-want +got):\n%s", diff)
	}
	if after := s.strings(`SELECT count(*) || ' ' || (SELECT count(*) FROM credit_entry) FROM credit_account`); !slices.Equal(before, after) {
		t.Errorf("%q accounts and entries, before it was asked %q", after, before)
	}
	s.comesTo(s.bundle.live, `{"prompt":"a banana","n":3}`, 2)
	s.comesTo(s.another, `{"prompt":"a banana"}`, 1)
	s.submit(s.bundle.live, `{"prompt":"a banana","n":4}`)
	s.exec(`INSERT INTO budget (org_id, credits, alerts, hard_stop) VALUES ($1, 10, '{}', true)`, s.org)
	maps.Copy(want, map[string]any{
		"used": 3.0, "reserved": 4.0, "available": 43.0, "images": 3.0, "budget": map[string]any{"credits": 10.0, "left": 3.0, "hard_stop": true},
	})
	if diff := cmp.Diff(want, summary(s.master)); diff != "" {
		t.Errorf("after some (-want +got):\n%s", diff)
	}
	want["images"] = 2.0
	if diff := cmp.Diff(want, summary(s.bundle.live)); diff != "" {
		t.Errorf("of a project (-want +got):\n%s", diff)
	}
	s.exec(`UPDATE credit_account SET metered = true WHERE org_id = $1`, s.org)
	if got := summary(s.master)["available"]; got != nil {
		t.Errorf("a metered plan has %v available", got)
	}
}

// The OpenAI API's forms, with its own parameters in the forms that its clients send.
func TestUsage_OpenAI(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	s.live()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	bucket := func(days int, results ...any) map[string]any {
		at := today.AddDate(0, 0, days)
		return map[string]any{"object": "bucket", "start_time": float64(at.Unix()), "end_time": float64(at.AddDate(0, 0, 1).Unix()), "results": append([]any{}, results...)}
	}
	page := func(next any, buckets ...any) map[string]any {
		return map[string]any{"object": "page", "data": buckets, "has_more": next != nil, "next_page": next}
	}
	images := func(project, size any, requests, n float64) map[string]any {
		return map[string]any{
			"object": "organization.usage.images.result", "images": n, "num_model_requests": requests, "source": "image.generation",
			"size": size, "project_id": project, "user_id": nil, "api_key_id": nil, "model": nil,
		}
	}
	costs := func(project any, value float64) map[string]any {
		return map[string]any{
			"object": "organization.costs.result", "amount": map[string]any{"value": value, "currency": "usd"},
			"line_item": nil, "project_id": project, "api_key_id": nil,
		}
	}
	total := 0.0
	s.must(s.db.Pool().QueryRow(t.Context(), `SELECT sum(micros)::float8 / 1e6 FROM credit_entry WHERE org_id = $1`, s.org).Scan(&total))
	since := fmt.Sprint("?start_time=", today.AddDate(0, 0, -1).Unix())
	brackets := "&" + url.QueryEscape("group_by[]") + "="
	for query, want := range map[string]any{
		"/v1/organization/costs" + since:                                                     page(nil, bucket(-1), bucket(0, costs(nil, total))),
		"/v1/organization/costs" + since + "&limit=1":                                        page(fmt.Sprint("page_", today.Unix()), bucket(-1)),
		"/v1/organization/costs" + since + fmt.Sprint("&limit=1&page=page_", today.Unix()):   page(nil, bucket(0, costs(nil, total))),
		"/v1/organization/costs" + since + "&group_by=project_id&project_ids=" + s.second.ID: page(nil, bucket(-1), bucket(0, costs(s.second.ID, total/2))),
		"/v1/organization/usage/images" + since + brackets + "size" + brackets + "source": page(nil, bucket(-1),
			bucket(0, images(nil, "1K", 10, 8), images(nil, "2K", 4, 6))),
		"/v1/organization/usage/images" + since + "&sizes=2K,4K&group_by=project_id&group_by=source&project_ids=" + s.project.ID: page(nil, bucket(-1),
			bucket(0, images(s.project.ID, nil, 2, 3))),
	} {
		a := s.do(s.master, "GET", query, "")
		if diff := cmp.Diff(want, any(a.json)); diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", query, a.status, diff)
		}
	}
}
