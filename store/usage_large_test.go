package store_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// quick is how long a dashboard may wait for use.
const quick = 200 // milliseconds

// lastDay is where the use of a large service ends.
var lastDay = time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC)

// largeDays are one organization's, whose generations of 90 days are 10.4 million, of 20
// keys, 2 models and 3 sizes, among 1200 small ones.
const largeDays = `
		INSERT INTO usage_day (org_id, day, project_id, api_key_id, model, size, kind, succeeded, failed, images, credits, micros, provider_micros, latency)
		SELECT @org, d, 'proj_' || k % 5, 'key_' || k, 'model_' || m, size, 'generate',
			8 * 115, 8 * 5, 8 * 115, 8 * 230, 8 * 4600000, 8 * 2000000, array_fill(0, ARRAY[4]) || array_fill(8 * 23, ARRAY[5]) || array_fill(0, ARRAY[15])
		FROM generate_series(@last::timestamptz - interval '90 days', @last::timestamptz - interval '1 day', '1 day') AS d,
			generate_series(1, 20) AS k, generate_series(1, 2) AS m, unnest(ARRAY['1K', '2K', '4K']) AS size
		UNION ALL
		SELECT 'org_' || o, d, 'proj_o' || o, 'key_o' || o, 'model_1', '1K', 'generate', 1, 0, 1, 1, 20000, 10000, array_fill(0, ARRAY[23]) || 1
		FROM generate_series(@last::timestamptz - interval '90 days', @last::timestamptz - interval '1 day', '1 day') AS d, generate_series(1, 1200) AS o`

// largeHours are those of the last month.
const largeHours = `
		INSERT INTO usage_hour (org_id, hour, project_id, api_key_id, model, size, kind, succeeded, failed, images, credits, micros, provider_micros, latency)
		SELECT @org, h, 'proj_' || k % 5, 'key_' || k, 'model_' || m, (ARRAY['1K', '2K', '4K'])[1 + (extract(hour FROM h)::int + k) % 3], 'generate',
			115, 5, 115, 230, 4600000, 2000000, array_fill(0, ARRAY[4]) || array_fill(23, ARRAY[5]) || array_fill(0, ARRAY[15])
		FROM generate_series(@last::timestamptz - interval '31 days', @last::timestamptz - interval '1 hour', '1 hour') AS h,
			generate_series(1, 20) AS k, generate_series(1, 2) AS m
		UNION ALL
		SELECT 'org_' || o, h, 'proj_o' || o, 'key_o' || o, 'model_1', '1K', 'generate', 1, 0, 1, 1, 20000, 10000, array_fill(0, ARRAY[23]) || 1
		FROM generate_series(@last::timestamptz - interval '31 days', @last::timestamptz - interval '1 hour', '6 hours') AS h, generate_series(1, 1200) AS o`

// largeLedger is a tenth of the large organization's entries, which no query of use reads.
const largeLedger = `
		INSERT INTO credit_entry (org_id, period, kind, reserved, used, micros, created_at)
		SELECT @org, @last::timestamptz - interval '90 days', 'settle', -2, 2, 40000, @last::timestamptz - n * interval '70 seconds'
		FROM generate_series(1, 100000) AS n`

// large fills a database with what a large service has after 90 days, and returns its
// largest organization.
func (b *bundle) large(t *testing.T) (orgID string) {
	t.Helper()
	orgID = b.org(t, "pay_as_you_go")
	args := pgx.NamedArgs{"org": orgID, "last": lastDay}
	for _, sql := range append([]string{largeDays, largeHours}, slices.Repeat([]string{largeLedger}, 10)...) {
		if _, err := b.Pool().Exec(t.Context(), sql, args); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"usage_hour", "usage_day", "credit_entry"} {
		b.exec(t, `VACUUM ANALYZE `+table)
	}
	return orgID
}

// dashboards are what is asked of use.
func dashboards(orgID string) map[string]store.UsageFilter {
	days := func(n int, groups ...string) store.UsageFilter {
		return store.UsageFilter{OrgID: orgID, Start: lastDay.AddDate(0, 0, -n), End: lastDay, Daily: true, GroupBy: groups}
	}
	hours := func(n int, groups ...string) store.UsageFilter {
		f := days(n, groups...)
		f.Daily = false
		return f
	}
	project, page := days(90, store.UsageByKey), days(90, store.UsageGroups()...)
	project.ProjectIDs = []string{"proj_1"}
	page.Limit = 1000
	return map[string]store.UsageFilter{
		"7 days": days(7), "7 days by model": days(7, store.UsageByModel), "90 days": days(90), "90 days by key": days(90, store.UsageByKey),
		"90 days by key and model": days(90, store.UsageByKey, store.UsageByModel), "90 days of a project": project, "90 days, the first page": page,
		"1 day of hours by key": hours(1, store.UsageByKey), "7 days of hours": hours(7), "31 days of hours": hours(31), "31 days of hours by model": hours(31, store.UsageByModel),
	}
}

// Over 10 million entries, what a dashboard asks is answered at once, by a plan that
// reads no table whole, and exactly.
func TestUsage_Large(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.large(t)
	for name, f := range dashboards(org) {
		best, scanned := math.Inf(1), ""
		for n := 0; n < 3 || n < 20 && best >= quick; n++ { // others share the machine
			plan := b.explain(t, f)
			best, scanned = min(best, plan.Planning+plan.Execution), strings.Join(plan.Plan.scans(), ", ")
		}
		t.Logf("%s: %.1f ms, reads %s", name, best, scanned)
		if best >= quick {
			t.Errorf("%s takes %.0f ms, want less than %d", name, best, quick)
		}
		if strings.Contains(scanned, "Seq Scan") || !strings.Contains(scanned, "usage_") {
			t.Errorf("%s reads %s", name, scanned)
		}
	}
	rows, err := b.Usage(t.Context(), dashboards(org)["90 days"])
	if err != nil {
		t.Fatal(err)
	}
	const each, n = 20 * 2 * 24, 90
	got := summed(t, nil, rows)[""]
	want := store.UsageSums{Succeeded: n * each * 115, Failed: n * each * 5, Images: n * each * 115, Credits: n * each * 230, Micros: n * each * 4600000, ProviderMicros: n * each * 2000000}
	if diff := cmp.Diff(want, got); diff != "" || want.Generations() < 10_000_000 || len(rows) != n {
		t.Errorf("%d rows, %d generations (-want +got):\n%s", len(rows), want.Generations(), diff)
	}
}

// A plan is what EXPLAIN says of one part of a query.
type plan struct {
	Node     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Plans    []plan
}

// scans lists how the plan reads tables.
func (p plan) scans() (list []string) {
	if strings.Contains(p.Node, "Scan") {
		list = append(list, fmt.Sprint(p.Node, " of ", p.Relation, p.Index))
	}
	for _, part := range p.Plans {
		list = append(list, part.scans()...)
	}
	return list
}

type explained struct {
	Plan      plan
	Planning  float64 `json:"Planning Time"`
	Execution float64 `json:"Execution Time"`
}

// explain runs the statement of Usage as Usage does.
func (b *bundle) explain(t *testing.T, f store.UsageFilter) explained {
	t.Helper()
	sql, args := store.UsageSQL(f)
	var text []byte
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), store.ByIndex); err != nil {
			return err
		}
		return tx.Tx().QueryRow(t.Context(), `EXPLAIN (ANALYZE, FORMAT JSON) `+sql, pgx.QueryExecModeCacheDescribe, args).Scan(&text)
	})
	if err != nil {
		t.Fatal(err)
	}
	var plans []explained
	if err := json.Unmarshal(text, &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0]
}
