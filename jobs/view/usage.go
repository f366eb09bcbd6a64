package view

import (
	"slices"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// Usage is what a generation took, and what its organization is charged for it.
type Usage struct {
	PromptTokens   int  `json:"prompt_tokens" doc:"Of all calls to providers, as are image_tokens and text_tokens"`
	ImageTokens    int  `json:"image_tokens"`
	TextTokens     int  `json:"text_tokens"`
	TotalTokens    int  `json:"total_tokens"`
	BillableImages int  `json:"billable_images" doc:"That are charged: delivered ones alone, and none of a test key"`
	Cost           Cost `json:"cost" doc:"What the charged credits are worth at unit_price; not what is invoiced"`
}

// A Cost is what an organization is charged for a generation.
type Cost struct {
	Money

	Unit      string  `json:"unit" enum:"credit"`
	UnitPrice string  `json:"unit_price" example:"0.0200" doc:"Of a credit, in the organization's plan"`
	Credits   int     `json:"credits" doc:"Charged: amount is as many times unit_price"`
	Images    int     `json:"images" doc:"That are charged"`
	Released  int     `json:"credits_released" doc:"Reserved, and not charged"`
	Reason    *string `json:"release_reason" doc:"Why: the error's code, canceled, expired, or substituted where a cheaper model has made an image"`
	Micros    int64   `json:"-"` // the amount in millionths of a US dollar
}

// Money is an amount in decimals.
type Money struct {
	Amount   string `json:"amount" example:"0.0200"`
	Currency string `json:"currency" enum:"usd"`
}

// Dollars writes an amount as billing.Amount does.
func Dollars(micros int64) Money {
	return Money{Amount: billing.Amount(micros), Currency: billing.Currency}
}

// ReasonSubstituted is why credits are released for images that a model has made which
// costs less than the one asked for.
const ReasonSubstituted = "substituted"

// usageOf adds up what all attempts of an ended generation took, and says what it costs.
func usageOf(g *store.Generation, images []*store.Image, attempts []*store.Attempt) *Usage {
	u := &Usage{Cost: CostOf(g, images)}
	u.BillableImages = u.Cost.Images
	for _, a := range attempts {
		u.PromptTokens += orZero(a.PromptTokens)
		u.ImageTokens += orZero(a.ImageTokens)
		u.TextTokens += orZero(a.TextTokens)
	}
	u.TotalTokens = u.PromptTokens + u.ImageTokens + u.TextTokens
	return u
}

// CostOf is what an ended generation with these images costs its organization.
func CostOf(g *store.Generation, images []*store.Image) Cost {
	c := Cost{Unit: "credit", UnitPrice: billing.Amount(int64(orZero(g.CreditMicros)))}
	for _, i := range images {
		if credits := ImageCredits(g, i); credits > 0 {
			c.Credits += credits
			c.Images++
		}
	}
	if g.Charged != nil {
		c.Credits = *g.Charged
	}
	c.Released = orZero(g.Credits) - c.Credits
	c.Reason = releaseReason(g, c.Released)
	c.Micros = int64(c.Credits) * int64(orZero(g.CreditMicros))
	c.Money = Dollars(c.Micros)
	return c
}

// ImageCredits is what an image of an ended generation is charged: nothing if that is
// free. One that was canceled has images if an earlier run made some. The sum over its
// images is Generation.Charged.
func ImageCredits(g *store.Generation, image *store.Image) int {
	if g.Credits == nil || g.Status != store.StatusSucceeded && g.Status != store.StatusCanceled {
		return 0
	}
	share := *g.Credits / g.N
	if image.Credits == nil {
		return share
	}
	return min(*image.Credits, share)
}

// releaseReason is why an ended generation is not charged all that was reserved for
// it: as the ledger has it.
func releaseReason(g *store.Generation, released int) *string {
	var reason string
	switch {
	case released == 0:
		return nil
	case g.Status == store.StatusCanceled: // whatever its earlier runs have met
		reason = string(g.Status)
	case g.Error != nil:
		reason = g.Error.Code
	case len(g.ImageErrors) > 0:
		reason = g.ImageErrors[0].Error.Code
	case g.Status == store.StatusSucceeded:
		reason = ReasonSubstituted
	default:
		reason = string(g.Status)
	}
	return &reason
}

// ModelOf returns which model, of ours, the last call asked that made an image, or nil
// where none is on record.
func (v *Generation) ModelOf(index int) *string {
	for _, a := range slices.Backward(v.Attempts) {
		if a.ImageIndex != index || a.Outcome == nil || *a.Outcome != store.AttemptSucceeded {
			continue
		}
		if m, ok := providers.Lookup(a.Model); ok && a.Model != "" {
			return &m.Name
		}
	}
	return nil
}
