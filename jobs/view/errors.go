package view

import "github.com/nanobanana/nanobanana/store"

// A GenerationError says why there is no image.
type GenerationError struct {
	Code       string      `json:"code" doc:"content_moderated, provider_error, provider_timeout, provider_quota, storage_error, internal_error, ..."`
	Message    string      `json:"message"`
	Retryable  bool        `json:"retryable" doc:"Whether asking again may succeed"`
	Attempts   int         `json:"attempts"`
	Charged    bool        `json:"charged" doc:"Failures never are"`
	Moderation *Moderation `json:"moderation,omitempty"`
}

// Moderation says who refused what.
type Moderation struct {
	Stage          string `json:"stage" enum:"input,output"`
	Provider       string `json:"provider"`
	ProviderReason string `json:"provider_reason"`
}

func viewError(e store.GenerationError) GenerationError {
	view := GenerationError{Code: e.Code, Message: e.Message, Retryable: e.Retryable}
	if e.Stage != "" {
		view.Moderation = &Moderation{Stage: e.Stage, Provider: e.Provider, ProviderReason: e.Reason}
	}
	return view
}
