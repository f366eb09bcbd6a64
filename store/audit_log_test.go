package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// note writes an entry of the bundle's organization about a target.
func (b *bundle) note(t *testing.T, db *store.DB, target string, change ...func(*store.AuditEntry)) {
	t.Helper()
	e := store.AuditEntry{
		OrgID: &b.project.OrgID, ActorKind: store.ActorAccount, ActorID: "usr_1", IP: "192.0.2.1", UserAgent: "test", RequestID: "req_1",
		Action: "key.create", TargetKind: "key", TargetID: target, After: []byte(`{"name": "k"}`),
	}
	for _, c := range change {
		c(&e)
	}
	if err := db.RecordAudit(t.Context(), e); err != nil {
		t.Error(err)
	}
}

// targets lists what a filter selects, by target.
func (b *bundle) targets(t *testing.T, f store.AuditFilter) (list []string) {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 1000
	}
	page, err := b.AuditEntries(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		list = append(list, r.TargetID)
	}
	return list
}

func TestRecordAudit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.DB, "key_1", func(e *store.AuditEntry) { e.ProjectID, e.Before = &b.project.ID, []byte(`{"name": "before"}`) })
	got, err := b.AuditEntries(t.Context(), store.AuditFilter{Page: store.Page{Limit: 10}})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	want := &store.AuditRecord{Sequence: got[0].Sequence, AuditEntry: store.AuditEntry{
		ID: got[0].ID, OrgID: &b.project.OrgID, ProjectID: &b.project.ID, At: got[0].At, ActorKind: "account", ActorID: "usr_1",
		IP: "192.0.2.1", UserAgent: "test", RequestID: "req_1", Action: "key.create", TargetKind: "key", TargetID: "key_1",
		Before: []byte(`{"name": "before"}`), After: []byte(`{"name": "k"}`),
	}}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !store.ValidAuditEntryID(got[0].ID) || time.Since(got[0].At) > time.Minute {
		t.Errorf("id %s, at %s", got[0].ID, got[0].At)
	}
}

// Nobody changes what is written, not even the owner of the table, which the tests'
// role is.
func TestAuditEntries_AreNeverChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.DB, "key_1")
	for _, sql := range []string{
		`UPDATE audit_entry SET actor_id = 'usr_2'`,
		`UPDATE audit_entry SET actor_id = 'usr_2' WHERE false`,
		`DELETE FROM audit_entry`,
		`TRUNCATE audit_entry`,
	} {
		if _, err := b.Pool().Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "never changed") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if diff := cmp.Diff([]string{"key_1"}, b.targets(t, store.AuditFilter{})); diff != "" {
		t.Error(diff)
	}
}

// What a transaction writes is there with it or not at all.
func TestAuditEntries_AreOfTheirTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failed := errors.New("failed")
	for _, fail := range []error{failed, nil} {
		err := b.Transact(t.Context(), func(tx *store.DB) error {
			b.note(t, tx, fmt.Sprint("first ", fail))
			b.note(t, tx, fmt.Sprint("second ", fail))
			if got := b.targets(t, store.AuditFilter{}); len(got) != 0 {
				t.Errorf("seen before the commit: %v", got)
			}
			return fail
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"second <nil>", "first <nil>"}, b.targets(t, store.AuditFilter{})); diff != "" {
		t.Error(diff)
	}
}

