package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// commandEntries are "actor action organization's target" of the audit log, the oldest
// first, with the names given for ids.
func commandEntries(t *testing.T, db *store.DB, names ...string) []string {
	t.Helper()
	log, err := db.AuditEntries(t.Context(), store.AuditFilter{Page: store.Page{Ascending: true, Limit: 100}})
	if err != nil {
		t.Fatal(err)
	}
	entries := []string{}
	for _, e := range log {
		org := "-"
		if e.OrgID != nil {
			org = *e.OrgID
		}
		line := strings.Join([]string{e.ActorKind, e.Action, org, e.TargetKind, e.TargetID, string(e.Before), string(e.After)}, " ")
		entries = append(entries, strings.NewReplacer(names...).Replace(line))
	}
	return entries
}

// Who switches a route is in the audit log, of the service as a whole.
func TestRoutes_Audited(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if err := db.SwitchRoute(t.Context(), "fast", true, "a test"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"drain", "fast"}, {"enable", "fast"}, {"drain", "none"}} {
		var out, errs bytes.Buffer
		run(t.Context(), append([]string{"routes", "--database-url=" + storetest.URL(db)}, args...), &out, &errs)
	}
	want := []string{
		`command route.drain - route fast {"state": "ready"} {"enabled": false}`,
		`command route.enable - route fast {"state": "drained"} {"enabled": true}`,
	}
	if diff := cmp.Diff(want, commandEntries(t, db)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
