package store_test

import (
	"testing"

	"github.com/nanobanana/nanobanana/store"
)

// Where use is metered, what is delivered of a refunded purchase is billed, whatever of it
// was reserved at the time, by the plan before a change too; once the refund has failed
// it is paid again.
func TestRefundCredits_OfAMeteredPlan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reserved, used int
		late           bool // the refund is after a change to a plan without bills
		billed         int64
		restored       int64 // what is billed if the refund fails before the report
	}{
		"all reserved":          {300, 300, false, 300, 200},
		"a part reserved":       {60, 60, false, 60, 0},
		"reserved and released": {300, 0, false, 0, 0},
		"after a change":        {300, 300, true, 300, 200},
	} {
		for _, fails := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := setup(t).meteredLedger(t)
				l.change(t, store.CreditPurchase, 100)
				g := l.reserve(t, c.reserved)
				if c.late {
					l.plan(t, "unlimited", nil)
				}
				l.refund(t, 100, 100)
				for _, owed := range l.lines(t, `SELECT owed::text FROM credit_account WHERE org_id = $1`, l.org) {
					if owed != "0" {
						t.Errorf("%s are owed", owed)
					}
				}
				want := c.billed
				if fails {
					l.restore(t)
					want = c.restored
				}
				if c.used > 0 {
					l.deliver(t, g)
				} else {
					l.cancel(t, g)
				}
				l.wantReported(t, want)
				l.wantNoFaults(t)
			})
		}
	}
}
