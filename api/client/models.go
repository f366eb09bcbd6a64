package client

import (
	"context"
	"net/http"
	"time"
)

// A Model is one that GenerateRequest.Model may name.
type Model struct {
	ID           string       `json:"id"`
	Title        string       `json:"title"`
	Default      bool         `json:"default"`  // used when a request names none
	OwnedBy      string       `json:"owned_by"` // who made it
	Provider     string       `json:"provider"` // what this key's requests run on
	Simulated    bool         `json:"simulated"`
	MaxImages    int          `json:"max_images"` // in one request
	Sizes        []string     `json:"sizes"`
	AspectRatios []string     `json:"aspect_ratios"`
	Resolutions  []Resolution `json:"resolutions"`
	ShutdownAt   *time.Time   `json:"shutdown_at"` // when its maker ends it
	Aliases      []Alias      `json:"aliases"`
}

// A Resolution is one size class of a model. The first of a model is its default.
type Resolution struct {
	Name           string   `json:"name"` // "1K"
	Credits        int      `json:"credits"`
	Price          Money    `json:"price"` // of one image, in the organization's plan
	TypicalSeconds int      `json:"typical_seconds"`
	Sizes          []string `json:"sizes"`
}

// An Alias is another name of a model.
type Alias struct {
	ID         string     `json:"id"`
	ShutdownAt *time.Time `json:"shutdown_at"` // when its maker ends or ended it
}

// Models lists the models, the default one first.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var list struct {
		Data []Model `json:"data"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/v1/models", retries: c.retries}, &list)
	return list.Data, err
}
