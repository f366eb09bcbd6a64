package api

import (
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// generationBody asks for a generation. Its tags describe it; what values are
// allowed, jobs decides.
type generationBody struct {
	Prompt            string            `json:"prompt" required:"true" maxLength:"32000" doc:"What to draw" example:"a banana on the moon"`
	Model             string            `json:"model,omitempty" doc:"A name of GET /v1/models or an alias; default banana" example:"banana"`
	N                 int               `json:"n,omitempty" minimum:"1" maximum:"10" doc:"Images to make; default 1"`
	Size              string            `json:"size,omitempty" doc:"Exact pixels of the images: 256 to 4096 a side as far as the model's pictures cover them (OpenAI's: in shapes up to 3:1), or a native size of the model; auto or nothing leaves them to aspect_ratio" example:"1024x1024"`
	AspectRatio       string            `json:"aspect_ratio,omitempty" doc:"square, portrait, landscape, widescreen, ultrawide, vertical or one of the model's ratios" example:"16:9"`
	Style             string            `json:"style,omitempty" enum:"natural,artistic,vivid"`
	NegativePrompt    string            `json:"negative_prompt,omitempty" maxLength:"32000" doc:"What to leave out"`
	Quality           string            `json:"quality,omitempty" enum:"auto,low,medium,high,standard,hd"`
	Format            string            `json:"format,omitempty" enum:"png,jpeg,webp" doc:"Default: as the provider sends it"`
	OutputFormat      string            `json:"output_format,omitempty" enum:"png,jpeg,webp" doc:"The same as format"`
	OutputCompression *int              `json:"output_compression,omitempty" minimum:"0" maximum:"100" doc:"Quality of jpeg and webp, in percent"`
	Background        string            `json:"background,omitempty" enum:"auto,opaque"`
	Seed              *int32            `json:"seed,omitempty" minimum:"-2147483648" maximum:"2147483647"`
	Metadata          map[string]string `json:"metadata,omitempty" doc:"Up to 16 pairs of your own: keys of 64, values of 512 characters"`
	Tags              []string          `json:"tags,omitempty" nullable:"false" doc:"Up to 20 of your own, each of 64 characters"`
	User              string            `json:"user,omitempty" maxLength:"256" doc:"Accepted for clients of the OpenAI API; not kept"`
	DeadlineSeconds   int               `json:"deadline_seconds,omitempty" minimum:"1" maximum:"86400" doc:"How long it may wait to begin before it expires; default 3600"`
	Priority          string            `json:"priority,omitempty" enum:"standard,batch" doc:"batch waits apart from what people wait for, and runs on places of its own; default standard"`
	WebhookURL        string            `json:"webhook_url,omitempty" doc:"Is told of this generation, signed with the project's default secret: https, port 443 or 8443, a public machine" example:"https://example.com/hooks"`
	WebhookEvents     []string          `json:"webhook_events,omitempty" nullable:"false" doc:"What webhook_url is told: types of events, generation.* or *; default the four that end a generation"`
	DryRun            bool              `json:"dry_run,omitempty" doc:"Only say what it would cost, as POST /v1/estimate does, and make nothing; an Idempotency-Key is left as it is"`
	Wait              int               `json:"wait,omitempty" minimum:"0" maximum:"120" doc:"Seconds to wait for the end before answering, like the header Prefer: wait=n"`
}

// request returns what the body asks of jobs.
func (b *generationBody) request() jobs.GenerationRequest {
	format := b.Format
	if format == "" {
		format = b.OutputFormat
	}
	return jobs.GenerationRequest{
		Prompt: b.Prompt, Model: b.Model, N: b.N, Size: b.Size, AspectRatio: b.AspectRatio, Style: b.Style,
		NegativePrompt: b.NegativePrompt, Quality: b.Quality, Format: format, Compression: b.OutputCompression,
		Background: b.Background, Seed: b.Seed, Metadata: b.Metadata, Tags: b.Tags, DeadlineSeconds: b.DeadlineSeconds,
		Priority: b.Priority, WebhookURL: b.WebhookURL, WebhookEvents: b.WebhookEvents,
	}
}

// createGenerationInput is a submission. The headers are read by
// idempotencyKey and preferredWait, and stand here for the document.
type createGenerationInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's generation."`
	Prefer         string `header:"Prefer" doc:"wait=n waits up to n seconds for the end before answering; at most 120" example:"wait=30"`
	Body           generationBody
}

