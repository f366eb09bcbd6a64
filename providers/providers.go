// Package providers turns prompts into images with other people's models: the
// contract every upstream fulfils, the kinds of error it may answer with, the
// catalogue of models, the transport that streams images to files, and the chain
// that calls upstreams over several routes.
package providers

import (
	"context"
	"time"
)

// A Provider calls one upstream API. Implementations are safe for concurrent
// use. Each call to Generate is paid for and is never repeated inside.
type Provider interface {
	// Name is the provider as receipts and logs show it: "gemini", "simulator".
	Name() string

	// Generate makes one image. The image's bytes go from the wire to a file
	// and are never held in memory. The error is always an *Error.
	Generate(ctx context.Context, req Request) (*Result, error)
}

// A Request asks for one image.
type Request struct {
	Model          string // upstream name, Model.Upstream of the catalogue
	Prompt         string
	NegativePrompt string        // what to avoid; upstreams without a field for it get it as text
	Style          string        // "", "natural", "artistic" or "vivid"
	AspectRatio    string        // "16:9"; empty lets the model choose
	Resolution     string        // "1K", "2K" or "4K"; empty is the model's default
	Width, Height  int           // pixels wanted; upstreams that take exact sizes get these, others the two above
	Quality        string        // as callers name it, for Model.QualityFor; empty is the model's default
	Background     string        // "opaque" or "transparent"; empty leaves it to the upstream
	References     []File        // pictures to work from, the one to be edited first
	Mask           *File         // PNG as large as the first reference: transparent where it may change
	Seed           *int32        // best effort
	Dir            string        // where the image file is made; it must exist
	Timeout        time.Duration // of the call; 0 is the provider's own for the resolution

	// ImageOnly forbids text beside the image. It is set after an answer that
	// held only text.
	ImageOnly bool
}

// A File is a picture on disk that belongs to the caller.
type File struct {
	Path      string
	MediaType string
}

// A Result is one finished image and what it took.
type Result struct {
	Image     Image
	Usage     Usage
	Text      string // what the model said beside the image
	RequestID string // the upstream's id of the answer
	Route     string // that served; set by Chain
	Model     string // ours, that served; set by Chain
}

// An Image is a file that belongs to the caller, who removes it.
type Image struct {
	Path      string
	MediaType string // by content, not by what the upstream claimed
	Bytes     int64
	SHA256    [32]byte
}

// Usage counts tokens as the upstream bills them.
type Usage struct {
	PromptTokens     int // all input, images included
	InputImageTokens int // of these, the images', where they are billed at a rate of their own
	ImageTokens      int // output of modality image
	TextTokens       int // other output, thoughts included, billed at the text rate
	TotalTokens      int
}
