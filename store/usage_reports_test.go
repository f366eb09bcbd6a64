package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nanobanana/nanobanana/store"
)

// meteredLedger is the ledger of an organization that has just subscribed to what bills
// use.
func (b *bundle) meteredLedger(t *testing.T) *ledger {
	t.Helper()
	return b.meteredLedgerSince(t, time.Date(2023, 6, 16, 0, 0, 0, 0, time.UTC))
}

func (b *bundle) meteredLedgerSince(t *testing.T, at time.Time) *ledger {
	t.Helper()
	l := &ledger{bundle: b, org: b.org(t, "free"), at: at}
	if _, err := l.SaveCustomer(t.Context(), l.org, "cus_"+l.org); err != nil {
		t.Fatal(err)
	}
	note, err := l.ApplySubscription(t.Context(), store.FetchedSubscription{
		ID: "sub_" + l.org, Customer: "cus_" + l.org, Plan: "pay_as_you_go", Status: "active",
		PeriodStart: l.at, PeriodEnd: l.at.AddDate(0, 1, 0), FetchedAt: l.at,
	}, l.at)
	if err != nil || note != "" {
		t.Fatal(note, err)
	}
	return l
}

func (l *ledger) present(t *testing.T) *store.CreditAccount {
	t.Helper()
	a, err := l.CreditAccount(t.Context(), l.org, l.at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// report reports what is due within five minutes, and returns how much of the organization's use was
// reported by then.
func (l *ledger) report(t testing.TB) (sum int64) {
	t.Helper()
	due, err := l.DueUse(t.Context(), l.at.Add(5*time.Minute), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range due {
		if _, err := l.ReportUse(t.Context(), *u, l.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Pool().QueryRow(t.Context(), `SELECT coalesce(sum(credits), 0) FROM usage_report WHERE org_id = $1`, l.org).Scan(&sum); err != nil {
		t.Fatal(err)
	}
	return sum
}

func (l *ledger) wantReported(t *testing.T, want int64) {
	t.Helper()
	if got := l.report(t); got != want {
		t.Errorf("%d credits are billed, want %d", got, want)
	}
}

func (l *ledger) wantLeft(t *testing.T, want int64) {
	t.Helper()
	if got := l.present(t).Available(); got != want {
		t.Errorf("%d are available, want %d", got, want)
	}
}

func (l *ledger) set(t *testing.T, credits int) {
	t.Helper()
	if _, err := l.SetCredits(t.Context(), l.org, credits, "test", "", l.at); err != nil {
		t.Fatal(err)
	}
}

// nextMonth opens the period after the present one.
func (l *ledger) nextMonth(t *testing.T) {
	t.Helper()
	l.at = l.at.AddDate(0, 1, 0)
	if _, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil {
		t.Fatal(err)
	}
}

// What is billed is not taken from what is bought afterwards: nobody pays it twice.
func TestReportUse_BilledUseTakesNothingBoughtLater(t *testing.T) {
	t.Parallel()
	l := setup(t).meteredLedger(t)
	l.use(t, 100)
	l.wantReported(t, 100)
	l.change(t, store.CreditPurchase, 500)
	l.wantLeft(t, 500)
	l.use(t, 200)
	l.wantReported(t, 100)
	l.nextMonth(t)
	l.wantLeft(t, 300)
	l.use(t, 350)
	l.wantReported(t, 150)
	l.want(t, "free 50/0/0 (0)", "pay_as_you_go 200/0/300 (200)", "pay_as_you_go 300/0/350 (300)")
}

// Nor what is given: what is used after it is billed, whether or not what was used
// before it had been reported when it was set.
func TestReportUse_BillsWhatIsUsedAfterWhatIsSet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, reported := range []bool{true, false} {
		t.Run(fmt.Sprint("reported=", reported), func(t *testing.T) {
			l := b.meteredLedger(t)
			l.use(t, 100)
			if reported {
				l.wantReported(t, 100)
			}
			l.set(t, 50)
			l.wantLeft(t, 50)
			l.use(t, 50)
			l.wantReported(t, 100)
			l.use(t, 100)
			l.wantReported(t, 200)
			l.change(t, store.CreditGrant, 30)
			l.wantLeft(t, 30)
			l.wantNoFaults(t)
		})
	}
}

// What is billed leaves what is refunded whole, and what is held for want of payment
// can be used as far as it was bought.
func TestReportUse_LeavesBoughtCreditsWhole(t *testing.T) {
	t.Parallel()
	l := setup(t).meteredLedger(t)
	l.use(t, 100)
	l.wantReported(t, 100)
	l.change(t, store.CreditPurchase, 120)
	l.exec(t, `UPDATE credit_account SET held = true WHERE org_id = $1 AND metered`, l.org)
	l.wantAvailable(t, 120)
	l.refund(t, 120, 120)
	l.wantLeft(t, 0)
	l.wantReported(t, 100)
	l.wantNoFaults(t)
}

// A change of plan and the turn of a period move what is left beside what is billed, and
// what is under way then is billed when it is delivered, unless it is paid for.
func TestReportUse_OverTheEndOfAPeriod(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, end := range map[string]func(*testing.T, *ledger){
		"turn":   func(t *testing.T, l *ledger) { l.nextMonth(t) },
		"change": func(t *testing.T, l *ledger) { l.at = l.at.Add(time.Hour); l.plan(t, "free", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			l := b.meteredLedgerSince(t, time.Now().UTC().Truncate(time.Microsecond).AddDate(0, 0, -35)) // what has ended long ago is not carried
			l.use(t, 100)
			l.wantReported(t, 100)
			l.change(t, store.CreditPurchase, 50)
			delivered, canceled := l.reserve(t, 20), l.reserve(t, 10)
			end(t, l)
			bought := func(want int64) {
				t.Helper()
				if got := l.present(t).Bought; got != want {
					t.Errorf("%d bought are there, want %d", got, want)
				}
			}
			bought(20)
			l.deliver(t, delivered)
			l.cancel(t, canceled)
			l.wantReported(t, 100)
			l.carry(t, 1)
			bought(30)
			l.carry(t, 0)
			l.wantNoFaults(t)
		})
	}
}

// What is let in for nothing is never billed, what was used before it is, and what is set
// there does not count that.
func TestReportUse_BesideAPlanWithoutLimits(t *testing.T) {
	t.Parallel()
	l := setup(t).meteredLedgerSince(t, time.Now().UTC().Truncate(time.Microsecond).Add(-time.Hour))
	later := func(plan string) {
		t.Helper()
		l.at = l.at.Add(time.Minute)
		l.plan(t, plan, nil)
	}
	l.use(t, 60)
	l.wantReported(t, 60)
	l.use(t, 40)
	later("unlimited")
	l.use(t, 1000)
	later("pay_as_you_go")
	l.wantReported(t, 100)
	l.use(t, 5)
	l.wantReported(t, 105)
	later("unlimited")
	l.set(t, 50)
	l.wantAvailable(t, 50)
	l.use(t, 39)
	if told := l.tell(t, l.org); told != "" {
		t.Errorf("at 39 of 50: %q", told)
	}
	l.use(t, 1)
	if told := l.tell(t, l.org); told != "quota 80: 40 of 50" {
		t.Errorf("at 40 of 50: %q", told)
	}
	l.wantAvailable(t, 10)
	l.wantReported(t, 105)
	l.wantNoFaults(t)
}

// No more is taken from an organization than it has: it would be billed.
func TestChangeCredits_TakesNoMoreThanIsLeftOfAMeteredPlan(t *testing.T) {
	t.Parallel()
	l := setup(t).meteredLedger(t)
	l.change(t, store.CreditGrant, 20)
	take := func(credits int) error {
		_, _, err := l.ChangeCredits(t.Context(), store.CreditChange{OrgID: l.org, Kind: store.CreditGrant, Amount: -credits}, l.at)
		return err
	}
	if err := take(21); !errors.Is(err, store.ErrTooFewCredits) {
		t.Errorf("21 of 20: %v", err)
	}
	if err := take(20); err != nil {
		t.Errorf("20 of 20: %v", err)
	}
	l.wantReported(t, 0)
}

// Reports, deliveries and purchases at the same time: each credit is billed or paid for,
// and none both.
func TestReportUse_WhileItIsUsedAndBought(t *testing.T) {
	t.Parallel()
	l := setup(t).meteredLedger(t)
	use := store.UnreportedUse{OrgID: l.org, Period: l.present(t).Period}
	var all sync.WaitGroup
	for client := range 6 {
		all.Go(func() {
			for range 10 {
				switch client % 3 {
				case 0:
					l.use(t, 3)
				case 1:
					if _, err := l.ReportUse(t.Context(), use, l.at); err != nil {
						t.Error(err)
					}
				default:
					l.change(t, store.CreditPurchase, 2)
				}
			}
		})
	}
	all.Wait()
	reported := l.report(t)
	left := max(0, l.present(t).Available())
	if reported+40-left != 60 {
		t.Errorf("60 were used: %d are billed, and %d left of 40 that were bought", reported, left)
	}
	l.wantNoFaults(t)
}

// A meter is what a metered organization ought to have: what it uses is taken from what
// it was given and has bought, what was bought last, and billed otherwise.
type meter struct {
	left, bought int64 // bought: of what is left
	due, billed  int64
}

func (m *meter) use(n int64) {
	paid := min(n, m.left)
	m.left, m.due = m.left-paid, m.due+n-paid
	m.bought = min(m.bought, m.left)
}

func (m *meter) get(n, bought int64) {
	paid := min(n, m.due) // what nobody was told of yet
	m.due, m.left = m.due-paid, m.left+n-paid
	m.bought = min(m.bought+bought, m.left)
}

func (m *meter) bill() { m.billed, m.due = m.billed+m.due, 0 }

// Whatever is used, reported, bought, given and set, in whatever order and over however
// many periods, is billed or paid for exactly once.
func TestReportUse_IsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rapid.Check(t, func(r *rapid.T) {
		l, m := b.meteredLedger(t), &meter{}
		for i := range rapid.IntRange(1, 8).Draw(r, "steps") {
			n := rapid.IntRange(1, 9).Draw(r, "credits")
			step := rapid.SampledFrom([]string{"use", "use", "report", "buy", "give", "set", "turn"}).Draw(r, "step")
			switch step {
			case "use":
				l.use(t, n)
				m.use(int64(n))
			case "report":
				m.bill()
				if got := l.report(t); got != m.billed {
					r.Fatalf("step %d: %d are billed, want %d", i, got, m.billed)
				}
			case "buy":
				l.change(t, store.CreditPurchase, n)
				m.get(int64(n), int64(n))
			case "give":
				l.change(t, store.CreditGrant, n)
				m.get(int64(n), 0)
			case "set":
				_, err := l.SetCredits(t.Context(), l.org, n, "", "", l.at)
				if fewer := int64(n) < m.bought; fewer != errors.Is(err, store.ErrBoughtCredits) || !fewer && err != nil {
					r.Fatalf("step %d: set %d with %d bought: %v", i, n, m.bought, err)
				}
				if err == nil {
					m.bill()
					m.left = int64(n)
				}
			case "turn":
				l.nextMonth(t)
				l.report(t)
				m.bill()
				m.left = m.bought
			}
			got := []int64{l.present(t).Available(), l.present(t).BoughtLeft()}
			if diff := cmp.Diff([]int64{m.left - m.due, m.bought}, got); diff != "" {
				r.Fatalf("step %d, %s %d: available and bought (-want +got):\n%s", i, step, n, diff)
			}
		}
		if got, want := l.report(t), m.billed+m.due; got != want {
			r.Fatalf("%d are billed, want %d", got, want)
		}
	})
	faults, err := b.CreditFaults(t.Context())
	if err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}
