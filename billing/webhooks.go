package billing

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// SignatureHeader is where Stripe signs.
const SignatureHeader = "Stripe-Signature"

// An Event says that something has changed at Stripe. What it says of the object is
// not kept: whoever handles it fetches the object.
type Event struct {
	ID        string
	Type      string // "invoice.paid"
	Object    string // "invoice"
	ObjectID  string
	Customer  string // empty: it does not say
	CreatedAt time.Time
}

// Errors of ParseWebhook.
var (
	ErrSignature = errors.New("the signature is not Stripe's")
	ErrEvent     = errors.New("it is not an event of Stripe's")
)

// tolerance is how old a signature may be.
const tolerance = 5 * time.Minute

// ParseWebhook returns the event that Stripe has sent. It fails with ErrSignature if
// Stripe has not signed it with the secret in the last five minutes, and with ErrEvent
// if it is none. Events of other API versions are taken: of those only what has always
// been there is read.
func (c *Client) ParseWebhook(body []byte, signature string) (*Event, error) {
	if c == nil || c.secret == "" {
		return nil, off("read an event")
	}
	signed, err := webhook.ConstructEventWithOptions(body, signature, c.secret, webhook.ConstructEventOptions{
		Tolerance: tolerance, IgnoreAPIVersionMismatch: true,
	})
	switch {
	case err != nil && webhook.ValidatePayloadWithTolerance(body, signature, c.secret, tolerance) != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return event(&signed)
}

// event reads what the object of an event tells of itself.
func event(signed *stripe.Event) (*Event, error) {
	e := &Event{ID: signed.ID, Type: string(signed.Type), CreatedAt: at(signed.Created)}
	if signed.Data == nil || e.ID == "" || e.Type == "" {
		return nil, fmt.Errorf("%w: it has no id, type or data", ErrEvent)
	}
	var object struct {
		ID       string          `json:"id"`
		Object   string          `json:"object"`
		Customer json.RawMessage `json:"customer"`
		Charge   json.RawMessage `json:"charge"`
	}
	if err := json.Unmarshal(signed.Data.Raw, &object); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	e.Object, e.ObjectID, e.Customer = object.Object, object.ID, idOf(object.Customer)
	if charge := idOf(object.Charge); (e.Object == "refund" || e.Object == "dispute") && charge != "" {
		e.Object, e.ObjectID = "charge", charge // which shows all refunds, and whose it is
	}
	return e, nil
}

// idOf is the id of an object that is there by its id or as itself.
func idOf(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id
	}
	var object struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(raw, &object) // else there is none
	return object.ID
}
