package api_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListGenerations_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var ids []string
	for i := range 5 {
		ids = append(ids, b.submit(b.live, fmt.Sprintf(`{"prompt":"%d"}`, i)))
	}
	b.submit(b.other, `{"prompt":"foreign"}`)
	for name, c := range map[string]struct {
		query string
		want  []string
		more  bool
		next  any
	}{
		"NewestFirst":     {"", []string{ids[4], ids[3], ids[2], ids[1], ids[0]}, false, nil},
		"Limit":           {"limit=2", []string{ids[4], ids[3]}, true, ids[3]},
		"After":           {"limit=2&after=" + ids[3], []string{ids[2], ids[1]}, true, ids[1]},
		"AfterTheLast":    {"after=" + ids[0], nil, false, nil},
		"Before":          {"limit=2&before=" + ids[1], []string{ids[3], ids[2]}, true, ids[3]},
		"BeforeAtStart":   {"limit=4&before=" + ids[1], []string{ids[4], ids[3], ids[2]}, false, nil},
		"Ascending":       {"order=asc&limit=2", []string{ids[0], ids[1]}, true, ids[1]},
		"AscendingAfter":  {"order=asc&after=" + ids[2], []string{ids[3], ids[4]}, false, nil},
		"AscendingBefore": {"order=asc&limit=1&before=" + ids[2], []string{ids[1]}, true, ids[1]},
	} {
		a := b.do(b.live, "GET", "/v1/generations?"+c.query, "")
		if diff := cmp.Diff(c.want, idsOf(a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]any{c.more, c.next}, []any{a.json["has_more"], a.json["next_cursor"]}); diff != "" {
			t.Errorf("%s: has_more, next_cursor (-want +got):\n%s", name, diff)
		}
	}
}

func TestListGenerations_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	red := b.done(b.live, `{"prompt":"A Red banana","tags":["fruit"],"metadata":{"color":"red","size":"s"}}`, []byte("x"))
	blue := b.submit(b.live, `{"prompt":"a blue one","model":"nano-banana-pro","metadata":{"color":"blue"}}`)
	middle := b.do(b.live, "GET", "/v1/generations/"+blue, "").json["created_at"].(string)
	for name, c := range map[string]struct {
		query string
		want  []string
	}{
		"Status":        {"status=queued", []string{blue}},
		"Kind":          {"kind=generate", []string{blue, red}},
		"ModelAsked":    {"model=nano-banana-pro", []string{blue}},
		"ModelUsed":     {"model=banana", []string{red}},
		"Tag":           {"tag=fruit", []string{red}},
		"Metadata":      {"metadata[color]=red", []string{red}},
		"TwoPairs":      {"metadata[color]=red&metadata[size]=m", nil},
		"Query":         {"q=red+BANANA", []string{red}},
		"CreatedAfter":  {"created_after=" + middle, nil},
		"CreatedBefore": {"created_before=" + middle, []string{red}},
		"OwnProject":    {"project_id=" + b.project.ID, []string{blue, red}},
		"Combined":      {"status=succeeded&tag=fruit&q=banana", []string{red}},
	} {
		a := b.do(b.live, "GET", "/v1/generations?"+c.query, "")
		if diff := cmp.Diff(c.want, idsOf(a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", name, diff, a.body)
		}
	}
}

func idsOf(a *answer) []string {
	var ids []string
	data, _ := a.json["data"].([]any)
	for _, g := range data {
		ids = append(ids, g.(map[string]any)["id"].(string))
	}
	return ids
}
