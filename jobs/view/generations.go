package view

import (
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// A Generation is a generation as callers see it.
type Generation struct {
	ID                string            `json:"id"`
	Object            string            `json:"object" enum:"generation"`
	Kind              string            `json:"kind" enum:"generate"`
	Status            string            `json:"status" enum:"queued,processing,succeeded,failed,canceled,expired" doc:"The last four are final"`
	URL               string            `json:"url" doc:"The first image, for anyone who has the URL. It is known from the start: before the end it answers 202."`
	Prompt            string            `json:"prompt"`
	CreatedAt         time.Time         `json:"created_at"`
	Created           int64             `json:"created" doc:"created_at in Unix seconds"`
	Model             string            `json:"model" doc:"As asked"`
	ModelUsed         string            `json:"model_used" doc:"Of GET /v1/models"`
	ModelNotice       *string           `json:"model_notice" doc:"Says so when the model asked for is retired or about to be"`
	Provider          string            `json:"provider" doc:"simulator, gemini, ..."`
	Simulated         bool              `json:"simulated" doc:"Made by the simulator: not by any image model"`
	Test              bool              `json:"test" doc:"Asked with a test key"`
	Images            []Image           `json:"images" nullable:"false"`
	ImageErrors       []ImageError      `json:"image_errors" nullable:"false" doc:"Why images are missing from one that succeeded"`
	RequestedN        int               `json:"requested_n"`
	Usage             *Usage            `json:"usage" doc:"Once it has ended"`
	Style             *string           `json:"style"`
	Quality           *string           `json:"quality"`
	Downgraded        *Downgraded       `json:"downgraded" doc:"Says so when the quality is lower than what was asked"`
	Format            *string           `json:"format"`
	OutputCompression *int              `json:"output_compression"`
	Background        *string           `json:"background"`
	Seed              *int32            `json:"seed"`
	Size              *string           `json:"size" doc:"As asked"`
	AspectRatio       *string           `json:"aspect_ratio" doc:"Of the picture the model is asked for"`
	Resolution        *string           `json:"resolution" doc:"Of the picture the model is asked for"`
	NegativePrompt    *string           `json:"negative_prompt"`
	Priority          string            `json:"priority" enum:"standard,batch"`
	QueuePosition     *int              `json:"queue_position" doc:"1 is next; only while queued"`
	ETASeconds        *int              `json:"eta_seconds" doc:"A guess at the time to the end, from what the model usually takes"`
	Progress          float64           `json:"progress" minimum:"0" maximum:"1" doc:"A guess, until it is 1"`
	Stage             string            `json:"stage" enum:"waiting,generating,done"`
	Attempts          []Attempt         `json:"attempts" nullable:"false" doc:"Every call to a provider"`
	Error             *GenerationError  `json:"error" doc:"Why it failed"`
	DeadlineAt        time.Time         `json:"deadline_at" doc:"It expires if it has not begun by then"`
	ProjectID         string            `json:"project_id"`
	Metadata          map[string]string `json:"metadata"`
	Tags              []string          `json:"tags" nullable:"false"`
	StartedAt         *time.Time        `json:"started_at"`
	CompletedAt       *time.Time        `json:"completed_at"`
	ExpiresAt         *time.Time        `json:"expires_at" doc:"When its images are deleted; null keeps them"`
	DataRemoved       bool              `json:"data_removed" doc:"Prompt, parameters and images were deleted on request"`
	Timings           Timings           `json:"timings"`
	Webhook           GenerationWebhook `json:"webhook"`
	URLs              GenerationURLs    `json:"urls"`
}

// Downgraded says that a generation's quality was lowered before it was priced.
type Downgraded struct {
	From   string `json:"from" doc:"The quality that the model would have been asked for"`
	To     string `json:"to"`
	Reason string `json:"reason" enum:"budget" doc:"budget: the organization's use has reached downgrade_at percent of it"`
}

// DowngradedOf returns how the quality was lowered, or nil: it was not.
func DowngradedOf(p store.Params) *Downgraded {
	if p.DowngradedFrom == "" {
		return nil
	}
	return &Downgraded{From: p.DowngradedFrom, To: p.Quality, Reason: "budget"}
}

// Timings are milliseconds; nil is not known, or not yet.
type Timings struct {
	QueueMS    *int64 `json:"queue_ms" doc:"From acceptance to the first run"`
	ProviderMS *int64 `json:"provider_ms" doc:"From the first call to a provider to the end of the last"`
	UploadMS   *int64 `json:"upload_ms" doc:"From there to the end: conversion, storage and record"`
}

// GenerationURLs are paths below the base URL.
type GenerationURLs struct {
	Self   string `json:"self"`
	Cancel string `json:"cancel"`
	Events string `json:"events" doc:"Follows it live, as server-sent events, for anyone who has the URL"`
}

// A GenerationWebhook is who is told of a generation beside the webhook endpoints.
type GenerationWebhook struct {
	URL        *string  `json:"url" doc:"As asked: webhook_url"`
	Events     []string `json:"events" nullable:"false" doc:"What it is told"`
	Deliveries int      `json:"deliveries" doc:"Attempts to tell it so far"`
}

// Generation shows a generation from its rows: the images that were made and the
// calls in the order of their numbers. base begins the absolute URLs:
// "https://images.example.com". Its place in the queue is left nil, and the number of
// deliveries 0. Of a generation
// that no run has claimed, which AsOf makes of any, neither images nor calls are
// shown, so that rows of later may be given.
func (v *Viewer) Generation(base string, g *store.Generation, images []*store.Image, attempts []*store.Attempt) *Generation {
	if g.Fence == 0 {
		images, attempts = nil, nil
	}
	self := "/v1/generations/" + g.ID
	out := &Generation{
		ID: g.ID, Object: "generation", Kind: g.Kind, Status: string(g.Status), Test: g.Test, Simulated: g.Simulated,
		URL: v.ImageURL(base, store.ImageID(g.ID, 0)), Prompt: g.Prompt,
		CreatedAt: g.CreatedAt.UTC(), Created: g.CreatedAt.Unix(),
		Model: g.Model, ModelUsed: g.ModelUsed, ModelNotice: v.modelNotice(g.Model), Provider: v.providerOf(g, attempts),
		Images: v.viewImages(base, g, images), ImageErrors: viewImageErrors(g.ImageErrors, attempts), RequestedN: g.N,
		Style: orNil(g.Params.Style), Quality: orNil(g.Params.Quality), Downgraded: DowngradedOf(g.Params), Format: orNil(g.Params.Format),
		Background: orNil(g.Params.Background), Size: orNil(g.Params.Size), AspectRatio: orNil(g.Params.AspectRatio),
		Resolution: orNil(g.Params.Resolution), NegativePrompt: orNil(g.Params.NegativePrompt),
		OutputCompression: g.Params.Compression, Seed: g.Params.Seed,
		Attempts: viewAttempts(attempts), DeadlineAt: g.DeadlineAt.UTC(), ProjectID: g.ProjectID,
		Metadata: g.Metadata, Tags: g.Tags, StartedAt: utc(g.StartedAt), CompletedAt: utc(g.FinishedAt),
		DataRemoved: g.RemovedAt != nil, Timings: timingsOf(g, attempts),
		Webhook: GenerationWebhook{URL: g.WebhookURL, Events: g.WebhookEvents},
		URLs:    GenerationURLs{Self: self, Cancel: self + "/cancel", Events: v.eventsURL(self, g.ID)},
	}
	out.Priority = store.PriorityStandard
	if g.Queue == store.QueueBatch {
		out.Priority = store.PriorityBatch
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if out.Webhook.Events == nil {
		out.Webhook.Events = []string{}
	}
	for _, i := range images {
		if i.ExpiresAt != nil && i.DeletedAt == nil && (out.ExpiresAt == nil || i.ExpiresAt.Before(*out.ExpiresAt)) {
			out.ExpiresAt = utc(i.ExpiresAt)
		}
	}
	out.Stage, out.Progress = "waiting", 0
	switch {
	case g.Status.Terminal():
		out.Stage, out.Progress = "done", 1
		out.Usage = usageOf(g, images, attempts)
	case g.Status == store.StatusProcessing:
		out.Stage, out.Progress = "generating", v.progress(g)
	}
	if !g.Status.Terminal() {
		eta := int(v.ETA(g).Seconds())
		out.ETASeconds = &eta
	}
	if g.Error != nil {
		e := viewError(*g.Error)
		e.Attempts = g.Attempts
		out.Error = &e
	}
	return out
}

// eventsURL returns the path of a generation's stream, which anyone may follow who
// has it.
func (v *Viewer) eventsURL(self, id string) string {
	if v.opts.SignEvents == nil {
		return self + "/events"
	}
	return self + "/events?sig=" + v.opts.SignEvents(id)
}

// typicalTime is what the model usually takes for one image. The simulator
// promises nothing and takes little.
func typicalTime(g *store.Generation) time.Duration {
	model, _ := providers.Lookup(g.ModelUsed)
	resolution, ok := model.Resolution(g.Params.Resolution)
	if !ok || g.Simulated {
		return time.Second
	}
	return resolution.TypicalLatency
}

// ETA guesses when a live generation will end, at least a second from now.
func (v *Viewer) ETA(g *store.Generation) time.Duration {
	left := typicalTime(g)
	if g.Status == store.StatusProcessing && g.StartedAt != nil {
		left -= v.now().Sub(*g.StartedAt)
	}
	return max(left, time.Second)
}

// progress guesses how far a running generation is: it nears 0.95.
func (v *Viewer) progress(g *store.Generation) float64 {
	if g.StartedAt == nil {
		return 0
	}
	const most = 0.95
	share := float64(v.now().Sub(*g.StartedAt)) / float64(typicalTime(g))
	return float64(int(min(max(share, 0), most)*100)) / 100
}

// providerOf is who made the images, or who is to make them.
func (v *Viewer) providerOf(g *store.Generation, attempts []*store.Attempt) string {
	switch {
	case g.Simulated:
		return Simulator
	case len(attempts) > 0:
		return providerOfAttempt(attempts[len(attempts)-1])
	}
	model, _ := providers.Lookup(g.ModelUsed)
	return v.LiveProvider(model)
}

// modelNotice tells callers of a retired or ending name what serves them now.
func (v *Viewer) modelNotice(asked string) *string {
	alias, ok := providers.LookupAlias(asked)
	if !ok || alias.ShutdownAt == nil {
		return nil
	}
	verb := "is shut down by its maker"
	if alias.ShutdownAt.Before(v.now()) {
		verb = "was shut down by its maker"
	}
	notice := fmt.Sprintf("%s %s on %s; %s serves it here", asked, verb, alias.ShutdownAt.Format(time.DateOnly), alias.Model)
	return &notice
}

// timingsOf tells how long a generation waited, how long providers worked on it
// from the first call to the end of the last, and how long it took from there.
func timingsOf(g *store.Generation, attempts []*store.Attempt) Timings {
	var t Timings
	if g.StartedAt != nil {
		ms := g.StartedAt.Sub(g.CreatedAt).Milliseconds()
		t.QueueMS = &ms
	}
	for _, a := range attempts {
		if a.FinishedAt == nil {
			continue
		}
		if ms := a.FinishedAt.Sub(attempts[0].StartedAt).Milliseconds(); t.ProviderMS == nil || ms > *t.ProviderMS {
			t.ProviderMS = &ms
		}
		if g.FinishedAt != nil && g.Status == store.StatusSucceeded {
			if ms := max(0, g.FinishedAt.Sub(*a.FinishedAt).Milliseconds()); t.UploadMS == nil || ms < *t.UploadMS {
				t.UploadMS = &ms
			}
		}
	}
	return t
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	in := t.UTC()
	return &in
}
