package store_test

import (
	"encoding/base32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// requestAt is the id of a request of some time ago, which has the layout of all.
func requestAt(t *testing.T, ago time.Duration) string {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	for i, ms := 5, time.Now().Add(-ago).UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
		id[i] = byte(ms)
	}
	made := "req_" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:])
	made = strings.ToLower(made)
	if !store.ValidRequestID(made) {
		t.Fatal(made)
	}
	return made
}

func idsOfRequests(rows []*store.LoggedRequest) []string {
	ids := []string{}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// Writing the same twice, as after an answer that was lost, is no error.
func TestRecordRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := "x"
	want := store.LoggedRequest{
		ID: store.NewRequestID(), OrgID: "org_1", ProjectID: &text, APIKeyID: &text, AccountID: &text, Method: "POST", Path: "/v1/generations",
		Operation: &text, Status: 402, Code: &text, Ms: 12, IP: "192.0.2.1", UserAgent: "curl", GenerationID: &text, Test: true,
		CreatedAt: time.Now().Truncate(time.Microsecond),
	}
	least := store.LoggedRequest{ID: store.NewRequestID(), OrgID: "org_1", CreatedAt: want.CreatedAt}
	for range 2 {
		if err := b.RecordRequests(t.Context(), []store.LoggedRequest{want, least}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []store.LoggedRequest{want, least} {
		got, err := b.LoggedRequest(t.Context(), "org_1", r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&r, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := b.LoggedRequest(t.Context(), "org_2", want.ID); err == nil {
		t.Error("another organization has found it")
	}
	bad := least
	bad.ID, bad.Path = store.NewRequestID(), "a\x00b"
	if err := b.RecordRequests(t.Context(), []store.LoggedRequest{bad}); !store.IsRejected(err) {
		t.Errorf("a text that no row can hold: %v", err)
	}
}

// Rows of different ages: the expired ones go in rounds, the oldest first, and a range
// of times selects those between.
func TestRequests_ByTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const day = 24 * time.Hour
	var rows []store.LoggedRequest
	var ids []string
	for _, ago := range []time.Duration{60 * day, 45 * day, 30*day + time.Minute, 30*day - time.Minute, day, 0} {
		rows = append(rows, store.LoggedRequest{ID: requestAt(t, ago), OrgID: "org_1", CreatedAt: time.Now().Add(-ago)})
		ids = append(ids, rows[len(rows)-1].ID)
	}
	if err := b.RecordRequests(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	list := func(f store.RequestFilter) []string {
		t.Helper()
		f.OrgID, f.Limit = "org_1", 10
		f.Ascending = true
		got, err := b.LoggedRequests(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return idsOfRequests(got)
	}
	ago := func(d time.Duration) *time.Time { at := time.Now().Add(-d); return &at }
	if diff := cmp.Diff(ids[1:5], list(store.RequestFilter{CreatedAfter: ago(50 * day), CreatedBefore: ago(time.Hour)})); diff != "" {
		t.Errorf("between (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids[2:3], list(store.RequestFilter{
		CreatedAfter: ago(50 * day), CreatedBefore: ago(time.Hour), Page: store.Page{After: ids[1], Before: ids[3]},
	})); diff != "" {
		t.Errorf("between, and behind another (-want +got):\n%s", diff)
	}
	for i, want := range [][]string{ids[2:], ids[3:], ids[3:]} {
		n, err := b.ExpireRequests(t.Context(), time.Now().Add(-store.RequestRetention), 2)
		if err != nil || n != []int{2, 1, 0}[i] {
			t.Errorf("round %d: %d, %v", i, n, err)
		}
		if diff := cmp.Diff(want, list(store.RequestFilter{})); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", i, diff)
		}
	}
}

// What is forgotten, and a page of a list, are found by an index.
func TestRequests_Plans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO request_log (id, org_id, method, path, status, ms, ip, user_agent, test, created_at)
		SELECT 'req_' || lpad(n::text, 26, '0'), 'org_' || n % 100, 'POST', '/', 200, 1, '', '', false, now() FROM generate_series(1, 50000) AS n`)
	exec(`ANALYZE request_log`)
	for what, c := range map[string]struct{ sql, index string }{
		"oldest": {`SELECT id FROM request_log WHERE id < 'req_1' ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED`, "request_log_pkey"},
		"page":   {`SELECT * FROM request_log WHERE org_id = 'org_7' AND id > '' AND id < '~' ORDER BY id DESC LIMIT 21`, "request_log_org"},
		"person": {`DELETE FROM request_log WHERE account_id = 'usr_1'`, "request_log_account"},
	} {
		rows, err := b.Pool().Query(t.Context(), `EXPLAIN `+c.sql)
		if err != nil {
			t.Fatal(err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			plan.WriteString(line + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan.String(), c.index) || strings.Contains(plan.String(), "Seq Scan") {
			t.Errorf("%s:\n%s", what, plan.String())
		}
	}
}

// What is rare among many is found without reading these.
func TestRequests_PlansOfRare(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, sql := range []string{
		`INSERT INTO request_log (id, org_id, method, path, status, ms, ip, user_agent, generation_id, test, created_at)
			SELECT 'req_' || lpad(n::text, 26, '0'), 'org_1', 'POST', '/', CASE WHEN n % 10000 = 0 THEN 503 ELSE 404 END, 1, '', '', 'gen_' || n / 2, false, now()
			FROM generate_series(1, 50000) AS n`,
		`ANALYZE request_log`,
	} {
		if _, err := b.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		filter store.RequestFilter
		index  string
		want   int
	}{
		{store.RequestFilter{Status: 5}, "request_log_broken", 5},
		{store.RequestFilter{Status: 503}, "request_log_broken", 5},
		{store.RequestFilter{Status: 500}, "request_log_broken", 0},
		{store.RequestFilter{GenerationID: "gen_7"}, "request_log_generation", 2},
		{store.RequestFilter{Status: 4}, "request_log_", 21},
	} {
		c.filter.OrgID, c.filter.Limit = "org_1", 21
		sql, args := store.RequestsSQL(c.filter)
		rows, err := b.Pool().Query(t.Context(), `EXPLAIN `+sql, pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, c.index) || strings.Contains(text, "Seq Scan") {
			t.Errorf("%+v:\n%s", c.filter, text)
		}
		found, err := b.LoggedRequests(t.Context(), c.filter)
		if err != nil || len(found) != c.want {
			t.Errorf("%+v: %d, %v; want %d", c.filter, len(found), err, c.want)
		}
	}
}

// BenchmarkRecordRequests measures what the log costs a request: the least of all
// rounds, of a thousand rows each.
func BenchmarkRecordRequests(b *testing.B) {
	db := storetest.New(b)
	text := "key_06f0r3k8cg7q1v2m4n6p8s9tb0"
	best := time.Hour
	for b.Loop() {
		rows := make([]store.LoggedRequest, 1000)
		for i := range rows {
			rows[i] = store.LoggedRequest{
				ID: store.NewRequestID(), OrgID: text, ProjectID: &text, APIKeyID: &text, Method: "POST", Path: "/v1/generations", Operation: &text,
				Status: 202, IP: "192.0.2.1", UserAgent: "curl/8.5.0", GenerationID: &text, CreatedAt: time.Now(),
			}
		}
		began := time.Now()
		if err := db.RecordRequests(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	b.ReportMetric(float64(best.Nanoseconds())/1000, "least-ns/row")
}