// An entry that was begun before another is never shown after it.
func TestAuditEntries_WaitForEarlierOnes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.DB, "0")
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		b.note(t, tx, "1, committed last")
		b.note(t, b.DB, "2, committed first")
		if diff := cmp.Diff([]string{"0"}, b.targets(t, store.AuditFilter{})); diff != "" {
			t.Error("meanwhile:", diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0", "1, committed last", "2, committed first"}
	if diff := cmp.Diff(want, b.targets(t, store.AuditFilter{Page: store.Page{Ascending: true}})); diff != "" {
		t.Error(diff)
	}
	// One that comes to nothing holds nobody up for longer.
	_ = b.Transact(t.Context(), func(tx *store.DB) error { b.note(t, tx, "3"); return errors.New("rolled back") })
	b.note(t, b.DB, "4")
	if diff := cmp.Diff(append(want, "4"), b.targets(t, store.AuditFilter{Page: store.Page{Ascending: true}})); diff != "" {
		t.Error(diff)
	}
}

// Who reads on behind the last entry, while many write and commit in any order, sees
// each entry once.
func TestAuditEntries_AreFollowedWithoutLoss(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const writers, each = 6, 40
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				err := b.Transact(t.Context(), func(tx *store.DB) error {
					b.note(t, tx, fmt.Sprintf("%d/%d", w, i))
					for range rand.IntN(4) { // others overtake it
						if _, err := tx.Tx().Exec(t.Context(), `SELECT 1`); err != nil {
							return err
						}
					}
					if rand.IntN(8) == 0 {
						return context.Canceled // nobody sees it
					}
					return nil
				})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	var seen []string
	after := ""
	for over := false; ; {
		page, err := b.AuditEntries(t.Context(), store.AuditFilter{Page: store.Page{After: after, Ascending: true, Limit: 7}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			seen, after = append(seen, r.ID), r.ID
		}
		if over && len(page) == 0 {
			break
		}
		select {
		case <-done:
			over = true
		default:
		}
	}
	rows, err := b.Pool().Query(t.Context(), `SELECT id FROM audit_entry ORDER BY sequence`)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	if diff := cmp.Diff(all, seen); diff != "" || len(all) < writers*each/2 {
		t.Errorf("of %d entries %d were seen:\n%s", len(all), len(seen), diff)
	}
}

func TestAuditEntries_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.org(t, "free")
	b.note(t, b.DB, "a")
	b.note(t, b.DB, "b", func(e *store.AuditEntry) { e.Action, e.ActorID = "key.revoke", "usr_2" })
	b.note(t, b.DB, "c", func(e *store.AuditEntry) { e.Action = "org.update" })
	b.note(t, b.DB, "d", func(e *store.AuditEntry) { e.OrgID = &other })
	b.note(t, b.DB, "e", func(e *store.AuditEntry) { e.OrgID = nil })
	b.note(t, b.DB, "f", func(e *store.AuditEntry) { e.Action, e.ActorID, e.Operator = "org.suspend", "usr_op", true })
	b.note(t, b.DB, "g", func(e *store.AuditEntry) {
		e.Action, e.ActorID, e.ActorKind = "key.create", "root@host", store.ActorCommand
	})
	all, err := b.AuditEntries(t.Context(), store.AuditFilter{Page: store.Page{Ascending: true, Limit: 10}})
	if err != nil || len(all) != 7 {
		t.Fatal(all, err)
	}
	id := func(i int) string { return all[i].ID }
	org := b.project.OrgID
	future, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		filter store.AuditFilter
		want   string
	}{
		"All":            {store.AuditFilter{}, "gfedcba"},
		"Org":            {store.AuditFilter{OrgID: org}, "gfcba"},
		"Oldest":         {store.AuditFilter{OrgID: org, Page: store.Page{Ascending: true, Limit: 2}}, "ab"},
		"After":          {store.AuditFilter{OrgID: org, Page: store.Page{After: id(2), Limit: 1}}, "b"},
		"Before":         {store.AuditFilter{OrgID: org, Page: store.Page{Before: id(0), Limit: 2}}, "cb"},
		"OldestAfter":    {store.AuditFilter{OrgID: org, Page: store.Page{After: id(2), Ascending: true, Limit: 1}}, "f"},
		"OldestBefore":   {store.AuditFilter{OrgID: org, Page: store.Page{Before: id(5), Ascending: true, Limit: 2}}, "bc"},
		"Action":         {store.AuditFilter{OrgID: org, Action: "key."}, "gba"},
		"ActionWildcard": {store.AuditFilter{OrgID: org, Action: "k%"}, ""},
		"Actor":          {store.AuditFilter{Actor: "usr_2"}, "b"},
		"Target":         {store.AuditFilter{OrgID: org, Target: "c"}, "c"},
		"TargetOfOther":  {store.AuditFilter{OrgID: org, Target: "d"}, ""},
		"CreatedAfter":   {store.AuditFilter{CreatedAfter: &future}, ""},
		"CreatedSince":   {store.AuditFilter{OrgID: org, CreatedAfter: &past, CreatedBefore: &future}, "gfcba"},
		"CreatedBefore":  {store.AuditFilter{CreatedBefore: &past}, ""},
		"Operator":       {store.AuditFilter{OrgID: org, Actor: "usr_op"}, "f"},
		"MaskedByID":     {store.AuditFilter{OrgID: org, Actor: "usr_op", Mask: true}, ""},
		"MaskedByUser":   {store.AuditFilter{OrgID: org, Actor: "root@host", Mask: true}, ""},
		"MaskedByName":   {store.AuditFilter{OrgID: org, Actor: store.OperatorName, Mask: true}, "gf"},
	} {
		if diff := cmp.Diff(c.want, strings.Join(b.targets(t, c.filter), "")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, f := range []store.AuditFilter{
		{OrgID: org, Page: store.Page{After: id(3), Limit: 1}}, {OrgID: org, Page: store.Page{Before: id(4), Limit: 1}}, {Page: store.Page{After: "aud_x", Limit: 1}},
	} {
		if _, err := b.AuditEntries(t.Context(), f); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%+v: %v", f.Page, err)
		}
	}
}

// Organizations are told that it was an operator, and neither who nor from where.
func TestAuditEntries_Mask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.DB, "0")
	b.note(t, b.DB, "1", func(e *store.AuditEntry) { e.Operator = true })
	b.note(t, b.DB, "2", func(e *store.AuditEntry) { e.ActorKind, e.ActorID = store.ActorCommand, "root@host" })
	page, err := b.AuditEntries(t.Context(), store.AuditFilter{OrgID: b.project.OrgID, Mask: true, Page: store.Page{Ascending: true, Limit: 9}})
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, r := range page {
		got = append(got, []string{r.ActorKind, r.ActorID, r.IP, r.UserAgent})
	}
	want := [][]string{{"account", "usr_1", "192.0.2.1", "test"}, {"operator", "service operator", "", ""}, {"operator", "service operator", "", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The address of a person is that of today, and gone when they are.
func TestAuditEntries_Email(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, err := b.CreateAccount(t.Context(), store.Account{Email: "Ann@example.com", Name: "Ann"})
	if err != nil {
		t.Fatal(err)
	}
	by := func(e *store.AuditEntry) { e.ActorID = a.ID }
	b.note(t, b.DB, "0", by)
	b.note(t, b.DB, "1", by, func(e *store.AuditEntry) { e.Operator = true })
	emails := func(mask bool) (list []string) {
		t.Helper()
		page, err := b.AuditEntries(t.Context(), store.AuditFilter{OrgID: b.project.OrgID, Mask: mask, Page: store.Page{Ascending: true, Limit: 9}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			email := "-"
			if r.ActorEmail != nil {
				email = *r.ActorEmail
			}
			list = append(list, email)
		}
		return list
	}
	got := [][]string{emails(false), emails(true)}
	b.exec(t, `UPDATE account SET erased_at = now() WHERE id = $1`, a.ID)
	got = append(got, emails(false))
	want := [][]string{{"Ann@example.com", "Ann@example.com"}, {"Ann@example.com", "-"}, {"-", "-"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A page is found by its index however many entries there are. While nobody has counted
// them yet, it takes the organization's own at the most, also on a connection that
// read the log while it was young.
func TestAuditEntries_ReadLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.DB, "young")
	b.exec(t, `ANALYZE audit_entry`)
	conn, err := b.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Release() // the pool takes the connection used last
	ask := func(f store.AuditFilter) func(*store.DB) error {
		f.Limit = 20
		return func(db *store.DB) error { _, err := db.AuditEntries(t.Context(), f); return err }
	}
	b.rowsRead(t, ask(store.AuditFilter{OrgID: b.project.OrgID}))
	b.exec(t, `
		INSERT INTO audit_entry (id, org_id, actor_kind, actor_id, ip, user_agent, request_id, action, target_kind, target_id)
		SELECT 'aud_' || lpad(i::text, 26, '0'), CASE WHEN i % 100 = 0 THEN $1 ELSE 'org_other' END, 'key', 'key_1', '', '', '', 'key.create', 'key', 'key_2'
		FROM generate_series(1, 20000) AS i`, b.project.OrgID)
	filters := map[string]store.AuditFilter{
		"newest":     {OrgID: b.project.OrgID},
		"after":      {OrgID: b.project.OrgID, Page: store.Page{After: fmt.Sprintf("aud_%026d", 9000)}},
		"before":     {OrgID: b.project.OrgID, Page: store.Page{Before: fmt.Sprintf("aud_%026d", 9000)}},
		"oldest":     {OrgID: b.project.OrgID, Page: store.Page{Ascending: true}},
		"all":        {},
		"all oldest": {Page: store.Page{Ascending: true, After: fmt.Sprintf("aud_%026d", 9000)}},
	}
	for _, most := range []int{500, 100} { // a row counts twice: in the index and in the table
		for name, f := range filters {
			if n := b.rowsRead(t, ask(f)); n > most {
				t.Errorf("%s: %d rows are read, want at most %d", name, n, most)
			}
		}
		b.exec(t, `ANALYZE audit_entry`)
	}
	var plan []string
	rows, err := b.Pool().Query(t.Context(), `EXPLAIN SELECT * FROM audit_entry WHERE org_id = $1 AND sequence > 5 ORDER BY sequence DESC LIMIT 20`, b.project.OrgID)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if !slices.ContainsFunc(plan, func(line string) bool { return strings.Contains(line, "audit_entry_org") }) {
		t.Errorf("the plan is\n%s", strings.Join(plan, "\n"))
	}
}
