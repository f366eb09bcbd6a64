package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/nanobanana/nanobanana/providers"
)

// generation is the body of a call without references. It holds neither
// response_format nor style, which the API refuses for these models.
type generation struct {
	Model        string `json:"model"`
	Prompt       string `json:"prompt"`
	N            int    `json:"n"`
	Size         string `json:"size"`
	Quality      string `json:"quality"`
	Background   string `json:"background,omitempty"`
	OutputFormat string `json:"output_format"`
	Moderation   string `json:"moderation"`
}

// outputFormat loses nothing and takes any background. It is what the API makes
// unless told otherwise.
const outputFormat = "png"

// request is the HTTP request for one image.
func (p *Provider) request(ctx context.Context, req providers.Request) (*http.Request, *providers.Error) {
	if len(req.References) > 0 || req.Mask != nil {
		return p.edit(ctx, req)
	}
	body, err := json.Marshal(generation{
		Model: req.Model, Prompt: req.Text(), N: 1, Size: size(req), Quality: quality(req),
		Background: req.Background, OutputFormat: outputFormat, Moderation: "auto",
	})
	if err != nil {
		return nil, p.unusable(fmt.Errorf("encode request: %w", err))
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base.JoinPath("v1/images/generations").String(), bytes.NewReader(body))
	if err != nil {
		return nil, p.unusable(fmt.Errorf("make request: %w", err))
	}
	call.Header.Set("Content-Type", "application/json")
	p.sign(call)
	return call, nil
}

// sign adds the credentials, and who pays.
func (p *Provider) sign(call *http.Request) {
	call.Header.Set("Authorization", "Bearer "+p.apiKey)
	call.Header.Set("Accept", "application/json")
	call.Header.Set("User-Agent", "nanobanana")
	if p.organization != "" {
		call.Header.Set("OpenAI-Organization", p.organization)
	}
}

// unusable is the error of a request that was not made because of itself.
func (p *Provider) unusable(err error) *providers.Error {
	return &providers.Error{Kind: providers.KindInvalid, Provider: p.name, Message: p.clean(err.Error(), maxMessage), Err: err}
}

// nativeSize is the pixels to ask for: by the catalogue, since the API makes
// multiples of 16 only, and as they are of a model it does not know.
func nativeSize(req providers.Request) (providers.Size, bool) {
	model, ok := providers.Lookup(req.Model)
	if !ok {
		return providers.Size{Width: req.Width, Height: req.Height}, req.Width > 0 && req.Height > 0
	}
	return model.NativeSize(req)
}

// size is the pixels as the API wants them. Those that the model does not make
// are left for the API to refuse.
func size(req providers.Request) string {
	native, ok := nativeSize(req)
	switch {
	case ok:
		return dimensions(native)
	case req.Width > 0 && req.Height > 0:
		return dimensions(providers.Size{Width: req.Width, Height: req.Height})
	}
	return "auto"
}

// dimensions is a size in the API's words.
func dimensions(s providers.Size) string {
	return strconv.Itoa(s.Width) + "x" + strconv.Itoa(s.Height)
}

// quality is what to ask of the model, and "auto" of one that the catalogue does
// not know.
func quality(req providers.Request) string {
	model, _ := providers.Lookup(req.Model)
	if q := model.QualityFor(req.Quality); q != "" {
		return q
	}
	return "auto"
}
