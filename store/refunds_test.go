package store_test

import (
	"testing"

	"github.com/nanobanana/nanobanana/store"
)

func (l *ledger) refund(t *testing.T, credits, want int) {
	t.Helper()
	for range 2 { // it happens once
		n, err := l.RefundCredits(t.Context(), store.RefundedPurchase{OrgID: l.org, ID: "re_" + l.org, Credits: credits, Reason: "r"}, l.at)
		if err != nil || n != want {
			t.Errorf("%d credits taken back, %v; want %d", n, err, want)
		}
	}
}

// A refund takes what is reserved of a purchase too, as it comes back.
func TestRefundCredits_WhileReserved(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.use(t, 50)
	l.change(t, store.CreditPurchase, 100)
	g := l.reserve(t, 80)
	l.refund(t, 100, 100)
	l.want(t, "free 130/80/50 (0)")
	l.cancel(t, g)
	l.wantAvailable(t, 0)
	l.carry(t, 1)
	l.want(t, "free 50/0/50 (0)")
}

// Neither does the turn of a period keep it.
func TestRefundCredits_AfterTheTurn(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.use(t, 50)
	l.change(t, store.CreditPurchase, 100)
	g := l.reserve(t, 70)
	l.turn(t)
	l.want(t, "free 120/70/50 (70)", "free 80/0/0 (30)")
	l.refund(t, 100, 100)
	l.cancel(t, g)
	l.carry(t, 0)
	l.want(t, "free 120/0/50 (0)", "free 50/0/0 (0)")
}

// What was used is not owed.
func TestRefundCredits_LeavesWhatWasUsed(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.use(t, 50)
	l.change(t, store.CreditPurchase, 100)
	l.use(t, 60)
	l.refund(t, 100, 40)
	l.want(t, "free 110/0/110 (60)")
	l.wantOwed(t, "0")
}

func (l *ledger) restore(t *testing.T) {
	t.Helper()
	for range 2 { // it happens once
		if err := l.RestoreRefund(t.Context(), l.org, "re_"+l.org, l.at); err != nil {
			t.Fatal(err)
		}
	}
}

// A purchase that was used up before a grant is not there to be taken back: the grant
// is not bought.
func TestRefundCredits_LeavesWhatWasGivenAfterwards(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.change(t, store.CreditPurchase, 100)
	l.use(t, 150)
	l.change(t, store.CreditGrant, 80)
	l.refund(t, 100, 0)
	l.want(t, "free 230/0/150 (0)")
	l.wantAvailable(t, 80)
}

// What comes back of a refunded purchase in parts, with others still under way, is
// taken once: the rest stays owed, however often it is looked for.
func TestRefundCredits_OwedUntilAllHasEnded(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	l.use(t, 500)
	l.change(t, store.CreditPurchase, 1000)
	canceled, delivered := l.reserve(t, 100), l.reserve(t, 900)
	l.refund(t, 1000, 1000)
	l.turn(t)
	l.cancel(t, canceled)
	l.carry(t, 1)
	for range 3 {
		l.carry(t, 0)
	}
	l.wantOwed(t, "900", "0")
	l.deliver(t, delivered)
	l.carry(t, 1)
	l.wantOwed(t, "0", "400")
	l.want(t, "hobby 1400/0/1400 (0)", "hobby 0/0/0 (0)")
}

// What was delivered between a refund and its failure stays used.
func TestRestoreRefund_AfterDelivery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ends string
		want int64
		last string
	}{
		"delivered": {"delivered", 60, "free 150/0/90 (100)"},
		"released":  {"released", 100, "free 150/0/50 (100)"},
		"taken":     {"taken", 100, "free 150/0/50 (100)"},
		"under way": {"", 60, "free 150/40/50 (100)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "free")
			l.use(t, 50)
			l.change(t, store.CreditPurchase, 100)
			g := l.reserve(t, 40)
			l.refund(t, 100, 100)
			switch c.ends {
			case "delivered":
				l.deliver(t, g)
			case "released":
				l.cancel(t, g)
			case "taken":
				l.cancel(t, g)
				l.carry(t, 1)
			}
			l.restore(t)
			l.wantOwed(t, "0")
			l.wantAvailable(t, c.want)
			l.want(t, c.last)
		})
	}
}

