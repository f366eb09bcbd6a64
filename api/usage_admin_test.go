package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Operators see what each organization brings and costs, and all together.
func TestUsage_Admin(t *testing.T) {
	t.Parallel()
	s := setupSpenders(t)
	operator := s.person("operator@example.com", "")
	s.exec(`UPDATE account SET operator = true WHERE id = $1`, operator.id)
	s.live()
	s.comesTo(s.other, `{"prompt":"a banana"}`, -1)
	read := func(query string) (list struct {
		Total json.RawMessage
		Data  []map[string]any
		Next  *string `json:"next_cursor"`
	}) {
		t.Helper()
		a := s.do(operator.token, "GET", "/v1/admin/usage"+query, "")
		if a.status != 200 {
			t.Fatal(a.body)
		}
		s.must(json.Unmarshal([]byte(a.body), &list))
		return list
	}
	all := read("")
	sums := s.strings(`
		SELECT concat_ws(' ', org_id, sum(succeeded + failed + canceled + expired), sum(images), sum(credits), sum(micros), sum(provider_micros), sum(micros) - sum(provider_micros))
		FROM usage_hour GROUP BY org_id ORDER BY org_id DESC`)
	var got []string
	for _, o := range all.Data {
		got = append(got, fmt.Sprintf("%v %.0f %.0f %.0f %.0f %.0f %.0f", o["organization_id"], o["generations"], o["images"], o["credits"], o["revenue_micros"], o["provider_micros"], o["margin_micros"]))
		if o["name"] == nil || (o["margin"] == nil) != (o["revenue_micros"] == 0.0) {
			t.Errorf("%v", o)
		}
	}
	if diff := cmp.Diff(sums, got); diff != "" || len(got) != 2 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first := read("?limit=1")
	second := read("?limit=1&after=" + *first.Next)
	if diff := cmp.Diff(all.Data, append(first.Data, second.Data...)); diff != "" || second.Next != nil {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if string(first.Total) != string(all.Total) || !strings.Contains(string(all.Total), `"generations":15`) {
		t.Errorf("in sum %s, of the first page %s", all.Total, first.Total)
	}
	if a := s.do(operator.token, "GET", "/v1/admin/usage?end=9999-12-31T23:59:59Z", ""); fmt.Sprint(a.status, a.faults()) != "422 [end out_of_range]" {
		t.Errorf("to the end of time: %d %s", a.status, a.body)
	}
	if none := read("?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z"); len(none.Data) != 0 || !strings.Contains(string(none.Total), `"generations":0`) {
		t.Errorf("of another time: %v %s", none.Data, none.Total)
	}
}
