package api

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/store"
)

// billingTimeout bounds what a request asks of Stripe.
const billingTimeout = 30 * time.Second

// checkBilling refuses what needs Stripe where it is not configured.
func (s *server) checkBilling() error {
	if !s.opts.Billing.On() {
		return &billing.Error{Doing: "ask Stripe", Kind: billing.ErrOff}
	}
	return nil
}

// billed returns what the caller's organization has with Stripe, whose customer it is
// from then on. Two at once make one customer.
func (s *server) billed(ctx context.Context) (*store.Subscription, error) {
	orgID := auth.FromContext(ctx).OrgID
	sub, err := s.db.Subscription(ctx, orgID)
	if !errors.Is(err, store.ErrNotFound) {
		return sub, err
	}
	org, err := s.db.Org(ctx, orgID)
	if err != nil {
		return nil, err
	}
	customer, err := s.opts.Billing.CreateCustomer(ctx, orgID, org.Name, "")
	if err == nil {
		return s.db.SaveCustomer(ctx, orgID, customer)
	}
	// Whoever asked at the same time may have made it.
	if sub, lookErr := s.db.Subscription(ctx, orgID); lookErr == nil {
		return sub, nil
	}
	return nil, err
}

// asCustomer asks Stripe for something for the caller's organization. A customer that
// is not there any more, since it was deleted or the key is of another account, is
// replaced by a new one.
func (s *server) asCustomer(ctx context.Context, ask func(*store.Subscription) error) error {
	sub, err := s.billed(ctx)
	if err != nil {
		return err
	}
	err = ask(sub)
	if !billing.CustomerGone(err) {
		return err
	}
	if sub.Live() {
		if _, err := jobs.SyncSubscription(ctx, s.db, s.opts.Billing, *sub.Subscription, s.opts.Now()); err != nil {
			return err
		}
	}
	org, err := s.db.Org(ctx, sub.OrgID)
	if err != nil {
		return err
	}
	customer, err := s.opts.Billing.CreateCustomer(ctx, org.ID, org.Name, sub.Customer)
	if err != nil {
		return err
	}
	if sub, err = s.db.ReplaceCustomer(ctx, org.ID, sub.Customer, customer); err != nil {
		return err
	}
	return ask(sub)
}

// askKey names a request for Stripe: by its Idempotency-Key, or as the only one of
// its kind.
func askKey(ctx context.Context) (string, error) {
	r := requestOf(ctx)
	key, err := idempotencyKey(r.http.Header)
	if err != nil || key != "" {
		return key, err
	}
	return store.NewID("ask"), nil
}

// pageAddresses checks addresses that the customer's browser is sent to, and puts
// defaults in place of those that are not given: all faults at once.
func (s *server) pageAddresses(ctx context.Context, given map[string]*string) error {
	var faults []jobs.Fault
	for _, name := range []string{"success_url", "cancel_url", "return_url"} {
		address := given[name]
		if address == nil {
			continue
		}
		if *address == "" {
			*address = s.base(requestOf(ctx).http) + "/"
			continue
		}
		if reason := s.refuseAddress(*address); reason != "" {
			faults = append(faults, jobs.Fault{Param: name, Code: "invalid", Message: name + " is refused: " + reason})
		}
	}
	if len(faults) > 0 {
		return &jobs.InvalidError{Faults: faults}
	}
	return nil
}

// maxAddress is the longest address that is taken, in bytes.
const maxAddress = 2048

// refuseAddress says why a browser is not sent to an address, or "". Nobody here
// connects to it, so that it may be of any host.
func (s *server) refuseAddress(address string) string {
	if len(address) > maxAddress {
		return "it must not be longer than 2,048 characters"
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return "it must consist of visible ASCII characters without backslashes"
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return "it must be of the form https://host/path"
	}
	if u.Scheme == "https" {
		return ""
	}
	if s.opts.DevMail || s.opts.Egress.Loopback {
		if _, err := (egress.Policy{Loopback: true}).CheckURL(strings.Split(address, "#")[0]); err == nil && u.Scheme == "http" {
			return ""
		}
	}
	return "it must begin with https://"
}

// salePlan returns a plan that can be subscribed to.
func (s *server) salePlan(ctx context.Context, name string) (*store.Plan, error) {
	plans, err := s.db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	f := jobs.Fault{Param: "plan", Code: "unsupported_value", Message: "plan must be one of those that are sold"}
	for _, p := range plans {
		if !isSold(p) {
			continue
		}
		if p.Name == name {
			return p, nil
		}
		f.Allowed = append(f.Allowed, p.Name)
	}
	return nil, &jobs.InvalidError{Faults: []jobs.Fault{f}}
}

// isSold reports whether a plan is had by a subscription.
func isSold(p *store.Plan) bool {
	return p.Offered && (p.PriceMicros > 0 || p.Metered && p.CreditMicros > 0)
}
