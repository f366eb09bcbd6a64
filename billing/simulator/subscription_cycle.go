package simulator

import "time"

// A due thing is what happens by itself at a time.
type due struct {
	at  int64
	id  string
	run func(*tx)
}

// before orders what is due.
func (d due) before(other due) bool { return d.at < other.at || d.at == other.at && d.id < other.id }

// runDue runs what became due until a time, in order; done says whether anything did.
func (s *Simulator) runDue(until time.Time) (done bool) {
	for {
		next, ok := s.state.nextDue()
		if !ok || next.at > until.Unix() {
			return done
		}
		done = true
		next.run(&tx{s: s, state: s.state, now: time.Unix(next.at, 0).UTC(), base: s.opts.BaseURL})
	}
}

// nextDue is the earliest thing to happen.
func (st *state) nextDue() (next due, ok bool) {
	add := func(d due) {
		if !ok || d.before(next) {
			next, ok = d, true
		}
	}
	for _, c := range st.Sessions {
		if c.Status == "open" {
			add(due{c.ExpiresAt, c.ID, func(t *tx) { t.expireSession(c) }})
		}
	}
	for _, inv := range st.Invoices {
		if inv.Status == "draft" && inv.FinalizesAt != nil {
			add(due{*inv.FinalizesAt, inv.ID, func(t *tx) { t.finalize(inv); _ = t.collect(inv) }}) // a decline is in the events
		}
		if inv.Status == "open" && inv.NextPaymentAttempt != nil {
			add(due{*inv.NextPaymentAttempt, inv.ID, func(t *tx) { _ = t.collect(inv) }})
		}
	}
	for _, sub := range st.Subscriptions {
		if sub.Status == "active" || sub.Status == "past_due" || sub.Status == "unpaid" {
			add(due{sub.period().End, sub.ID, func(t *tx) { t.renew(sub) }})
		}
	}
	return next, ok
}

// renew begins the next period of a subscription, or ends it.
func (t *tx) renew(sub *subscription) {
	was := sub.period()
	lines := append(t.arrears(sub, sub.Items.Data, was), t.state.PendingLines[sub.ID]...)
	if sub.CancelAtPeriodEnd {
		t.endWithInvoice(sub, was, lines, "cancellation_requested")
		return
	}
	next := t.following(sub, was)
	lines = append(lines, t.advance(sub, sub.Items.Data, next)...)
	delete(t.state.PendingLines, sub.ID)
	inv := t.draft(t.state.Customers[sub.Customer], sub, "subscription_cycle", was, lines)
	if at := t.now.Add(finalizeAfter).Unix(); sub.Status != "unpaid" {
		inv.FinalizesAt = &at
	} else {
		inv.AutoAdvance = false // Stripe collects nothing more of an unpaid one
	}
	t.issue(inv)
	t.update("customer.subscription.updated", sub, func() {
		setPeriod(sub.Items.Data, next)
		sub.LatestInvoice = &inv.ID
	})
}

// endWithInvoice cancels a subscription and charges what is left to pay.
func (t *tx) endWithInvoice(sub *subscription, span period, lines []*invoiceLine, reason string) {
	worth := false
	for _, l := range lines {
		worth = worth || l.Amount != 0
	}
	var inv *invoice
	if worth {
		inv = t.issue(t.draft(t.state.Customers[sub.Customer], sub, "subscription_cycle", span, lines))
		sub.LatestInvoice = &inv.ID
	}
	t.end(sub, reason)
	if inv != nil {
		inv.AutoAdvance = true
		t.finalize(inv)
		_ = t.collect(inv) // a decline is in the events
	}
}
