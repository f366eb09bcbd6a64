package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// payer is an organization that is a customer of Stripe's.
type payer struct {
	testing.TB
	db  *store.DB
	org string
	now time.Time
}

func newPayer(t *testing.T) *payer {
	t.Helper()
	p := &payer{TB: t, db: storetest.New(t), now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)}
	org, err := p.db.CreateOrg(t.Context(), "payer", "free", nil)
	p.must(err)
	p.org = org.ID
	_, err = p.db.SaveCustomer(t.Context(), p.org, "cus_1")
	p.must(err)
	return p
}

func (p *payer) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// fetched is a subscription as it is when it is asked for in the order of n.
func (p *payer) fetched(n int, plan, status string) store.FetchedSubscription {
	return store.FetchedSubscription{
		ID: "sub_1", Customer: "cus_1", Plan: plan, Status: status, PeriodStart: p.now, PeriodEnd: p.now.AddDate(0, 1, 0),
		FetchedAt: time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC),
	}
}

func (p *payer) apply(f store.FetchedSubscription, at time.Time) string {
	p.Helper()
	note, err := p.db.ApplySubscription(p.Context(), f, at)
	p.must(err)
	return note
}

// is checks the plan and the credits of a time.
func (p *payer) is(why, plan string, granted int64, at time.Time) {
	p.Helper()
	a, err := p.db.OpenPeriod(p.Context(), p.org, at)
	p.must(err)
	org, err := p.db.Org(p.Context(), p.org)
	p.must(err)
	if org.Plan != plan || a.Granted != granted {
		p.Errorf("%s: %s with %d granted, want %s with %d", why, org.Plan, a.Granted, plan, granted)
	}
	faults, err := p.db.CreditFaults(p.Context())
	p.must(err)
	for _, fault := range faults {
		p.Errorf("%s: %s", why, fault)
	}
}

func TestApplySubscription_OnlyTheLatestCounts(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	for n, c := range []struct {
		f    store.FetchedSubscription
		want string
	}{
		{p.fetched(3, "hobby", "active"), ""},
		{p.fetched(3, "hobby", "active"), store.NoteOutdated},
		{p.fetched(2, "hobby", "incomplete"), store.NoteOutdated},
		{p.fetched(4, "hobby", "active"), ""},
		{p.fetched(1, "pro", "canceled"), store.NoteOutdated},
	} {
		if note := p.apply(c.f, p.now); note != c.want {
			t.Errorf("%d: note %q, want %q", n, note, c.want)
		}
		p.is(fmt.Sprint("after ", n), "hobby", 500, p.now)
	}
	foreign := p.fetched(9, "", "active")
	foreign.ID = "sub_support"
	if note := p.apply(foreign, p.now); note != store.NoteNoPlan {
		t.Errorf("one for something else: %q", note)
	}
	other := p.fetched(9, "pro", "active")
	other.ID = "sub_2"
	if note := p.apply(other, p.now); note != store.NoteAnother {
		t.Errorf("a second one: %q", note)
	}
	stranger := p.fetched(9, "pro", "active")
	stranger.Customer = "cus_unknown"
	if note := p.apply(stranger, p.now); note != store.NoteNoCustomer {
		t.Errorf("a stranger's: %q", note)
	}
	p.apply(p.fetched(10, "hobby", "canceled"), p.now)
	p.is("ended at once", "free", 50, p.now)
	later := p.now.Add(time.Minute)
	other.PeriodStart, other.PeriodEnd = later, later.AddDate(0, 1, 0)
	if note := p.apply(other, later); note != "" {
		t.Errorf("the second one, once the first has ended: %q", note)
	}
	p.is("on the second one", "pro", 2000, later)
}

// A transaction that does not commit leaves nothing, and the next one does it all.
func TestApplySubscription_Killed(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	killed := errors.New("killed")
	for range 3 {
		err := p.db.Transact(t.Context(), func(tx *store.DB) error {
			_, err := tx.ApplySubscription(t.Context(), p.fetched(1, "pro", "active"), p.now)
			p.must(err)
			return killed
		})
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
	}
	p.is("killed", "free", 50, p.now)
	p.apply(p.fetched(1, "pro", "active"), p.now)
	p.is("done", "pro", 2000, p.now)
}

