package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// viewGeneration shows one generation of the caller's project.
func (s *server) viewGeneration(ctx context.Context, g *store.Generation) (*generation, error) {
	views, err := s.viewGenerations(ctx, g.ProjectID, []*store.Generation{g})
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// viewGenerations shows generations of a project. What has not begun needs no
// query, what has not ended needs one.
func (s *server) viewGenerations(ctx context.Context, project string, list []*store.Generation) ([]*generation, error) {
	var begun []string
	var ended []*store.Generation
	for _, g := range list {
		if g.Fence == 0 {
			continue
		}
		begun = append(begun, g.ID)
		if g.Status.Terminal() {
			ended = append(ended, g)
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var images map[string][]*store.Image
	var attempts map[string][]*store.Attempt
	if len(ended) > 0 {
		rows, err := s.db.Images(ctx, project, ended)
		if err != nil {
			return nil, err
		}
		images = groupBy(rows, func(i *store.Image) string { return i.GenerationID })
	}
	if len(begun) > 0 {
		rows, err := s.db.Attempts(ctx, project, begun)
		if err != nil {
			return nil, err
		}
		attempts = groupBy(rows, func(a *store.Attempt) string { return a.GenerationID })
	}
	base := s.base(requestOf(ctx).http)
	views := make([]*generation, len(list))
	for i, g := range list {
		views[i] = s.view(base, g, images[g.ID], attempts[g.ID])
	}
	return views, nil
}

func groupBy[T any](rows []*T, id func(*T) string) map[string][]*T {
	groups := make(map[string][]*T, 1)
	for _, row := range rows {
		groups[id(row)] = append(groups[id(row)], row)
	}
	return groups
}

// view shows a generation from its rows.
func (s *server) view(base string, g *store.Generation, images []*store.Image, attempts []*store.Attempt) *generation {
	self := "/v1/generations/" + g.ID
	v := &generation{
		ID: g.ID, Object: "generation", Kind: g.Kind, Status: string(g.Status), Test: g.Test, Simulated: g.Simulated,
		URL: s.imageURL(base, store.ImageID(g.ID, 0)), Prompt: g.Prompt,
		CreatedAt: g.CreatedAt.UTC(), Created: g.CreatedAt.Unix(),
		Model: g.Model, ModelUsed: g.ModelUsed, ModelNotice: s.modelNotice(g.Model), Provider: s.providerOf(g, attempts),
		Images: s.viewImages(base, g, images), ImageErrors: viewImageErrors(g.ImageErrors, attempts), RequestedN: g.N,
		Style: orNil(g.Params.Style), Quality: orNil(g.Params.Quality), Format: orNil(g.Params.Format),
		Background: orNil(g.Params.Background), Size: orNil(g.Params.Size), AspectRatio: orNil(g.Params.AspectRatio),
		Resolution: orNil(g.Params.Resolution), NegativePrompt: orNil(g.Params.NegativePrompt),
		OutputCompression: g.Params.Compression, Seed: g.Params.Seed,
		Attempts: viewAttempts(attempts), DeadlineAt: g.DeadlineAt.UTC(), ProjectID: g.ProjectID,
		Metadata: g.Metadata, Tags: g.Tags, StartedAt: utc(g.StartedAt), CompletedAt: utc(g.FinishedAt),
		DataRemoved: g.RemovedAt != nil, Timings: timingsOf(g, attempts),
		URLs: generationURLs{Self: self, Cancel: self + "/cancel"},
	}
	v.Priority = jobs.PriorityStandard
	if g.Queue == store.QueueBatch {
		v.Priority = jobs.PriorityBatch
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	for _, i := range images {
		if i.ExpiresAt != nil && i.DeletedAt == nil && (v.ExpiresAt == nil || i.ExpiresAt.Before(*v.ExpiresAt)) {
			v.ExpiresAt = utc(i.ExpiresAt)
		}
	}
	v.Stage, v.Progress = "waiting", 0
	switch {
	case g.Status.Terminal():
		v.Stage, v.Progress = "done", 1
		v.Usage = usageOf(len(images), attempts)
	case g.Status == store.StatusProcessing:
		v.Stage, v.Progress = "generating", s.progress(g)
	}
	if !g.Status.Terminal() {
		eta := int(s.eta(g).Seconds())
		v.ETASeconds = &eta
	}
	if g.Error != nil {
		e := viewError(*g.Error)
		e.Attempts = g.Attempts
		v.Error = &e
	}
	return v
}

// retryAfter is the header of that name: none once the generation has ended.
func (v *generation) retryAfter() string {
	if v.ETASeconds == nil {
		return ""
	}
	return strconv.Itoa(retrySeconds(time.Duration(*v.ETASeconds) * time.Second))
}

func (v *generation) costMicros() string {
	if v.Usage == nil {
		return ""
	}
	return strconv.FormatInt(v.Usage.micros, 10)
}

// retrySeconds is when to ask again for what may end at eta.
func retrySeconds(eta time.Duration) int {
	const most = 30
	return min(max(int(eta.Seconds()), 1), most)
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

// eta guesses when a live generation will end, at least a second from now.
func (s *server) eta(g *store.Generation) time.Duration {
	left := typicalTime(g)
	if g.Status == store.StatusProcessing && g.StartedAt != nil {
		left -= s.opts.Now().Sub(*g.StartedAt)
	}
	return max(left, time.Second)
}

// progress guesses how far a running generation is: it nears 0.95.
func (s *server) progress(g *store.Generation) float64 {
	if g.StartedAt == nil {
		return 0
	}
	const most = 0.95
	share := float64(s.opts.Now().Sub(*g.StartedAt)) / float64(typicalTime(g))
	return float64(int(min(max(share, 0), most)*100)) / 100
}

// providerOf is who made the images, or who is to make them.
func (s *server) providerOf(g *store.Generation, attempts []*store.Attempt) string {
	switch {
	case g.Simulated:
		return simulator
	case len(attempts) > 0:
		return providerOfAttempt(attempts[len(attempts)-1])
	}
	model, _ := providers.Lookup(g.ModelUsed)
	return s.liveProvider(model)
}

// providerOfAttempt is the route's name where no provider is on record.
func providerOfAttempt(a *store.Attempt) string {
	if a.Provider == nil {
		return a.Route
	}
	return *a.Provider
}

// modelNotice tells callers of a retired or ending name what serves them now.
func (s *server) modelNotice(asked string) *string {
	alias, ok := providers.LookupAlias(asked)
	if !ok || alias.ShutdownAt == nil {
		return nil
	}
	verb := "is shut down by its maker"
	if alias.ShutdownAt.Before(s.opts.Now()) {
		verb = "was shut down by its maker"
	}
	notice := fmt.Sprintf("%s %s on %s; %s serves it here", asked, verb, alias.ShutdownAt.Format(time.DateOnly), alias.Model)
	return &notice
}

func (s *server) imageURL(base, imageID string) string {
	return base + "/v1/images/" + imageID + "/content?sig=" + s.opts.Signer.Sign(imageID)
}

// viewImages lists what is there, or while the generation is live what is to come.
func (s *server) viewImages(base string, g *store.Generation, rows []*store.Image) []image {
	views := []image{}
	if !g.Status.Terminal() {
		for i := range g.N {
			id := store.ImageID(g.ID, i)
			views = append(views, image{
				ID: id, Index: i, URL: s.imageURL(base, id), ThumbnailURL: s.variantURL(base, id, variantThumbnail),
			})
		}
		return views
	}
	for _, row := range rows {
		if row.DeletedAt != nil {
			continue
		}
		size, sum := fmt.Sprintf("%dx%d", row.Width, row.Height), fmt.Sprintf("%x", row.SHA256)
		filetype := extensionOf(row.MediaType)
		views = append(views, image{
			ID: row.ID, Index: row.Idx, URL: s.imageURL(base, row.ID), FileType: &filetype, Size: &size,
			Width: &row.Width, Height: &row.Height, Bytes: &row.Bytes, SHA256: &sum, ExpiresAt: utc(row.ExpiresAt),
			ThumbnailURL: s.variantURL(base, row.ID, variantThumbnail),
			Thumbhash:    orNil(base64.StdEncoding.EncodeToString(row.Thumbhash)),
			Original:     s.viewOriginal(base, row),
		})
	}
	return views
}

// extensionOf is "png", "jpeg" or "webp".
func extensionOf(mediaType string) string {
	_, subtype, _ := strings.Cut(mediaType, "/")
	return subtype
}

func viewImageErrors(list []store.ImageError, attempts []*store.Attempt) []imageError {
	views := make([]imageError, len(list))
	for i, e := range list {
		views[i] = imageError{Index: e.Index, Error: viewError(e.Error)}
		for _, a := range attempts {
			if a.ImageIndex == e.Index {
				views[i].Error.Attempts++
			}
		}
	}
	return views
}

func viewError(e store.GenerationError) generationError {
	view := generationError{Code: e.Code, Message: e.Message, Retryable: e.Retryable}
	if e.Stage != "" {
		view.Moderation = &moderation{Stage: e.Stage, Provider: e.Provider, ProviderReason: e.Reason}
	}
	return view
}

func viewAttempts(rows []*store.Attempt) []attempt {
	views := make([]attempt, len(rows))
	for i, row := range rows {
		v := attempt{
			ImageIndex: row.ImageIndex, Provider: providerOfAttempt(row), Account: row.Route, Model: row.Model,
			StartedAt: row.StartedAt.UTC(), Outcome: row.Outcome, Error: row.Code,
		}
		if t := (tokens{orZero(row.PromptTokens), orZero(row.ImageTokens), orZero(row.TextTokens)}); t != (tokens{}) {
			v.Tokens = &t
		}
		if cost := orZero(row.CostMicros); cost > 0 {
			m := dollars(cost)
			v.Cost = &m
		}
		if row.FinishedAt != nil {
			ms := row.FinishedAt.Sub(row.StartedAt).Milliseconds()
			v.MS = &ms
		}
		views[i] = v
	}
	return views
}

// usageOf adds up what all attempts took, of which the images are billed.
func usageOf(images int, attempts []*store.Attempt) *usage {
	u := &usage{BillableImages: images}
	for _, a := range attempts {
		u.PromptTokens += orZero(a.PromptTokens)
		u.ImageTokens += orZero(a.ImageTokens)
		u.TextTokens += orZero(a.TextTokens)
		u.micros += orZero(a.CostMicros)
	}
	u.TotalTokens = u.PromptTokens + u.ImageTokens + u.TextTokens
	u.Cost = dollars(u.micros)
	return u
}

// timingsOf tells how long a generation waited, how long providers worked on it
// from the first call to the end of the last, and how long it took from there.
func timingsOf(g *store.Generation, attempts []*store.Attempt) timings {
	var t timings
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

// dollars writes an amount with four decimals, or six where it needs them.
func dollars(micros int64) money {
	text := fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000)
	return money{Amount: strings.TrimSuffix(text, "00"), Currency: "usd"}
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func orZero[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	in := t.UTC()
	return &in
}
