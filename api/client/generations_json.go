package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// A GenerateRequest asks for images. Prompt is all it needs: zero fields leave
// the choice to the service. Client.Models tells what models take.
type GenerateRequest struct {
	Prompt         string            `json:"prompt"`
	Model          string            `json:"model,omitempty"`
	N              int               `json:"n,omitempty"`            // images to make, up to 10; default 1
	Size           string            `json:"size,omitempty"`         // "1024x1024"
	AspectRatio    string            `json:"aspect_ratio,omitempty"` // "16:9" or "widescreen"
	Style          string            `json:"style,omitempty"`        // "natural", "artistic" or "vivid"
	NegativePrompt string            `json:"negative_prompt,omitempty"`
	Quality        string            `json:"quality,omitempty"`            // "auto", "low", "medium" or "high"
	Format         string            `json:"format,omitempty"`             // "png", "jpeg" or "webp"; default: the provider's
	Compression    *int              `json:"output_compression,omitempty"` // quality of jpeg and webp in percent
	Background     string            `json:"background,omitempty"`         // "auto" or "opaque"
	Seed           *int32            `json:"seed,omitempty"`
	Metadata       map[string]string `json:"metadata,omitempty"`         // up to 16 pairs of your own
	Tags           []string          `json:"tags,omitempty"`             // up to 20 of your own
	Deadline       int               `json:"deadline_seconds,omitempty"` // seconds it may wait to begin; default 3600
	Priority       string            `json:"priority,omitempty"`         // "standard" (the default), or "batch" for what nobody waits for

	// WebhookURL is told of the generation: of what WebhookEvents say, which default
	// to its end, whichever it is.
	WebhookURL    string   `json:"webhook_url,omitempty"`
	WebhookEvents []string `json:"webhook_events,omitempty"`

	// IdempotencyKey makes two submissions with the same key one generation,
	// for 24 hours; 1 to 255 visible ASCII characters. Default: a new UUIDv7,
	// which covers the retries of one call.
	IdempotencyKey string `json:"-"`
}

// A Status is where a generation stands.
type Status string

// The states. A generation leaves none of the last four.
const (
	StatusQueued     Status = "queued"
	StatusProcessing Status = "processing"
	StatusSucceeded  Status = "succeeded" // at least one image; ImageErrors says why others are missing
	StatusFailed     Status = "failed"
	StatusCanceled   Status = "canceled"
	StatusExpired    Status = "expired" // not begun by its deadline
)

// Terminal reports whether the state is final.
func (s Status) Terminal() bool {
	return s == StatusSucceeded || s == StatusFailed || s == StatusCanceled || s == StatusExpired
}