var _ huma.Resolver = (*createGenerationInput)(nil)

// Resolve tells Huma what jobs finds wrong, so that the caller learns of all
// faults at once.
func (in *createGenerationInput) Resolve(ctx huma.Context) []error {
	return in.Body.faults(ctx.Context())
}

// faults are those of a body that is to be a request of this context's.
func (b *generationBody) faults(ctx context.Context) []error {
	var errs []error
	if b.Format != "" && b.OutputFormat != "" && b.Format != b.OutputFormat {
		errs = append(errs, jobFault{jobs.Fault{
			Param: "output_format", Code: "conflict",
			Message: fmt.Sprintf("format %q and output_format %q differ; send only one of the two", b.Format, b.OutputFormat),
		}})
	}
	request := b.request()
	for _, f := range requestOf(ctx).queue.Faults(&request) {
		if f.Param == "format" && b.Format == "" {
			f.Param = "output_format"
		}
		errs = append(errs, jobFault{f})
	}
	return errs
}

type getGenerationInput struct {
	ID          string `path:"id" example:"gen_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Wait        int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait for the end before answering"`
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of an earlier answer: 304 if nothing has changed"`
}

type generationInput struct {
	ID string `path:"id" example:"gen_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

// listGenerationsInput selects a page.
type listGenerationsInput struct {
	Status        string            `query:"status" enum:"queued,processing,succeeded,failed,canceled,expired"`
	Kind          string            `query:"kind" enum:"generate"`
	Model         string            `query:"model" doc:"As asked or as used"`
	Tag           string            `query:"tag"`
	Metadata      map[string]string `query:"metadata,deepObject" doc:"metadata[color]=red selects by a pair"`
	CreatedAfter  time.Time         `query:"created_after"`
	CreatedBefore time.Time         `query:"created_before"`
	Query         string            `query:"q" doc:"Part of the prompt, in any case"`
	ProjectID     string            `query:"project_id" doc:"Only the key's own project"`
	Limit         int               `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After         string            `query:"after" doc:"The id to start behind, in the order asked"`
	Before        string            `query:"before" doc:"The id to end before, in the order asked"`
	Order         string            `query:"order" enum:"asc,desc" default:"desc" doc:"By time of creation"`
}

// filter returns what the input selects, one more than the page holds.
func (in *listGenerationsInput) filter() (store.GenerationFilter, error) {
	for name, cursor := range map[string]string{"after": in.After, "before": in.Before} {
		if cursor != "" && !store.ValidGenerationID(cursor) {
			return store.GenerationFilter{}, refuse("invalid_cursor", "%s is not the id of a generation; use first_id, last_id or next_cursor of an earlier page.", name)
		}
	}
	if in.After != "" && in.Before != "" {
		return store.GenerationFilter{}, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	f := store.GenerationFilter{
		Status: store.Status(in.Status), Kind: in.Kind, Model: in.Model, Tag: in.Tag, Metadata: in.Metadata,
		Query: in.Query, After: in.After, Before: in.Before, Ascending: in.Order == "asc", Limit: in.Limit + 1,
	}
	if !in.CreatedAfter.IsZero() {
		f.CreatedAfter = &in.CreatedAfter
	}
	if !in.CreatedBefore.IsZero() {
		f.CreatedBefore = &in.CreatedBefore
	}
	return f, nil
}
