package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func TestCreditEntries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, other := b.org(t, "free"), b.org(t, "free")
	batch := store.NewBatchID()
	rows := []*store.NewGeneration{b.priced(org, 1), b.priced(org, 2), b.priced(org, 3), b.priced(other, 4)}
	rows[1].BatchID, rows[2].BatchID = batch, batch
	for _, r := range rows {
		if r == rows[2] {
			continue
		}
		group := []*store.NewGeneration{r}
		if r == rows[1] {
			group = rows[1:3]
		}
		if err := b.InsertGenerations(t.Context(), group); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, rows[1].ID); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Kind    string
		Change  int
		Subject string
	}
	var ids []string
	list := func(f store.CreditEntryFilter) []line {
		t.Helper()
		f.OrgID = org
		if f.Limit == 0 {
			f.Limit = 10
		}
		entries, err := b.CreditEntries(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		lines := []line{}
		ids = nil
		for _, e := range entries {
			l := line{e.Kind, e.Change(), ""}
			if e.Subject != nil {
				l.Subject = *e.Subject
			}
			lines, ids = append(lines, l), append(ids, store.CreditEntryID(e.ID))
		}
		return lines
	}
	all := []line{{"release", 2, rows[1].ID}, {"reserve", -5, batch}, {"reserve", -1, rows[0].ID}, {"allowance", 50, ""}}
	if diff := cmp.Diff(all, list(store.CreditEntryFilter{})); diff != "" {
		t.Fatalf("all (-want +got):\n%s", diff)
	}
	at := ids
	begins, _ := store.PeriodOf(store.PeriodMonth, nil, time.Now())
	later := begins.Add(time.Second)
	for name, c := range map[string]struct {
		filter store.CreditEntryFilter
		want   []line
	}{
		"Kind":            {store.CreditEntryFilter{Kind: "reserve"}, all[1:3]},
		"Period":          {store.CreditEntryFilter{Period: &begins}, all},
		"OtherPeriod":     {store.CreditEntryFilter{Period: &later}, []line{}},
		"OfBatch":         {store.CreditEntryFilter{GenerationID: rows[1].ID}, all[:2]},
		"OfBatchLive":     {store.CreditEntryFilter{GenerationID: rows[2].ID}, all[1:2]},
		"Alone":           {store.CreditEntryFilter{GenerationID: rows[0].ID}, all[2:3]},
		"OfAnother":       {store.CreditEntryFilter{GenerationID: rows[3].ID}, []line{}},
		"Limit":           {store.CreditEntryFilter{Page: store.Page{Limit: 1}}, all[:1]},
		"After":           {store.CreditEntryFilter{Page: store.Page{After: at[1]}}, all[2:]},
		"Before":          {store.CreditEntryFilter{Page: store.Page{Before: at[3], Limit: 2}}, all[1:3]},
		"AscendingAfter":  {store.CreditEntryFilter{Page: store.Page{After: at[3], Ascending: true, Limit: 1}}, all[2:3]},
		"AscendingBefore": {store.CreditEntryFilter{Page: store.Page{Before: at[0], Ascending: true, Limit: 1}}, all[1:2]},
	} {
		if diff := cmp.Diff(c.want, list(c.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	accounts, err := b.CreditAccountsAt(t.Context(), []string{org, b.org(t, "free")}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a := accounts[org]; len(accounts) != 1 || a == nil || a.Available() != 46 {
		t.Errorf("accounts: %+v", accounts)
	}
	for _, id := range []string{"", "cre_", "cre_0", "cre_01", "cre_-1", "cre_x", "1", "cre_99999999999999999999"} {
		if store.ValidCreditEntryID(id) {
			t.Errorf("%q could be an entry's", id)
		}
	}
}
