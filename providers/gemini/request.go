package gemini

import (
	"fmt"
	"os"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

// maxReferences bounds the bytes of all pictures of a request. They go inline,
// and the SDK holds them in memory several times.
const maxReferences = 20_000_000

// contents is the prompt and after it the references. It fails with KindInvalid
// if they are too large, and with KindLocal if they can not be read.
func (p *Provider) contents(req providers.Request) ([]*genai.Content, *providers.Error) {
	invalid := func(message string) ([]*genai.Content, *providers.Error) {
		return nil, &providers.Error{Kind: providers.KindInvalid, Provider: p.name, Message: message}
	}
	if req.Mask != nil {
		return invalid("Gemini's models take no mask")
	}
	parts := []*genai.Part{{Text: req.Text()}}
	left := int64(maxReferences)
	for _, ref := range req.References {
		info, err := os.Stat(ref.Path)
		if err != nil {
			return nil, p.unreadable(err)
		}
		if left -= info.Size(); left < 0 {
			return invalid(fmt.Sprintf("the references have more than %d MB together", maxReferences/1_000_000))
		}
		data, err := os.ReadFile(ref.Path)
		if err != nil {
			return nil, p.unreadable(err)
		}
		parts = append(parts, &genai.Part{InlineData: &genai.Blob{MIMEType: ref.MediaType, Data: data}})
	}
	return []*genai.Content{{Role: genai.RoleUser, Parts: parts}}, nil
}

func (p *Provider) unreadable(err error) *providers.Error {
	return &providers.Error{
		Kind: providers.KindLocal, Provider: p.name, Message: "a reference can not be read", Err: fmt.Errorf("read reference: %w", err),
	}
}

// config is made anew for each call, because the SDK writes to it.
func (p *Provider) config(req providers.Request) *genai.GenerateContentConfig {
	modalities := []string{string(genai.ModalityText), string(genai.ModalityImage)}
	if req.ImageOnly {
		modalities = modalities[1:]
	}
	c := &genai.GenerateContentConfig{
		ResponseModalities: modalities,
		Seed:               req.Seed,
		// A continuation is a second paid call.
		AutomaticContinuation: new(bool),
	}
	if !p.vertex {
		// Paid projects keep requests unless told otherwise; Vertex keeps none
		// and has no such field.
		c.Store = new(bool)
	}
	if req.AspectRatio != "" || req.Resolution != "" {
		c.ImageConfig = &genai.ImageConfig{AspectRatio: req.AspectRatio, ImageSize: req.Resolution}
	}
	return c
}