// A Generation is one accepted request for images.
type Generation struct {
	ID            string            `json:"id"`
	Kind          string            `json:"kind"`
	Status        Status            `json:"status"`
	URL           string            `json:"url"` // of the first image, for anyone who has it; 202 until the end
	Prompt        string            `json:"prompt"`
	Model         string            `json:"model"` // as asked
	ModelUsed     string            `json:"model_used"`
	ModelNotice   string            `json:"model_notice"` // the model asked for is retired or about to be
	Provider      string            `json:"provider"`
	Simulated     bool              `json:"simulated"` // made by the simulator, not by an image model
	Test          bool              `json:"test"`      // asked with a test key
	Images        []Image           `json:"images"`
	ImageErrors   []ImageError      `json:"image_errors"`
	RequestedN    int               `json:"requested_n"`
	Usage         *Usage            `json:"usage"` // nil until the end
	Size          string            `json:"size"`
	AspectRatio   string            `json:"aspect_ratio"`
	Resolution    string            `json:"resolution"`
	Style         string            `json:"style"`
	Quality       string            `json:"quality"`
	Format        string            `json:"format"`
	Seed          *int32            `json:"seed"`
	Priority      string            `json:"priority"`       // "standard" or "batch"
	QueuePosition int               `json:"queue_position"` // 1 is next; 0 when not queued or not told
	ETASeconds    int               `json:"eta_seconds"`    // a guess at the time to the end
	Progress      float64           `json:"progress"`       // a guess from 0 to 1
	Stage         string            `json:"stage"`          // "waiting", "generating" or "done"
	Attempts      []Attempt         `json:"attempts"`
	Error         *GenerationError  `json:"error"`
	ProjectID     string            `json:"project_id"`
	Metadata      map[string]string `json:"metadata"`
	Tags          []string          `json:"tags"`
	CreatedAt     time.Time         `json:"created_at"`
	DeadlineAt    *time.Time        `json:"deadline_at"`
	StartedAt     *time.Time        `json:"started_at"`
	CompletedAt   *time.Time        `json:"completed_at"`
	ExpiresAt     *time.Time        `json:"expires_at"`   // when its images are deleted; nil keeps them
	DataRemoved   bool              `json:"data_removed"` // prompt and images were deleted on request
	Webhook       Webhook           `json:"webhook"`

	// Raw is the object as the service sent it, with what this package has no
	// field for.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON fills Raw too.
func (g *Generation) UnmarshalJSON(text []byte) error {
	type plain Generation
	if err := json.Unmarshal(text, (*plain)(g)); err != nil {
		return err
	}
	g.Raw = append(json.RawMessage(nil), text...)
	return nil
}

// Err returns nil for a generation that succeeded or has not ended, and else
// why there are no images, or no more: an error that wraps a *GenerationError.
func (g *Generation) Err() error {
	if g.Status == StatusSucceeded || !g.Status.Terminal() {
		return nil
	}
	cause := g.Error
	switch {
	case cause != nil:
	case g.Status == StatusExpired:
		cause = &GenerationError{Code: "deadline_exceeded", Message: "it had not begun by its deadline", Retryable: true}
	case g.Status == StatusCanceled:
		cause = &GenerationError{Code: "canceled", Message: "it was canceled" + g.delivered()}
	default:
		cause = &GenerationError{Code: "unknown", Message: "the service did not say why"}
	}
	return fmt.Errorf("generation %s %s: %w", g.ID, g.Status, cause)
}

// delivered says which images a canceled generation has all the same, and what
// they cost; "" if it has none.
func (g *Generation) delivered() string {
	if len(g.Images) == 0 {
		return ""
	}
	text := fmt.Sprintf("; what was made before stays (images: %d", len(g.Images))
	if g.Usage != nil {
		text += fmt.Sprintf(", credits charged: %d", g.Usage.Cost.Credits)
	}
	text += "):"
	for _, img := range g.Images {
		text += " " + img.URL
	}
	return text
}

// A Webhook is who is told of a generation beside the webhook endpoints.
type Webhook struct {
	URL        string   `json:"url"` // empty: nobody
	Events     []string `json:"events"`
	Deliveries int      `json:"deliveries"` // attempts to tell it so far
}

// A GenerationError says why images were not made.
type GenerationError struct {
	Code       string      `json:"code"` // "content_moderated", "provider_error", "deadline_exceeded", ...
	Message    string      `json:"message"`
	Retryable  bool        `json:"retryable"` // asking again may succeed
	Attempts   int         `json:"attempts"`
	Charged    bool        `json:"charged"`
	Moderation *Moderation `json:"moderation"` // of content_moderated
}

// Error gives the message, the provider's reason and the code.
func (e *GenerationError) Error() string {
	text := e.Message
	if m := e.Moderation; m != nil && m.ProviderReason != "" {
		text += fmt.Sprintf(" (%s: %s)", m.Provider, m.ProviderReason)
	}
	return text + " [" + e.Code + "]"
}

// A Moderation says who refused what.
type Moderation struct {
	Stage          string `json:"stage"` // "input" is the prompt, "output" the picture
	Provider       string `json:"provider"`
	ProviderReason string `json:"provider_reason"`
}

// An ImageError says why one image is missing.
type ImageError struct {
	Index int             `json:"index"`
	Error GenerationError `json:"error"`
}

// A Usage is what a generation took and cost.
type Usage struct {
	PromptTokens   int  `json:"prompt_tokens"`
	ImageTokens    int  `json:"image_tokens"`
	TextTokens     int  `json:"text_tokens"`
	TotalTokens    int  `json:"total_tokens"`
	BillableImages int  `json:"billable_images"`
	Cost           Cost `json:"cost"`
}

// A Cost is what an organization is charged for a generation.
type Cost struct {
	Money

	Unit      string `json:"unit"`             // "credit"
	UnitPrice string `json:"unit_price"`       // of a credit, decimal
	Credits   int    `json:"credits"`          // charged
	Images    int    `json:"images"`           // that are charged
	Released  int    `json:"credits_released"` // reserved, and not charged
	Reason    string `json:"release_reason"`   // why, or empty
}

// Money is an exact amount.
type Money struct {
	Amount   string `json:"amount"` // decimal: "0.0336"
	Currency string `json:"currency"`
}

// An Attempt is one call to a provider.
type Attempt struct {
	ImageIndex int       `json:"image_index"`
	Provider   string    `json:"provider"`
	Model      string    `json:"model"` // the provider's name of it
	StartedAt  time.Time `json:"started_at"`
	MS         int64     `json:"ms"`      // 0 while it runs
	Outcome    string    `json:"outcome"` // empty while it runs
	Error      string    `json:"error"`   // the provider's code
}
