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
	Name           string     `json:"name" example:"1K"`
	Credits        int        `json:"credits" doc:"Charged for one image"`
	Price          view.Money `json:"price" doc:"What the provider bills for one image, without input"`
	TypicalSeconds int        `json:"typical_seconds"`
	Sizes          []string   `json:"sizes" nullable:"false" doc:"Native sizes"`
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
	for _, m := range providers.Models() {
		list.Data = append(list.Data, s.viewModel(auth.FromContext(ctx), m))
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
	return &getModelOutput{Body: s.viewModel(auth.FromContext(ctx), m)}, nil
}

func (s *server) viewModel(caller *auth.Caller, m providers.Model) model {
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
		v.Resolutions = append(v.Resolutions, resolution{
			Name: r.Name, Credits: r.Credits, Price: view.Dollars(int64(m.Cost(r.Name, providers.Usage{}))),
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
