package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// model is a model as callers see it, in the form of the OpenAI API with what
// one needs to choose.
type model struct {
	ID           string       `json:"id" example:"banana"`
	Object       string       `json:"object" enum:"model"`
	Created      int64        `json:"created" doc:"Its release, in Unix seconds"`
	OwnedBy      string       `json:"owned_by" doc:"Whose model it is"`
	Title        string       `json:"title"`
	Default      bool         `json:"default" doc:"Used when a request names none"`
	Provider     string       `json:"provider" doc:"What the key's requests run on: simulator or owned_by"`
	Simulated    bool         `json:"simulated"`
	Capabilities []string     `json:"capabilities" nullable:"false" doc:"Kinds of generation"`
	MaxImages    int          `json:"max_images" doc:"In one request"`
	Sizes        []string     `json:"sizes" nullable:"false" doc:"The standard sizes and the native ones of the default resolution; size takes any other of 256 to 4096 a side that a picture of the model covers (OpenAI's: in shapes up to 3:1)"`
	AspectRatios []string     `json:"aspect_ratios" nullable:"false"`
	Resolutions  []resolution `json:"resolutions" nullable:"false" doc:"The first is the default; a larger size chooses a higher one"`
	ReleasedAt   *time.Time   `json:"released_at"`
	DeprecatedAt *time.Time   `json:"deprecated_at"`
	ShutdownAt   *time.Time   `json:"shutdown_at" doc:"When its maker ends it"`
	ReplacedBy   *string      `json:"replaced_by" doc:"Its maker's name of the successor"`
	Aliases      []alias      `json:"aliases" nullable:"false" doc:"Other names it answers to"`
}

type resolution struct {
	Name           string         `json:"name" example:"1K"`
	Credits        int            `json:"credits" doc:"Charged for one image, square and of the default quality if that matters"`
	Price          view.Money     `json:"price" doc:"Of these credits, in the organization's plan; nothing with a test key"`
	Qualities      []qualityPrice `json:"qualities" nullable:"false" doc:"What the qualities cost that a request may ask for; none where all cost the same"`
	TypicalSeconds int            `json:"typical_seconds"`
	Sizes          []string       `json:"sizes" nullable:"false" doc:"Native sizes"`
}

// qualityPrice is what a square image of a quality costs.
type qualityPrice struct {
	Quality string     `json:"quality" example:"high"`
	Credits int        `json:"credits"`
	Price   view.Money `json:"price"`
}

type alias struct {
	ID         string     `json:"id"`
	ShutdownAt *time.Time `json:"shutdown_at" doc:"When its maker ends or ended it: it goes on working here"`
	ReplacedBy *string    `json:"replaced_by"`
}

type modelList struct {
	Object string  `json:"object" enum:"list"`
	Data   []model `json:"data" nullable:"false"`
}

type listModelsOutput struct{ Body modelList }

func (s *server) listModels(ctx context.Context, _ *struct{}) (*listModelsOutput, error) {
	list := modelList{Object: "list"}
	caller := auth.FromContext(ctx)
	creditMicros, err := s.creditMicros(ctx, caller)
	if err != nil {
		return nil, err
	}
	for _, m := range providers.Models() {
		list.Data = append(list.Data, s.viewModel(caller, m, creditMicros))
	}
	return &listModelsOutput{Body: list}, nil
}

type getModelInput struct {
	Name string `path:"name" doc:"A model's name or an alias" example:"banana"`
}

type getModelOutput struct{ Body model }

func (s *server) getModel(ctx context.Context, in *getModelInput) (*getModelOutput, error) {
	m, ok := providers.Lookup(in.Name)
	if !ok {
		return nil, refuse("not_found", "There is no such model; GET /v1/models lists them.")
	}
	caller := auth.FromContext(ctx)
	creditMicros, err := s.creditMicros(ctx, caller)
	if err != nil {
		return nil, err
	}
	return &getModelOutput{Body: s.viewModel(caller, m, creditMicros)}, nil
}

// creditMicros is what a credit costs a caller in its organization's plan, in millionths
// of a US dollar.
func (s *server) creditMicros(ctx context.Context, caller *auth.Caller) (int, error) {
	if caller.Test {
		return 0, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	plan, err := s.plans.Plan(ctx, caller.Limits.Plan)
	if err != nil {
		return 0, err
	}
	return plan.CreditMicros, nil
}

func (s *server) viewModel(caller *auth.Caller, m providers.Model, creditMicros int) model {
	v := model{
		ID: m.Name, Object: "model", OwnedBy: m.Provider, Title: m.Title, Default: m.Name == providers.DefaultModel,
		Provider: s.views.LiveProvider(m), Capabilities: []string{store.KindGenerate}, MaxImages: store.MaxImages,
		AspectRatios: m.AspectRatios, Aliases: []alias{},
		ReleasedAt: m.ReleasedAt, DeprecatedAt: m.DeprecatedAt, ShutdownAt: m.ShutdownAt, ReplacedBy: orNil(m.ReplacedBy),
	}
	if caller.Test {
		v.Provider = view.Simulator
	}
	v.Simulated = v.Provider == view.Simulator
	if m.ReleasedAt != nil {
		v.Created = m.ReleasedAt.Unix()
	}
	for _, r := range m.Resolutions {
		credits := m.Credits(providers.OperationGenerate, r.Name, "", 0, 0)
		v.Resolutions = append(v.Resolutions, resolution{
			Name: r.Name, Credits: credits, Price: view.Dollars(int64(credits) * int64(creditMicros)), Qualities: qualityPrices(m, r.Name, creditMicros),
			TypicalSeconds: int(r.TypicalLatency.Seconds()), Sizes: nativeSizes(m, r.Name),
		})
	}
	for _, size := range providers.StandardSizes() {
		v.Sizes = append(v.Sizes, fmt.Sprintf("%dx%d", size.Width, size.Height))
	}
	for _, size := range nativeSizes(m, "") {
		if !slices.Contains(v.Sizes, size) {
			v.Sizes = append(v.Sizes, size)
		}
	}
	for _, a := range providers.Aliases() {
		if a.Model == m.Name {
			v.Aliases = append(v.Aliases, alias{ID: a.Name, ShutdownAt: a.ShutdownAt, ReplacedBy: orNil(a.ReplacedBy)})
		}
	}
	return v
}

// qualityPrices are those of the qualities that a request may ask for and the model
// tells apart, if they differ.
func qualityPrices(m providers.Model, resolution string, creditMicros int) []qualityPrice {
	prices := []qualityPrice{}
	differ := false
	for _, quality := range []string{"low", "medium", "high"} {
		if len(m.Qualities) == 0 || m.QualityFor(quality) != quality {
			continue
		}
		credits := m.Credits(providers.OperationGenerate, resolution, quality, 0, 0)
		differ = differ || len(prices) > 0 && prices[0].Credits != credits
		prices = append(prices, qualityPrice{Quality: quality, Credits: credits, Price: view.Dollars(int64(credits) * int64(creditMicros))})
	}
	if !differ {
		return []qualityPrice{}
	}
	return prices
}

// nativeSizes lists what the model makes at a resolution, in order of its ratios.
func nativeSizes(m providers.Model, resolution string) []string {
	var sizes []string
	for _, ratio := range m.AspectRatios {
		width, height := m.Pixels(ratio, resolution)
		sizes = append(sizes, fmt.Sprintf("%dx%d", width, height))
	}
	return sizes
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
