package gemini

import (
	"strings"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

// styles says in words what the model has no field for.
var styles = map[string]string{
	"natural":  "natural and realistic, with true colours and unforced light",
	"artistic": "artistic and expressive, with visible craft",
	"vivid":    "vivid, with saturated colours and strong contrast",
}

// prompt is the whole text sent: the caller's prompt unchanged, then, each after
// an empty line and only if asked for, "Style: ..." and "Avoid: ...", since the
// API has a field neither for a style nor for a negative prompt.
func prompt(req providers.Request) string {
	parts := []string{req.Prompt}
	if style, ok := styles[req.Style]; ok {
		parts = append(parts, "Style: "+style+".")
	}
	if avoid := strings.TrimSpace(req.NegativePrompt); avoid != "" {
		parts = append(parts, "Avoid: "+avoid)
	}
	return strings.Join(parts, "\n\n")
}

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
