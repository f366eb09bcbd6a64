package billing

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/stripe/stripe-go/v85"
)

// What things are called at Stripe.
const (
	keyPrefix = "nanobanana_"

	// CreditsKey is the lookup key of the price of a credit that is bought, and the
	// event name of the meter of credits that are used.
	CreditsKey = keyPrefix + "credits"

	metaPlan = "nanobanana_plan"
)

// PriceKey is the lookup key of a plan's price.
func PriceKey(plan string) string { return keyPrefix + plan }

// A Sale is a plan that is to be had at Stripe. Amounts are in millionths of a US
// dollar.
type Sale struct {
	Plan         string
	Title        string
	PriceMicros  int64 // a month
	Metered      bool  // else: CreditMicros for each credit that is used
	CreditMicros int64
}

// A Catalogue is everything that is to be had.
type Catalogue struct {
	Plans        []Sale
	CreditMicros int64 // what a credit costs that is bought
}

// EnsureCatalogue makes what Stripe does not have yet of products, prices and the
// meter, and returns what it made: nothing the second time. A plan whose price has
// changed gets a new one, for those who subscribe from then on.
func (c *Client) EnsureCatalogue(ctx context.Context, want Catalogue) (made []string, err error) {
	const doing = "set up the catalogue"
	if !c.On() {
		return nil, off(doing)
	}
	meter, created, err := c.ensureMeter(ctx)
	if err != nil {
		return nil, failed(doing, err)
	}
	if created {
		made = append(made, "meter "+CreditsKey)
	}
	for _, sale := range want.Plans {
		price := &stripe.PriceCreateParams{
			UnitAmountDecimal: new(cents(sale.PriceMicros)),
			Recurring:         &stripe.PriceCreateRecurringParams{Interval: new("month")},
			Metadata:          map[string]string{metaPlan: sale.Plan},
		}
		if sale.Metered {
			price.UnitAmountDecimal = new(cents(sale.CreditMicros))
			price.Recurring.UsageType, price.Recurring.Meter = new("metered"), &meter
		}
		created, err := c.ensurePrice(ctx, PriceKey(sale.Plan), "NanoBanana "+sale.Title, price)
		if err != nil {
			return made, failed(doing, err)
		}
		if created {
			made = append(made, "price "+PriceKey(sale.Plan))
		}
	}
	created, err = c.ensurePrice(ctx, CreditsKey, "NanoBanana credits", &stripe.PriceCreateParams{UnitAmountDecimal: new(cents(want.CreditMicros))})
	if err != nil {
		return made, failed(doing, err)
	}
	if created {
		made = append(made, "price "+CreditsKey)
	}
	return made, nil
}

// cents are millionths of a dollar in Stripe's unit.
func cents(micros int64) float64 { return float64(micros) / 10_000 }

func (c *Client) ensureMeter(ctx context.Context) (id string, created bool, err error) {
	params := &stripe.BillingMeterListParams{Status: new("active")}
	for meter, err := range c.stripe.V1BillingMeters.List(ctx, params).All(ctx) {
		if err != nil {
			return "", false, err
		}
		if meter.EventName == CreditsKey {
			return meter.ID, false, nil
		}
	}
	meter, err := c.stripe.V1BillingMeters.Create(ctx, &stripe.BillingMeterCreateParams{
		Params:             once("meter:" + CreditsKey),
		DisplayName:        new("NanoBanana credits"),
		EventName:          new(CreditsKey),
		DefaultAggregation: &stripe.BillingMeterCreateDefaultAggregationParams{Formula: new("sum")},
		CustomerMapping:    &stripe.BillingMeterCreateCustomerMappingParams{Type: new("by_id"), EventPayloadKey: new("stripe_customer_id")},
		ValueSettings:      &stripe.BillingMeterCreateValueSettingsParams{EventPayloadKey: new("value")},
	})
	if err != nil {
		return "", false, err
	}
	return meter.ID, true, nil
}

// ensurePrice makes a price with a lookup key, unless there is one that is the same.
func (c *Client) ensurePrice(ctx context.Context, key, title string, want *stripe.PriceCreateParams) (created bool, err error) {
	has, err := c.price(ctx, key)
	switch {
	case err == nil && has.UnitAmountDecimal == *want.UnitAmountDecimal && string(has.Currency) == Currency:
		return false, nil
	case err != nil && !errors.Is(err, ErrCatalogue):
		return false, err
	}
	product, err := c.ensureProduct(ctx, key, title)
	if err != nil {
		return false, err
	}
	before := ""
	if has != nil {
		before = has.ID
	}
	want.Params = once("price:" + key + ":" + strconv.FormatFloat(*want.UnitAmountDecimal, 'f', -1, 64) + ":" + before)
	want.Currency, want.Product, want.LookupKey, want.TransferLookupKey = new(Currency), &product, &key, new(true)
	_, err = c.stripe.V1Prices.Create(ctx, want)
	return err == nil, err
}

// ensureProduct makes a product of an id of ours.
func (c *Client) ensureProduct(ctx context.Context, id, title string) (string, error) {
	made, err := c.stripe.V1Products.Create(ctx, &stripe.ProductCreateParams{Params: once("product:" + id + ":" + title), ID: &id, Name: &title})
	var said *stripe.Error
	switch {
	case errors.As(err, &said) && said.Code == stripe.ErrorCodeResourceAlreadyExists:
		return id, nil
	case err != nil:
		return "", err
	}
	return made.ID, nil
}

// price returns the price with a lookup key, or ErrCatalogue.
func (c *Client) price(ctx context.Context, key string) (*stripe.Price, error) {
	params := &stripe.PriceListParams{LookupKeys: []*string{&key}, Active: new(true)}
	params.Limit = new(int64(1))
	for price, err := range c.stripe.V1Prices.List(ctx, params).All(ctx) {
		if err != nil {
			return nil, failed("find price "+key, err)
		}
		return price, nil
	}
	return nil, &Error{Doing: fmt.Sprintf("find price %s", key), Kind: ErrCatalogue}
}
