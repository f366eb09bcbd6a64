package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// An Attempt is one call to a provider.
type Attempt struct {
	ImageIndex int       `json:"image_index"`
	Provider   string    `json:"provider"`
	Account    string    `json:"account" doc:"The route: which of the service's accounts with the provider"`
	Model      string    `json:"model" doc:"The provider's name of it"`
	StartedAt  time.Time `json:"started_at"`
	MS         *int64    `json:"ms" doc:"null while it runs"`
	Outcome    *string   `json:"outcome" doc:"succeeded, ambiguous (perhaps paid, answer unknown), canceled or a kind of error; null while it runs"`
	Error      *string   `json:"error" doc:"The provider's code"`
	Tokens     *Tokens   `json:"tokens" doc:"What the provider counted; null where it said nothing"`
	Cost       *Money    `json:"cost" doc:"What the provider bills the service; null where it is not known"`
}

// Tokens are what the provider counted of a call.
type Tokens struct {
	Prompt int `json:"prompt"`
	Image  int `json:"image"`
	Text   int `json:"text"`
}

// Usage is what a generation took.
type Usage struct {
	PromptTokens   int   `json:"prompt_tokens"`
	ImageTokens    int   `json:"image_tokens"`
	TextTokens     int   `json:"text_tokens"`
	TotalTokens    int   `json:"total_tokens"`
	BillableImages int   `json:"billable_images"`
	Cost           Money `json:"cost"`
	Micros         int64 `json:"-"` // the cost in millionths of a US dollar
}

// Money is an amount in decimals.
type Money struct {
	Amount   string `json:"amount" example:"0.0336"`
	Currency string `json:"currency" enum:"usd"`
}

func viewAttempts(rows []*store.Attempt) []Attempt {
	views := make([]Attempt, len(rows))
	for i, row := range rows {
		v := Attempt{
			ImageIndex: row.ImageIndex, Provider: providerOfAttempt(row), Account: row.Route, Model: row.Model,
			StartedAt: row.StartedAt.UTC(), Outcome: row.Outcome, Error: row.Code,
		}
		if t := (Tokens{orZero(row.PromptTokens), orZero(row.ImageTokens), orZero(row.TextTokens)}); t != (Tokens{}) {
			v.Tokens = &t
		}
		if cost := orZero(row.CostMicros); cost > 0 {
			m := Dollars(cost)
			v.Cost = &m
		}
		if row.FinishedAt != nil {
			ms := row.FinishedAt.Sub(row.StartedAt).Milliseconds()
			v.MS = &ms
		}
		views[i] = v
	}
	return views
}

// providerOfAttempt is the route's name where no provider is on record.
func providerOfAttempt(a *store.Attempt) string {
	if a.Provider == nil {
		return a.Route
	}
	return *a.Provider
}

// usageOf adds up what all attempts took, of which the images are billed.
func usageOf(images int, attempts []*store.Attempt) *Usage {
	u := &Usage{BillableImages: images}
	for _, a := range attempts {
		u.PromptTokens += orZero(a.PromptTokens)
		u.ImageTokens += orZero(a.ImageTokens)
		u.TextTokens += orZero(a.TextTokens)
		u.Micros += orZero(a.CostMicros)
	}
	u.TotalTokens = u.PromptTokens + u.ImageTokens + u.TextTokens
	u.Cost = Dollars(u.Micros)
	return u
}

// Dollars writes an amount with four decimals, or six where it needs them.
func Dollars(micros int64) Money {
	text := fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000)
	return Money{Amount: strings.TrimSuffix(text, "00"), Currency: "usd"}
}

func orZero[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