// A refund that fails forgives its own debt alone: what else is owed stays so, though
// what has come back of the refund's was taken for it.
func TestRestoreRefund_BesideWhatElseIsOwed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ends, turn bool // before the refund fails
		want       []string
		owed       []string
		available  int64
	}{
		"under way":        {false, false, []string{"free 400/80/300 (100)"}, []string{"25"}, 20},
		"ended":            {true, false, []string{"free 400/0/350 (100)"}, []string{"25"}, 50},
		"after the turn":   {false, true, []string{"free 380/80/300 (80)", "free 45/0/0 (20)"}, []string{"0", "0"}, 45},
		"ended, and later": {true, true, []string{"free 350/0/350 (0)", "free 75/0/0 (75)"}, []string{"0", "0"}, 75},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "hobby")
			l.use(t, 300)
			l.plan(t, "free", nil)
			l.wantOwed(t, "25")
			l.change(t, store.CreditPurchase, 100)
			canceled, delivered := l.reserve(t, 30), l.reserve(t, 50)
			l.refund(t, 100, 100)
			l.wantOwed(t, "105")
			if c.ends {
				l.cancel(t, canceled)
				l.deliver(t, delivered)
				l.carry(t, 1)
			}
			if c.turn {
				l.turn(t)
			}
			l.restore(t)
			l.wantOwed(t, c.owed...)
			l.want(t, c.want...)
			l.wantAvailable(t, c.available)
		})
	}
}

// The same at a turn: what is under way in the period before follows if it comes back.
func TestRestoreRefund_AfterTheTurn(t *testing.T) {
	t.Parallel()
	released := []string{"free 50/0/50 (0)", "free 50/0/0 (0)", "free 150/0/0 (100)"}
	delivered := []string{"free 120/0/120 (70)", "free 50/0/0 (0)", "free 80/0/0 (30)"}
	for name, c := range map[string]struct {
		late, delivers bool // the refund is after the turn; so is the generation's end
		want           []string
	}{
		"refunded before, released": {false, false, released}, "refunded before, delivered": {false, true, delivered},
		"refunded after, released": {true, false, released}, "refunded after, delivered": {true, true, delivered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t).ledgerOf(t, "free")
			l.use(t, 50)
			l.change(t, store.CreditPurchase, 100)
			g := l.reserve(t, 70)
			if c.late {
				l.turn(t)
			}
			l.refund(t, 100, 100)
			if !c.late {
				l.turn(t)
			}
			l.restore(t)
			l.wantOwed(t, "0", "0")
			if c.delivers {
				l.deliver(t, g)
			} else {
				l.cancel(t, g)
			}
			l.at = l.at.AddDate(0, 1, 0)
			if _, err := l.OpenPeriod(t.Context(), l.org, l.at); err != nil {
				t.Fatal(err)
			}
			l.want(t, c.want...)
		})
	}
}

// What was delivered at the turn, and is owed by the next period, is so no more.
func TestRestoreRefund_OwedByTheNextPeriod(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "free")
	l.use(t, 50)
	l.change(t, store.CreditPurchase, 100)
	g := l.reserve(t, 90)
	l.refund(t, 100, 100)
	l.turn(t)
	l.deliver(t, g)
	l.carry(t, 1)
	l.wantOwed(t, "0", "40") // of 90, less the 50 of the plan
	l.restore(t)
	l.wantOwed(t, "0", "0")
	l.want(t, "free 140/0/140 (0)", "free 60/0/0 (60)") // 10 that were bought, and the 50
	l.wantAvailable(t, 60)
}
