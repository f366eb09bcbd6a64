package view

import (
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
}

// Tokens are what the provider counted of a call.
type Tokens struct {
	Prompt int `json:"prompt"`
	Image  int `json:"image"`
	Text   int `json:"text"`
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

func orZero[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