// Many at once grant once.
func TestApplySubscription_AtOnce(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			if _, err := p.db.ApplySubscription(t.Context(), p.fetched(n, "hobby", "active"), p.now); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	p.is("after all", "hobby", 500, p.now)
}

// An unpaid period is opened without credits, and gets them once when it is paid.
func TestApplySubscription_Unpaid(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "hobby", "active"), p.now)
	p.apply(p.fetched(2, "pro", "past_due"), p.now)
	p.is("a change that is not paid", "hobby", 500, p.now)
	next := p.now.AddDate(0, 1, 0).Add(time.Hour)
	p.is("a period that begins unpaid", "hobby", 0, next)
	p.now = p.now.AddDate(0, 1, 0)
	p.apply(p.fetched(3, "hobby", "active"), next)
	p.apply(p.fetched(4, "hobby", "active"), next)
	p.is("paid", "hobby", 500, next)
	p.apply(p.fetched(5, "hobby", "past_due"), next)
	p.apply(p.fetched(6, "hobby", "active"), next)
	p.is("paid again", "hobby", 500, next)
	p.is("the period after", "hobby", 500, next.AddDate(0, 1, 0))
}

// An operator's choice holds until the subscription changes.
func TestApplySubscription_Overridden(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "hobby", "active"), p.now)
	_, err := p.db.ChangePlan(t.Context(), store.PlanChange{OrgID: p.org, Plan: "pro"}, p.now)
	p.must(err)
	p.apply(p.fetched(2, "hobby", "active"), p.now)
	p.is("the same again", "pro", 2000, p.now)
	p.apply(p.fetched(3, "hobby", "canceled"), p.now)
	p.is("ended", "pro", 2000, p.now)
}

// Each credit is in one report, however many report, and wherever they are killed.
func TestReportUse(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	p.apply(p.fetched(1, "pay_as_you_go", "active"), p.now)
	account, err := p.db.OpenPeriod(t.Context(), p.org, p.now)
	p.must(err)
	use := store.UnreportedUse{OrgID: p.org, Period: account.Period}
	for n := range 5 {
		_, err := p.db.Pool().Exec(t.Context(), `UPDATE credit_account SET used = used + 7 WHERE org_id = $1 AND metered`, p.org)
		p.must(err)
		_ = p.db.Transact(t.Context(), func(tx *store.DB) error {
			_, err := tx.ReportUse(t.Context(), use, p.now)
			p.must(err)
			return errors.New("killed")
		})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := p.db.ReportUse(t.Context(), use, p.now); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		unsent, err := p.db.UnsentReports(t.Context(), 100)
		p.must(err)
		var sum int64
		for _, r := range unsent {
			sum += r.Credits
		}
		if sum != int64(7*(n+1)) || len(unsent) != n+1 {
			t.Errorf("%d credits in %d reports after %d", sum, len(unsent), n+1)
		}
	}
	due, err := p.db.DueUse(t.Context(), p.now.Add(time.Hour), 10)
	p.must(err)
	if len(due) != 0 {
		t.Errorf("%+v is still due", due)
	}
	unsent, err := p.db.UnsentReports(t.Context(), 1)
	p.must(err)
	p.must(p.db.NoteUsageReport(t.Context(), unsent[0].Identifier, "refused"))
	p.must(p.db.NoteUsageReport(t.Context(), unsent[0].Identifier, ""))
	rest, err := p.db.UnsentReports(t.Context(), 100)
	p.must(err)
	if len(rest) != 4 {
		t.Errorf("%d are left of 5", len(rest))
	}
	_, err = p.db.Pool().Exec(t.Context(), `UPDATE credit_account SET used = 0`)
	p.must(err)
}

