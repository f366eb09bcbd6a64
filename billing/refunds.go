package billing

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/stripe/stripe-go/v85"
)

// A Refund asks for a payment to be given back.
type Refund struct {
	ID            string // ours: whoever asks with the same one again gets the same refund
	PaymentIntent string
	Amount        int64 // in the currency's smallest unit
	Reason        string
	Actor         string
}

// Refund gives a payment back, and returns Stripe's id of what was done. Stripe knows a
// repetition for a day at least; Payment tells which refunds there are afterwards.
func (c *Client) Refund(ctx context.Context, r Refund) (string, error) {
	doing := "refund " + r.PaymentIntent
	if !c.On() {
		return "", off(doing)
	}
	made, err := c.stripe.V1Refunds.Create(ctx, &stripe.RefundCreateParams{
		Params:        once("refund:" + r.ID),
		PaymentIntent: &r.PaymentIntent,
		Amount:        &r.Amount,
		Metadata:      map[string]string{metaRefund: r.ID, metaReason: r.Reason, metaActor: r.Actor},
	})
	if err != nil {
		return "", failed(doing, err)
	}
	return made.ID, nil
}

// A Payment is what a customer has paid, and what of it was given back. Amounts are in
// the currency's smallest unit.
type Payment struct {
	PaymentIntent string
	Customer      string
	Amount        int64
	Credits       int // that were bought with it; 0: it was for something else
	Refunded      int64
	Refunds       []PaymentRefund // in the order they were made
}

// A PaymentRefund is a part of a payment that was given back.
type PaymentRefund struct {
	ID      string
	Request string // our ID of it; empty: it was made at Stripe's dashboard
	Failed  bool   // the customer has not got it: Stripe has the money back
	Amount  int64
	Credits int // the same part of the credits that were bought
	Reason  string
	Actor   string
}

// Payment returns a payment as it is now.
func (c *Client) Payment(ctx context.Context, paymentIntent string) (*Payment, error) {
	doing := "fetch payment " + paymentIntent
	if !c.On() {
		return nil, off(doing)
	}
	intent, err := c.stripe.V1PaymentIntents.Retrieve(ctx, paymentIntent, nil)
	if err != nil {
		return nil, failed(doing, err)
	}
	p := &Payment{PaymentIntent: intent.ID, Amount: intent.AmountReceived, Credits: creditsOf(intent.Metadata)}
	if intent.Customer != nil {
		p.Customer = intent.Customer.ID
	}
	if intent.LatestCharge == nil {
		return p, nil
	}
	charge, err := c.charge(ctx, intent.LatestCharge.ID)
	if err != nil {
		return nil, failed(doing, err)
	}
	p.Refunded = charge.AmountRefunded
	refunds, err := c.refunds(ctx, charge)
	if err != nil {
		return nil, failed(doing, err)
	}
	p.addRefunds(refunds)
	return p, nil
}

// PaymentOfCharge returns the payment that a charge is of; nil: it is of none.
func (c *Client) PaymentOfCharge(ctx context.Context, id string) (*Payment, error) {
	doing := "fetch charge " + id
	if !c.On() {
		return nil, off(doing)
	}
	charge, err := c.charge(ctx, id)
	if err != nil {
		return nil, failed(doing, err)
	}
	if charge.PaymentIntent == nil {
		return nil, nil
	}
	return c.Payment(ctx, charge.PaymentIntent.ID)
}

func (c *Client) charge(ctx context.Context, id string) (*stripe.Charge, error) {
	params := &stripe.ChargeRetrieveParams{}
	params.AddExpand("refunds")
	return c.stripe.V1Charges.Retrieve(ctx, id, params)
}

// refunds are those of a charge. It shows the latest ten of them; if there are more,
// all are listed.
func (c *Client) refunds(ctx context.Context, charge *stripe.Charge) (all []*stripe.Refund, err error) {
	if charge.Refunds == nil {
		return nil, nil
	}
	if !charge.Refunds.HasMore {
		return charge.Refunds.Data, nil
	}
	params := &stripe.RefundListParams{Charge: &charge.ID, ListParams: stripe.ListParams{Limit: new(int64(100))}}
	for r, err := range c.stripe.V1Refunds.List(ctx, params).All(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// addRefunds shares the credits out: all refunds that have not failed are of as many
// together as their sum.
func (p *Payment) addRefunds(list []*stripe.Refund) {
	made := slices.DeleteFunc(slices.Clone(list), func(r *stripe.Refund) bool {
		return r == nil
	})
	slices.SortFunc(made, func(a, b *stripe.Refund) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	var sum int64
	before := 0
	for _, r := range made {
		if r.Status == stripe.RefundStatusFailed || r.Status == stripe.RefundStatusCanceled {
			p.Refunds = append(p.Refunds, PaymentRefund{ID: r.ID, Request: r.Metadata[metaRefund], Failed: true, Amount: r.Amount})
			continue
		}
		sum += r.Amount
		credits := 0
		if p.Amount > 0 {
			credits = int(math.Round(float64(p.Credits) * float64(sum) / float64(p.Amount)))
		}
		p.Refunds = append(p.Refunds, PaymentRefund{
			ID: r.ID, Request: r.Metadata[metaRefund], Amount: r.Amount, Credits: credits - before, Reason: r.Metadata[metaReason], Actor: r.Metadata[metaActor],
		})
		before = credits
	}
}
