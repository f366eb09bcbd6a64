package api

import "time"

// generation is a generation as callers see it.
type generation struct {
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
	Images            []image           `json:"images" nullable:"false"`
	ImageErrors       []imageError      `json:"image_errors" nullable:"false" doc:"Why images are missing from one that succeeded"`
	RequestedN        int               `json:"requested_n"`
	Usage             *usage            `json:"usage" doc:"Once it has ended"`
	Style             *string           `json:"style"`
	Quality           *string           `json:"quality"`
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
	Attempts          []attempt         `json:"attempts" nullable:"false" doc:"Every call to a provider"`
	Error             *generationError  `json:"error" doc:"Why it failed"`
	DeadlineAt        time.Time         `json:"deadline_at" doc:"It expires if it has not begun by then"`
	ProjectID         string            `json:"project_id"`
	Metadata          map[string]string `json:"metadata"`
	Tags              []string          `json:"tags" nullable:"false"`
	StartedAt         *time.Time        `json:"started_at"`
	CompletedAt       *time.Time        `json:"completed_at"`
	ExpiresAt         *time.Time        `json:"expires_at" doc:"When its images are deleted; null keeps them"`
	DataRemoved       bool              `json:"data_removed" doc:"Prompt, parameters and images were deleted on request"`
	Timings           timings           `json:"timings"`
	URLs              generationURLs    `json:"urls"`
}

// image is one picture. While its generation is live, only id, index and the
// URLs are known.
type image struct {
	ID        string     `json:"id"`
	Index     int        `json:"index"`
	URL       string     `json:"url"`
	FileType  *string    `json:"filetype" doc:"png, jpeg or webp"`
	Size      *string    `json:"size"`
	Width     *int       `json:"width"`
	Height    *int       `json:"height"`
	Bytes     *int64     `json:"bytes"`
	SHA256    *string    `json:"sha256"`
	ExpiresAt *time.Time `json:"expires_at"`

	ThumbnailURL string         `json:"thumbnail_url" doc:"At most 320 pixels a side. Until it is made, seconds after the image as a rule, the image stands in."`
	Thumbhash    *string        `json:"thumbhash" doc:"A placeholder, to be decoded with ThumbHash; base64. Made together with the thumbnail."`
	Original     *imageOriginal `json:"original" doc:"What the provider sent, byte by byte; null if the image is that itself"`
}

type imageOriginal struct {
	URL      string `json:"url"`
	FileType string `json:"filetype" doc:"png, jpeg or webp"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
}

type imageError struct {
	Index int             `json:"index"`
	Error generationError `json:"error"`
}

type generationError struct {
	Code       string      `json:"code" doc:"content_moderated, provider_error, provider_timeout, provider_quota, storage_error, internal_error, ..."`
	Message    string      `json:"message"`
	Retryable  bool        `json:"retryable" doc:"Whether asking again may succeed"`
	Attempts   int         `json:"attempts"`
	Charged    bool        `json:"charged" doc:"Failures never are"`
	Moderation *moderation `json:"moderation,omitempty"`
}

type moderation struct {
	Stage          string `json:"stage" enum:"input,output"`
	Provider       string `json:"provider"`
	ProviderReason string `json:"provider_reason"`
}

type usage struct {
	PromptTokens   int   `json:"prompt_tokens"`
	ImageTokens    int   `json:"image_tokens"`
	TextTokens     int   `json:"text_tokens"`
	TotalTokens    int   `json:"total_tokens"`
	BillableImages int   `json:"billable_images"`
	Cost           money `json:"cost"`
	micros         int64
}

type money struct {
	Amount   string `json:"amount" example:"0.0336"`
	Currency string `json:"currency" enum:"usd"`
}

type attempt struct {
	ImageIndex int       `json:"image_index"`
	Provider   string    `json:"provider"`
	Account    string    `json:"account" doc:"The route: which of the service's accounts with the provider"`
	Model      string    `json:"model" doc:"The provider's name of it"`
	StartedAt  time.Time `json:"started_at"`
	MS         *int64    `json:"ms" doc:"null while it runs"`
	Outcome    *string   `json:"outcome" doc:"succeeded, ambiguous (perhaps paid, answer unknown), canceled or a kind of error; null while it runs"`
	Error      *string   `json:"error" doc:"The provider's code"`
	Tokens     *tokens   `json:"tokens" doc:"What the provider counted; null where it said nothing"`
	Cost       *money    `json:"cost" doc:"What the provider bills the service; null where it is not known"`
}

type tokens struct {
	Prompt int `json:"prompt"`
	Image  int `json:"image"`
	Text   int `json:"text"`
}

type timings struct {
	QueueMS    *int64 `json:"queue_ms" doc:"From acceptance to the first run"`
	ProviderMS *int64 `json:"provider_ms" doc:"From the first call to a provider to the end of the last"`
	UploadMS   *int64 `json:"upload_ms" doc:"From there to the end: conversion, storage and record"`
}

type generationURLs struct {
	Self   string `json:"self"`
	Cancel string `json:"cancel"`
}
