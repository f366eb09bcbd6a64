package api_test

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// data are the entries of a list.
func (a *answer) data() []map[string]any {
	var list []map[string]any
	entries, _ := a.json["data"].([]any)
	for _, e := range entries {
		list = append(list, e.(map[string]any))
	}
	return list
}

// exec changes rows as other parts of the service do.
func (b *bundle) exec(sql string, args ...any) {
	b.Helper()
	_, err := b.db.Pool().Exec(b.Context(), sql, args...)
	b.must(err)
}

// eventID is that of a generation's event of a step.
func eventID(generation, step string) string { return "evt_" + generation[4:29] + step }

func TestListEvents_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var ids []string
	for range 5 {
		ids = append(ids, eventID(b.submit(b.live, `{"prompt":"x"}`), "4"))
	}
	b.submit(b.other, `{"prompt":"foreign"}`)
	test := eventID(b.submit(b.test, `{"prompt":"x"}`), "4")
	for name, c := range map[string]struct {
		query string
		want  []string
		more  bool
		next  any
	}{
		"OldestFirst":     {"", ids, false, nil},
		"Limit":           {"limit=2", ids[:2], true, "2"},
		"AfterNumber":     {"limit=2&after=2", ids[2:4], true, "4"},
		"AfterID":         {"limit=2&after=" + ids[1], ids[2:4], true, "4"},
		"AfterZero":       {"limit=1&after=0", ids[:1], true, "1"},
		"AfterZeroDesc":   {"limit=1&after=0&order=desc", ids[4:], true, "5"},
		"AfterAll":        {"after=5", nil, false, nil},
		"AfterTheFuture":  {"after=" + strconv.FormatInt(math.MaxInt64, 10), nil, false, nil},
		"Before":          {"limit=2&before=" + ids[4], ids[2:4], true, "3"},
		"BeforeTheFuture": {"limit=1&before=2147483648", ids[4:], true, "5"},
		"BeforeTheEnd":    {"limit=1&before=9223372036854775807", ids[4:], true, "5"},
		"BeforeAtStart":   {"limit=2&before=3", ids[:2], false, nil},
		"Descending":      {"order=desc&limit=2", []string{ids[4], ids[3]}, true, "4"},
		"DescendingAfter": {"order=desc&after=2", []string{ids[0]}, false, nil},
		"DescendingUntil": {"order=desc&limit=1&before=3", []string{ids[3]}, true, "4"},
		"Type":            {"type=generation.queued&limit=1", ids[:1], true, "1"},
		"Group":           {"type=generation.*&after=4", ids[4:], false, nil},
		"NoneOfTheType":   {"type=test.ping", nil, false, nil},
	} {
		a := b.do(b.live, "GET", "/v1/events?"+c.query, "")
		if diff := cmp.Diff(c.want, idsOf(a)); diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", name, a.status, diff)
		}
		if diff := cmp.Diff([]any{c.more, c.next}, []any{a.json["has_more"], a.json["next_cursor"]}); diff != "" {
			t.Errorf("%s: has_more, next_cursor (-want +got):\n%s", name, diff)
		}
		if len(c.want) > 0 && (a.json["first_id"] != c.want[0] || a.json["last_id"] != c.want[len(c.want)-1]) {
			t.Errorf("%s: first_id %v, last_id %v", name, a.json["first_id"], a.json["last_id"])
		}
	}
	if got := idsOf(b.do(b.test, "GET", "/v1/events", "")); !cmp.Equal([]string{test}, got) {
		t.Errorf("the test key sees %v", got)
	}
}

