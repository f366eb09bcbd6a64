package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// createProjectBody asks for a project.
type createProjectBody struct {
	Name          string   `json:"name" required:"true" maxLength:"100" example:"Client A"`
	Slug          *string  `json:"slug,omitempty" doc:"3 to 63 of a-z, 0-9 and -, unique in the organization; default: made from the name" example:"client-a"`
	RetentionDays *int     `json:"retention_days,omitempty" minimum:"1" maximum:"3650" doc:"How long images are kept; at most what the organization's plan says, which is the default"`
	WebhookURL    *string  `json:"webhook_url,omitempty" doc:"Is told of the generations that name no webhook_url: https, port 443 or 8443, a public address, no redirects"`
	WebhookEvents []string `json:"webhook_events,omitempty" nullable:"false" doc:"What it is told: types of events, generation.* or *; default the four that end a generation"`
	RateLimit     *int     `json:"rate_limit,omitempty" minimum:"1" maximum:"1000000" doc:"Generations an hour, within the organization's limit"`
}

type createProjectInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's project, for a day."`
	Body           createProjectBody
}

// project returns the project that is asked for.
func (b *createProjectBody) project(policy egress.Policy) (*store.Project, error) {
	name, err := checkName(b.Name)
	if err != nil {
		return nil, err
	}
	p := &store.Project{
		Name: name, Slug: b.Slug, RetentionDays: b.RetentionDays,
		WebhookURL: b.WebhookURL, WebhookEvents: b.WebhookEvents, RateLimit: b.RateLimit,
	}
	return p, completeProject(p, policy)
}

// updateProjectBody names what to change.
type updateProjectBody struct {
	Name          *string             `json:"name,omitempty" maxLength:"100"`
	Slug          *string             `json:"slug,omitempty" doc:"3 to 63 of a-z, 0-9 and -, unique in the organization"`
	RetentionDays clearable[int]      `json:"retention_days,omitempty" minimum:"1" maximum:"3650" doc:"Of images that are made from now on; null: as the organization's plan says"`
	WebhookURL    clearable[string]   `json:"webhook_url,omitempty" doc:"null: none, and no webhook_events either"`
	WebhookEvents clearable[[]string] `json:"webhook_events,omitempty" doc:"null: the default"`
	RateLimit     clearable[int]      `json:"rate_limit,omitempty" minimum:"1" maximum:"1000000" doc:"null: the organization's alone"`
}

type updateProjectInput struct {
	ID   string `path:"id" example:"proj_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body updateProjectBody
}

// apply changes a project to what is asked for.
func (b *updateProjectBody) apply(p *store.Project, policy egress.Policy) error {
	if b.Name != nil {
		name, err := checkName(*b.Name)
		if err != nil {
			return err
		}
		p.Name = name
	}
	if b.Slug != nil {
		p.Slug = b.Slug
	}
	b.RetentionDays.apply(&p.RetentionDays)
	b.RateLimit.apply(&p.RateLimit)
	b.WebhookURL.apply(&p.WebhookURL)
	switch {
	case b.WebhookEvents.sent && b.WebhookEvents.value != nil:
		p.WebhookEvents = *b.WebhookEvents.value
		if p.WebhookEvents == nil {
			p.WebhookEvents = []string{}
		}
	case b.WebhookEvents.sent || p.WebhookURL == nil:
		p.WebhookEvents = nil
	}
	return completeProject(p, policy)
}

// validSlug reports whether a slug can stand in addresses and names of files.
func validSlug(slug string) bool {
	strange := strings.ContainsFunc(slug, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
	return len(slug) >= 3 && len(slug) <= store.MaxSlug && !strange && strings.Trim(slug, "-") == slug
}

// completeProject refuses what a project can not have, all of it at once, and fills in
// what its webhook is told where nothing is said of it.
func completeProject(p *store.Project, policy egress.Policy) error {
	var faults []jobs.Fault
	if p.Slug != nil && !validSlug(*p.Slug) {
		faults = append(faults, jobs.Fault{Param: "slug", Code: "invalid", Message: "slug must have 3 to 63 of a-z, 0-9 and -, and neither begin nor end with -"})
	}
	if p.WebhookURL != nil {
		if _, err := policy.CheckURL(*p.WebhookURL); err != nil {
			faults = append(faults, defaultWebhookFault(err))
		}
	}
	switch {
	case p.WebhookEvents == nil && p.WebhookURL != nil:
		p.WebhookEvents = webhook.DefaultEvents()
	case p.WebhookEvents != nil && p.WebhookURL == nil:
		faults = append(faults, jobs.Fault{Param: "webhook_events", Code: "conflict", Message: "webhook_events needs webhook_url, which is to be told of them"})
	case p.WebhookEvents != nil:
		events, err := webhook.CheckGenerationFilter(p.WebhookEvents)
		if err != nil {
			faults = append(faults, jobs.Fault{
				Param: "webhook_events", Code: "unsupported_value", Message: "webhook_events: " + err.Error(), Allowed: webhook.GenerationFilters(),
			})
		}
		p.WebhookEvents = events
	}
	if len(faults) > 0 {
		return &jobs.InvalidError{Faults: faults}
	}
	return nil
}

// defaultWebhookFault says why nothing can be sent to a webhook_url.
func defaultWebhookFault(err error) jobs.Fault {
	reason := "it is not permitted"
	var refused *egress.Error
	if errors.As(err, &refused) {
		reason = refused.Reason
	}
	return jobs.Fault{Param: "webhook_url", Code: jobs.CodeWebhookURL, Message: "webhook_url is refused: " + reason}
}

// checkRetention refuses a project that would keep images for longer than its
// organization's plan does.
func checkRetention(p *store.Project, org *store.Org) error {
	if p.RetentionDays == nil || org.RetentionDays == nil || *p.RetentionDays <= *org.RetentionDays {
		return nil
	}
	return &jobs.InvalidError{Faults: []jobs.Fault{{
		Param: "retention_days", Code: "out_of_range",
		Message: fmt.Sprintf("retention_days must be at most %d, which is what the plan %s keeps images for", *org.RetentionDays, org.Plan),
	}}}
}
