package api

import (
	"context"
	"net/url"

	"github.com/nanobanana/nanobanana/store"
)

// recordEndpoint writes to the audit log what became of a webhook endpoint; nil is
// none, before it was made or after it was deleted.
func (s *server) recordEndpoint(ctx context.Context, tx *store.DB, action string, before, after *store.WebhookEndpoint) error {
	c := change{Action: action, Kind: "webhook_endpoint"}
	for _, e := range []*store.WebhookEndpoint{before, after} {
		if e == nil {
			continue
		}
		c.ID, c.OrgID = e.ID, e.OrgID
		if e.ProjectID != nil {
			c.ProjectID = *e.ProjectID
		}
	}
	if before != nil {
		c.Before = auditEndpoint(before)
	}
	if after != nil {
		shown := auditEndpoint(after)
		if before != nil && before.Description != after.Description {
			shown["description_changed"] = true
		}
		if before != nil && before.URL != after.URL {
			shown["url_changed"] = true // perhaps in what is not shown
		}
		c.After = shown
	}
	return s.record(ctx, tx, c)
}

// auditEndpoint is what the audit log says of an endpoint: how it is set, without
// what someone wrote about it.
func auditEndpoint(e *store.WebhookEndpoint) map[string]any {
	return map[string]any{
		"id": e.ID, "url": auditURL(e.URL), "events": e.Events, "test": e.Test, "api_version": e.APIVersion,
		"enabled": e.DisabledAt == nil, "disabled_reason": e.DisabledReason,
	}
}

// auditSecrets is what the log says of those that sign.
func auditSecrets(secrets []*store.WebhookSecret) map[string]any {
	return map[string]any{"secrets": viewWebhookSecrets(secrets)}
}

// auditURL is a customer's URL for the audit log, which is kept for good: without the
// parts that often hold a secret.
func auditURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// auditProject is what the audit log says of a project.
func auditProject(p *store.Project) project {
	shown := viewProject(p)
	if shown.WebhookURL != nil {
		u := auditURL(*shown.WebhookURL)
		shown.WebhookURL = &u
	}
	return shown
}
