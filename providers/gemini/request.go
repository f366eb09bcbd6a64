package gemini

import (
	"strings"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

func contents(req providers.Request) []*genai.Content {
	return []*genai.Content{{Role: genai.RoleUser, Parts: []*genai.Part{{Text: prompt(req)}}}}
}

// config is made anew for each call, because the SDK writes to it.
func config(req providers.Request) *genai.GenerateContentConfig {
	modalities := []string{string(genai.ModalityText), string(genai.ModalityImage)}
	if req.ImageOnly {
		modalities = modalities[1:]
	}
	c := &genai.GenerateContentConfig{
		ResponseModalities: modalities,
		Seed:               req.Seed,
		// Paid projects keep requests unless told otherwise.
		Store: new(bool),
		// A continuation is a second paid call.
		AutomaticContinuation: new(bool),
	}
	if req.AspectRatio != "" || req.Resolution != "" {
		c.ImageConfig = &genai.ImageConfig{AspectRatio: req.AspectRatio, ImageSize: req.Resolution}
	}
	return c
}
