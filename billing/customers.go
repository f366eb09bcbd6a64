package billing

import (
	"context"
	"errors"

	"github.com/stripe/stripe-go/v85"
)

// Names of metadata that say at Stripe what is whose.
const (
	metaOrg     = "nanobanana_org"
	metaCredits = "nanobanana_credits"
	metaRefund  = "nanobanana_refund"
	metaReason  = "nanobanana_reason"
	metaActor   = "nanobanana_actor"
	metaBeside  = "nanobanana_beside"
)

// Missing turns an ErrNotFound about something of a customer's into an ErrAccount if
// Stripe does not have the customer either: one that was deleted, and all that it had,
// can still be fetched there. Other errors stay as they are.
func (c *Client) Missing(ctx context.Context, customer string, err error) error {
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	doing := "fetch customer " + customer
	if !c.On() {
		return off(doing)
	}
	_, asked := c.stripe.V1Customers.Retrieve(ctx, customer, nil)
	asked = failed(doing, asked)
	if errors.Is(asked, ErrNotFound) {
		return &Error{Doing: doing, Kind: ErrAccount, Message: err.Error()}
	}
	if asked != nil {
		return asked
	}
	return err
}

// CreateCustomer makes the customer of an organization and returns its id. It makes
// one, however many ask for it at the same time and with the same name, for a day. gone
// is the one in whose place it comes, or "".
func (c *Client) CreateCustomer(ctx context.Context, orgID, name, gone string) (string, error) {
	const doing = "make a customer"
	if !c.On() {
		return "", off(doing)
	}
	made, err := c.stripe.V1Customers.Create(ctx, &stripe.CustomerCreateParams{
		Params:   once("customer:" + orgID + ":" + gone + ":" + name),
		Name:     &name,
		Metadata: map[string]string{metaOrg: orgID},
	})
	if err != nil {
		return "", failed(doing, err)
	}
	return made.ID, nil
}
