package api

import (
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// createWebhookEndpointBody asks for an endpoint.
type createWebhookEndpointBody struct {
	URL         string   `json:"url" required:"true" doc:"Where events are sent: https, port 443 or 8443, a public address, no redirects" example:"https://example.com/webhooks"`
	Events      []string `json:"events,omitempty" nullable:"false" doc:"Types to be told of, or patterns: generation.*, or * for all; default the four that a generation can end with"`
	Description string   `json:"description,omitempty" maxLength:"500" doc:"For your own use"`
	ProjectID   string   `json:"project_id,omitempty" doc:"Only the key's own project"`
	APIVersion  string   `json:"api_version,omitempty" enum:"2026-11-01" doc:"The form of what is sent; default the newest"`
	Enabled     *bool    `json:"enabled,omitempty" doc:"Default true; while it is false, deliveries are kept for a replay"`
}

// createWebhookEndpointInput asks for an endpoint. The header is read by
// idempotencyKey and stands here for the document.
type createWebhookEndpointInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's endpoint, for a day."`
	Body           createWebhookEndpointBody
}

// endpoint returns the endpoint that is asked for.
func (b *createWebhookEndpointBody) endpoint(policy egress.Policy, now time.Time) (*store.WebhookEndpoint, error) {
	if b.Events == nil {
		b.Events = webhook.DefaultEvents()
	}
	events, err := checkEndpoint(policy, &b.URL, b.Events, &b.Description)
	if err != nil {
		return nil, err
	}
	e := &store.WebhookEndpoint{URL: b.URL, Events: events, Description: b.Description, APIVersion: webhook.APIVersion}
	if b.Enabled != nil && !*b.Enabled {
		e.DisabledAt = &now
	}
	return e, nil
}

// updateWebhookEndpointBody names what to change.
type updateWebhookEndpointBody struct {
	URL         *string  `json:"url,omitempty" doc:"What has not been delivered yet goes there, too"`
	Events      []string `json:"events,omitempty" nullable:"false" doc:"In place of those it has"`
	Description *string  `json:"description,omitempty" maxLength:"500"`
	Enabled     *bool    `json:"enabled,omitempty"`
}

type updateWebhookEndpointInput struct {
	ID   string `path:"id" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body updateWebhookEndpointBody
}

// change returns what is to be changed.
func (b *updateWebhookEndpointBody) change(policy egress.Policy) (*store.WebhookEndpointChange, error) {
	events, err := checkEndpoint(policy, b.URL, b.Events, b.Description)
	if err != nil {
		return nil, err
	}
	return &store.WebhookEndpointChange{URL: b.URL, Events: events, Description: b.Description, Enabled: b.Enabled}, nil
}

type webhookEndpointInput struct {
	ID string `path:"id" example:"whep_06f0r3k8cg7q1v2m4n6p8s9tb0"`
}

// checkEndpoint refuses what an endpoint can not have, all of it at once, and
// returns the events without duplicates. What is nil is not checked.
func checkEndpoint(policy egress.Policy, url *string, events []string, description *string) ([]string, error) {
	var faults []jobs.Fault
	if url != nil {
		if _, err := policy.CheckURL(*url); err != nil {
			faults = append(faults, urlFault(err))
		}
	}
	if events != nil {
		checked, err := webhook.CheckFilter(events)
		if err != nil {
			faults = append(faults, filterFault(events, err))
		}
		events = checked
	}
	if description != nil && !isText(*description) {
		faults = append(faults, jobs.Fault{Param: "description", Code: "invalid", Message: "description must be text without the character U+0000"})
	}
	if len(faults) > 0 {
		return nil, &jobs.InvalidError{Faults: faults}
	}
	return events, nil
}

// urlFault says why nothing can be sent to a URL.
func urlFault(err error) jobs.Fault {
	reason := err.Error()
	var refused *egress.Error
	if errors.As(err, &refused) {
		reason = refused.Reason
	}
	return jobs.Fault{Param: "url", Code: jobs.CodeWebhookURL, Message: "url is refused: " + reason}
}

// filterFault is what CheckFilter says of a filter.
func filterFault(events []string, err error) jobs.Fault {
	f := jobs.Fault{Param: "events", Code: "unsupported_value", Message: "events: " + err.Error(), Allowed: webhook.Filters()}
	switch {
	case len(events) == 0:
		f.Code = "required"
	case len(events) > webhook.MaxFilter:
		f.Code, f.Allowed = "too_long", nil
	}
	return f
}
