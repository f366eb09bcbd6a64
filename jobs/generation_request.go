package jobs

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// Limits of a request.
const (
	MaxPromptLength  = 32_000 // characters
	MaxMetadataPairs = 16
	MaxMetadataKey   = 64  // characters
	MaxMetadataValue = 512 // characters
	MaxTags          = 20
	MaxTagLength     = 64 // characters
	MaxDeadline      = 24 * time.Hour

	// DefaultDeadline is how long a generation may wait to begin.
	DefaultDeadline = time.Hour
)

// Priorities of a request.
const (
	PriorityStandard = store.PriorityStandard // the default
	PriorityBatch    = store.PriorityBatch    // nobody waits for it: it runs on places of its own
)

// A GenerationRequest is what a caller asks for. Zero fields leave the choice
// to the service.
type GenerationRequest struct {
	Prompt          string            `json:"prompt"`
	Model           string            `json:"model,omitempty"`
	N               int               `json:"n,omitempty"`
	Size            string            `json:"size,omitempty"`
	AspectRatio     string            `json:"aspect_ratio,omitempty"`
	Style           string            `json:"style,omitempty"`
	NegativePrompt  string            `json:"negative_prompt,omitempty"`
	Quality         string            `json:"quality,omitempty"`
	Format          string            `json:"format,omitempty"`
	Compression     *int              `json:"output_compression,omitempty"`
	Background      string            `json:"background,omitempty"`
	Seed            *int32            `json:"seed,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	DeadlineSeconds int               `json:"deadline_seconds,omitempty"`
	Priority        string            `json:"priority,omitempty"` // "standard" or "batch"
	WebhookURL      string            `json:"webhook_url,omitempty"`
	WebhookEvents   []string          `json:"webhook_events,omitempty"` // types of events or patterns of them; default its ends
}

// A Fault is one thing wrong with a request and what would be right.
type Fault struct {
	Param   string // "size", "metadata.color"
	Code    string // "unsupported_value", "required", "too_long", "out_of_range", "invalid", CodeWebhookURL
	Message string
	Allowed []string // the values that would do, if they are few
}

// CodeWebhookURL is the code of a webhook_url that nothing will be sent to.
const CodeWebhookURL = "webhook_url_forbidden"

// An InvalidError is a request that can not be accepted, with every fault.
type InvalidError struct{ Faults []Fault }

func (e *InvalidError) Error() string {
	messages := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		messages[i] = f.Message
	}
	return strings.Join(messages, "; ")
}

// resolved is a request with every choice made.
type resolved struct {
	model, modelUsed string
	n                int
	creditsEach      int
	params           store.Params
	deadline         time.Duration
	queue            string
	webhookURL       *string
	webhookEvents    []string
}

// Faults returns everything that is wrong with a request.
func (q *Queue) Faults(r *GenerationRequest) []Fault {
	_, faults := r.resolve(q.opts.Egress)
	return faults
}

// fingerprint tells whether two requests ask for the same thing: the SHA-256 of
// the request as JSON with sorted keys and without absent fields.
func (r *GenerationRequest) fingerprint() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and maps of strings always encode
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// faultList gathers faults.
type faultList []Fault

func (l *faultList) add(param, code, message string, allowed ...string) {
	*l = append(*l, Fault{Param: param, Code: code, Message: message, Allowed: allowed})
}

// oneOf checks an optional value against the few that are allowed.
func (l *faultList) oneOf(param, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	if value != "" {
		l.add(param, "unsupported_value", fmt.Sprintf("%s %q is not supported; use %s", param, shorten(value), strings.Join(allowed, ", ")), allowed...)
	}
}

func (r *GenerationRequest) resolve(permitted egress.Policy) (*resolved, []Fault) {
	var faults faultList
	r.checkText(&faults)
	r.checkLabels(&faults)
	out := &resolved{n: max(r.N, 1), deadline: DefaultDeadline, queue: QueueGenerate}
	if r.Priority == PriorityBatch {
		out.queue = QueueBatch
	}
	if r.N < 0 || r.N > store.MaxImages {
		faults.add("n", "out_of_range", fmt.Sprintf("n must be 1 to %d", store.MaxImages))
	}
	if r.DeadlineSeconds < 0 || time.Duration(r.DeadlineSeconds)*time.Second > MaxDeadline {
		faults.add("deadline_seconds", "out_of_range", fmt.Sprintf("deadline_seconds must be 1 to %d", int(MaxDeadline.Seconds())))
	} else if r.DeadlineSeconds > 0 {
		out.deadline = time.Duration(r.DeadlineSeconds) * time.Second
	}
	if r.Compression != nil && (*r.Compression < 0 || *r.Compression > 100) {
		faults.add("output_compression", "out_of_range", "output_compression must be 0 to 100")
	} else if r.Compression != nil && r.Format != "jpeg" && r.Format != "webp" {
		faults.add("output_compression", "conflict", "output_compression needs format jpeg or webp")
	}
	faults.oneOf("priority", r.Priority, PriorityStandard, PriorityBatch)
	faults.oneOf("style", r.Style, "natural", "artistic", "vivid")
	faults.oneOf("quality", r.Quality, "auto", "low", "medium", "high", "standard", "hd")
	faults.oneOf("format", r.Format, "png", "jpeg", "webp")
	faults.oneOf("background", r.Background, "auto", "opaque")
	out.params = store.Params{
		Style: r.Style, NegativePrompt: r.NegativePrompt, Quality: r.Quality, Format: r.Format,
		Compression: r.Compression, Background: r.Background, Seed: r.Seed,
	}
	r.resolveWebhook(out, permitted, &faults)
	r.resolveModel(out, &faults)
	out.creditsEach = creditsEach(out.modelUsed, out.params)
	return out, faults
}

// resolveWebhook chooses who is told of the generation, and of what.
func (r *GenerationRequest) resolveWebhook(out *resolved, permitted egress.Policy, faults *faultList) {
	if r.WebhookURL != "" {
		out.webhookURL, out.webhookEvents = &r.WebhookURL, webhook.DefaultEvents()
		if _, err := permitted.CheckURL(r.WebhookURL); err != nil {
			faults.add("webhook_url", CodeWebhookURL, "webhook_url is refused: "+reasonOf(err))
		}
	}
	if len(r.WebhookEvents) == 0 {
		return
	}
	if r.WebhookURL == "" {
		faults.add("webhook_events", "conflict", "webhook_events needs webhook_url, which is to be told of them")
	}
	events, err := webhook.CheckGenerationFilter(r.WebhookEvents)
	if err != nil {
		faults.add("webhook_events", "unsupported_value", "webhook_events: "+err.Error(), webhook.GenerationFilters()...)
		return
	}
	out.webhookEvents = events
}

// reasonOf says why a URL is refused, and nothing of this network.
func reasonOf(err error) string {
	var refused *egress.Error
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return "it is not permitted"
}

func (r *GenerationRequest) checkText(faults *faultList) {
	switch length := utf8.RuneCountInString(r.Prompt); {
	case strings.TrimSpace(r.Prompt) == "":
		faults.add("prompt", "required", "prompt must say what to draw")
	case length > MaxPromptLength:
		faults.add("prompt", "too_long", fmt.Sprintf("prompt has %d characters; at most %d are accepted", length, MaxPromptLength))
	}
	if utf8.RuneCountInString(r.NegativePrompt) > MaxPromptLength {
		faults.add("negative_prompt", "too_long", fmt.Sprintf("negative_prompt may have at most %d characters", MaxPromptLength))
	}
	checkChars(faults, "prompt", r.Prompt)
	checkChars(faults, "negative_prompt", r.NegativePrompt)
}

// checkChars refuses what Postgres can not keep in a text.
func checkChars(faults *faultList, param, text string) {
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		faults.add(param, "invalid", param+" must be UTF-8 without the character U+0000")
	}
}

// checkLabels looks into metadata and tags only where their number is right:
// nobody reads a thousand faults.
func (r *GenerationRequest) checkLabels(faults *faultList) {
	if len(r.Metadata) > MaxMetadataPairs {
		faults.add("metadata", "too_long", fmt.Sprintf("metadata may have at most %d pairs", MaxMetadataPairs))
	} else {
		for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
			checkPair(faults, key, r.Metadata[key])
		}
	}
	if len(r.Tags) > MaxTags {
		faults.add("tags", "too_long", fmt.Sprintf("at most %d tags are accepted", MaxTags))
		return
	}
	for i, tag := range r.Tags {
		param := "tags." + strconv.Itoa(i)
		if tag == "" || utf8.RuneCountInString(tag) > MaxTagLength {
			faults.add(param, "too_long", fmt.Sprintf("a tag must have 1 to %d characters", MaxTagLength))
		}
		checkChars(faults, param, tag)
	}
}

func checkPair(faults *faultList, key, value string) {
	param := "metadata." + shorten(key)
	if key == "" || utf8.RuneCountInString(key) > MaxMetadataKey {
		faults.add(param, "too_long", fmt.Sprintf("a metadata key must have 1 to %d characters", MaxMetadataKey))
	}
	if utf8.RuneCountInString(value) > MaxMetadataValue {
		faults.add(param, "too_long", fmt.Sprintf("a metadata value may have at most %d characters", MaxMetadataValue))
	}
	checkChars(faults, param, key+value)
}

func shorten(s string) string {
	const limit = 40
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit]) + "…"
}

// resolveModel chooses the model, the native picture it is asked for, and the
// pixels that are promised. With an unknown model, size and ratio are held
// against the default one.
func (r *GenerationRequest) resolveModel(out *resolved, faults *faultList) {
	model, ok := providers.Lookup(r.Model)
	if !ok {
		faults.add("model", "unsupported_value", fmt.Sprintf("model %q is unknown; see GET /v1/models", shorten(r.Model)), modelNames()...)
		model, _ = providers.Lookup(providers.DefaultModel)
	}
	out.model, out.modelUsed = r.Model, model.Name
	if r.Model == "" {
		out.model = model.Name
	}
	ratio := r.resolveRatio(model, faults)
	if r.Size == "" || r.Size == "auto" {
		if ratio == "" {
			ratio = model.AspectRatios[0]
		}
		out.params.AspectRatio, out.params.Resolution = ratio, model.Resolutions[0].Name
		out.params.Width, out.params.Height = model.Pixels(ratio, "")
		return
	}
	r.resolveSize(out, model, ratio, faults)
}

// resolveRatio returns the native ratio that was asked, or "".
func (r *GenerationRequest) resolveRatio(model providers.Model, faults *faultList) string {
	if r.AspectRatio == "" {
		return ""
	}
	ratio, ok := providers.ParseAspectRatio(r.AspectRatio)
	if width, _ := model.Pixels(ratio, ""); !ok || width == 0 {
		faults.add("aspect_ratio", "unsupported_value", fmt.Sprintf("aspect_ratio %q is not one of %s's", shorten(r.AspectRatio), model.Name), aspectRatios(model)...)
		return ""
	}
	return ratio
}

func aspectRatios(model providers.Model) []string {
	named := []string{"square", "portrait", "landscape", "widescreen", "ultrawide", "vertical"}
	return append(named, model.AspectRatios...)
}

func modelNames() []string {
	var names []string
	for _, m := range providers.Models() {
		names = append(names, m.Name)
	}
	return names
}