func TestListEvents_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	live := eventID(b.submit(b.live, `{"prompt":"x"}`), "4")
	for name, c := range map[string]struct {
		query  string
		status int
		code   string
		says   string
	}{
		"NoCursor":       {"after=x", 400, "invalid_cursor", "nor a sequence number from 1 on, such as 17"},
		"Negative":       {"after=-1", 400, "invalid_cursor", "sequence number"},
		"Signed":         {"after=%2B1", 400, "invalid_cursor", "sequence number"},
		"TooLarge":       {"after=9223372036854775808", 400, "invalid_cursor", "sequence number"},
		"BeforeZero":     {"before=0", 400, "invalid_cursor", "a sequence number from 1 on, such as 17"},
		"Gone":           {"before=" + store.NewEventID(), 400, "invalid_cursor", "send a sequence number such as 17"},
		"Both":           {"after=1&before=" + live, 400, "invalid_cursor", "exclude each other"},
		"Type":           {"type=generation.dreamt", 422, "validation_failed", `"generation.dreamt" is not an event`},
		"Limit":          {"limit=101", 422, "validation_failed", "at most"},
		"ProjectUnknown": {"project_id=x", 422, "validation_failed", "not a query parameter"},
	} {
		a := b.do(b.live, "GET", "/v1/events?"+c.query, "")
		if detail, _ := a.json["detail"].(string); a.status != c.status || a.code() != c.code || !strings.Contains(detail, c.says) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for name, key := range map[string]string{"another project": b.other, "test": b.test} {
		if a := b.do(key, "GET", "/v1/events?after="+live, ""); a.code() != "invalid_cursor" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a := b.do(key, "GET", "/v1/events/"+live, ""); a.status != 404 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for _, id := range []string{"evt_1", store.NewEventID(), "%00", "gen_1"} {
		if a := b.do(b.live, "GET", "/v1/events/"+id, ""); a.status != 404 {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
	if a := b.do("", "GET", "/v1/events", ""); a.status != 401 {
		t.Errorf("without a key: %d", a.status)
	}
}

// Each event tells of its generation as it was then.
func TestEvents_Data(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","n":1,"metadata":{"order":"17"}}`)
	c := b.claim(id)
	b.exec(`INSERT INTO event_sequence AS s VALUES ($1, 1) ON CONFLICT (org_id) DO UPDATE SET last = s.last + 1`, b.project.OrgID)
	b.exec(`INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at, data)
		SELECT $1, org_id, $2, last, 'generation.progress', false, now(), '{"progress":0.4}' FROM event_sequence WHERE org_id = $3`,
		eventID(id, "g"), b.project.ID, b.project.OrgID)
	b.finish(c, []byte("x"))
	events := b.do(b.live, "GET", "/v1/events", "").data()
	got := [][]any{}
	for i, e := range events {
		g := e["data"].(map[string]any)
		got = append(got, []any{e["type"], g["status"], g["progress"], g["started_at"] != nil, g["completed_at"] != nil, len(g["attempts"].([]any))})
		if e["sequence"] != float64(i+1) || e["object"] != "event" || e["api_version"] != "2026-11-01" || e["project_id"] != b.project.ID || g["id"] != id {
			t.Errorf("event %d: %v", i, e)
		}
		alone := b.do(b.live, "GET", "/v1/events/"+e["id"].(string), "")
		if diff := cmp.Diff(e, alone.json); diff != "" || alone.status != http.StatusOK {
			t.Errorf("alone (-list +alone):\n%s", diff)
		}
	}
	want := [][]any{
		{"generation.queued", "queued", 0.0, false, false, 0},
		{"generation.started", "processing", 0.0, true, false, 0},
		{"generation.progress", "processing", 0.4, true, false, 0},
		{"generation.succeeded", "succeeded", 1.0, true, true, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	now := b.do(b.live, "GET", "/v1/generations/"+id, "").json
	if diff := cmp.Diff(now, events[3]["data"]); diff != "" {
		t.Errorf("the end is not what GET answers (-want +got):\n%s", diff)
	}
	if a := b.do(b.live, "DELETE", "/v1/generations/"+id, ""); a.status != 204 {
		t.Fatal(a.status)
	}
	for _, e := range b.do(b.live, "GET", "/v1/events", "").data() {
		if g := e["data"].(map[string]any); g["data_removed"] != true || g["prompt"] != "" || len(g["metadata"].(map[string]any)) > 0 {
			t.Errorf("after removal: %v", g)
		}
	}
}

// An event of no generation keeps its data in the row.
func TestEvents_OtherData(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id, bare := store.NewEventID(), store.NewEventID()
	for i, e := range [][2]any{{id, `{"endpoint_id":"whep_1"}`}, {bare, nil}} {
		b.exec(`INSERT INTO event (id, org_id, project_id, sequence, type, test, created_at, data)
			VALUES ($1, $2, $3, $4, 'test.ping', false, now(), $5)`, e[0], b.project.OrgID, b.project.ID, i+1, e[1])
	}
	var got []any
	for _, e := range b.do(b.live, "GET", "/v1/events?type=test.*", "").data() {
		got = append(got, e["id"], e["data"])
	}
	if diff := cmp.Diff([]any{id, map[string]any{"endpoint_id": "whep_1"}, bare, map[string]any{}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A long prompt makes no event longer than a webhook may be.
func TestEvents_AreShort(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, fmt.Sprintf(`{"prompt":"%s"}`, strings.Repeat("x", 32_000)))
	a := b.do(b.live, "GET", "/v1/events/"+eventID(id, "4"), "")
	data := a.json["data"].(map[string]any)
	if len(a.body) > 20_000 || !cmp.Equal([]any{"prompt"}, data["truncated"]) {
		t.Errorf("%d bytes, truncated %v", len(a.body), data["truncated"])
	}
}

func TestListEvents_FewQueries(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for range 25 {
		b.done(b.live, `{"prompt":"x","webhook_url":"https://example.com/"}`, []byte("x"))
	}
	before := b.db.Pool().Stat().AcquireCount()
	a := b.do(b.live, "GET", "/v1/events?limit=75", "")
	if n := len(a.data()); n != 75 {
		t.Fatalf("%d events: %s", n, a.body)
	}
	// The events, their generations, and of those the images, attempts and deliveries.
	if queries := b.db.Pool().Stat().AcquireCount() - before; queries > 5 {
		t.Errorf("%d queries", queries)
	}
}
