package view

// Shared returns what anyone may see who was given the signed address of a
// generation's events: how it went, and its images. Left out is what is its owner's:
// whom else it tells, what it cost and where, and what the owner notes about it.
func (v *Generation) Shared() *Generation {
	shared := *v
	shared.Webhook = GenerationWebhook{Events: []string{}}
	shared.Metadata, shared.Tags = map[string]string{}, []string{}
	shared.Usage, shared.Attempts, shared.ProjectID = nil, []Attempt{}, ""
	return &shared
}