// Invoices are in the order of their time, which their ids are not.
func TestInvoices(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	for n, id := range []string{"in_c", "in_a", "in_d", "in_b"} {
		i := store.Invoice{ID: id, OrgID: p.org, Status: "open", Currency: "usd", FetchedAt: p.now, CreatedAt: p.now.Add(time.Duration(n) * time.Minute)}
		p.must(p.db.SaveInvoice(t.Context(), i))
		i.Status, i.FetchedAt = "draft", p.now.Add(-time.Second)
		p.must(p.db.SaveInvoice(t.Context(), i)) // fetched before
	}
	list := func(page store.Page) (ids []string) {
		page.Limit = 2
		rows, err := p.db.Invoices(t.Context(), p.org, page)
		p.must(err)
		for _, i := range rows {
			ids = append(ids, i.ID+" "+i.Status)
		}
		return ids
	}
	got := [][]string{list(store.Page{}), list(store.Page{After: "in_d"}), list(store.Page{Ascending: true, After: "in_c"}), list(store.Page{Before: "in_a"})}
	want := [][]string{{"in_b open", "in_d open"}, {"in_a open", "in_c open"}, {"in_a open", "in_d open"}, {"in_b open", "in_d open"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if _, err := p.db.Invoices(t.Context(), "org_other", store.Page{After: "in_a", Limit: 2}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another's cursor: %v", err)
	}
}

// A refund takes what is unused, once.
func TestRefundCredits(t *testing.T) {
	t.Parallel()
	p := newPayer(t)
	_, _, err := p.db.ChangeCredits(t.Context(), store.CreditChange{OrgID: p.org, Kind: store.CreditPurchase, Amount: 100, Bought: true, Subject: "pi_1"}, p.now)
	p.must(err)
	for n, c := range []struct {
		id            string
		credits, want int
	}{{"re_1", 60, 60}, {"re_1", 60, 60}, {"re_2", 60, 40}, {"re_2", 60, 40}} {
		taken, err := p.db.RefundCredits(t.Context(), store.RefundedPurchase{OrgID: p.org, ID: c.id, Credits: c.credits, Reason: "r"}, p.now)
		p.must(err)
		if taken != c.want {
			t.Errorf("%d: %d are taken, want %d", n, taken, c.want)
		}
	}
	p.is("given back", "free", 50, p.now)
	// re_2 fails; re_3 has failed before anyone heard of it.
	for _, id := range []string{"re_2", "re_2", "re_3"} {
		p.must(p.db.RestoreRefund(t.Context(), p.org, id, p.now))
	}
	p.is("failed", "free", 90, p.now)
	if taken, err := p.db.RefundCredits(t.Context(), store.RefundedPurchase{OrgID: p.org, ID: "re_3", Credits: 5}, p.now); err != nil || taken != 0 {
		t.Errorf("%d taken late for what has failed, %v", taken, err)
	}
	p.is("told late", "free", 90, p.now)
}

// applies returns what applies a subscription of the ledger's, each as fetched later.
func (l *ledger) applies(t *testing.T) func(plan, status string, start time.Time) {
	t.Helper()
	if _, err := l.SaveCustomer(t.Context(), l.org, "cus_1"); err != nil {
		t.Fatal(err)
	}
	n := 0
	return func(plan, status string, start time.Time) {
		t.Helper()
		n++
		note, err := l.ApplySubscription(t.Context(), store.FetchedSubscription{
			ID: "sub_1", Customer: "cus_1", Plan: plan, Status: status, PeriodStart: start, PeriodEnd: start.AddDate(0, 1, 0),
			FetchedAt: start.Add(time.Duration(n) * time.Second),
		}, l.at)
		if err != nil || note != "" {
			t.Fatal(note, err)
		}
	}
}

// However many learn of a customer at once, nobody fails.
func TestSaveCustomer_AtOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for round := range 20 {
		org, err := db.CreateOrg(t.Context(), "payer", "free", nil)
		if err != nil {
			t.Fatal(err)
		}
		customer := fmt.Sprint("cus_", round)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				if sub, err := db.SaveCustomer(t.Context(), org.ID, customer); err != nil || sub.Customer != customer {
					t.Errorf("%+v, %v", sub, err)
				}
			})
		}
		clients.Wait()
	}
}

// A customer is one organization's; an organization stays the customer that it is.
func TestSaveCustomer_OfAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.org(t, "free"), b.org(t, "free")
	if _, err := b.SaveCustomer(t.Context(), first, "cus_1"); err != nil {
		t.Fatal(err)
	}
	if sub, err := b.SaveCustomer(t.Context(), second, "cus_1"); !errors.Is(err, store.ErrCustomerTaken) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("another's customer: %+v, %v", sub, err)
	}
	if sub, err := b.SaveCustomer(t.Context(), first, "cus_2"); err != nil || sub.Customer != "cus_1" {
		t.Errorf("a second customer: %+v, %v", sub, err)
	}
}
