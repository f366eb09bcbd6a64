package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Values of --webhooks: which jobs ask for one.
const (
	webhooksNone   = "none"
	webhooksSteady = "steady"
	webhooksAll    = "all"
)

// webhookPhase is what the receiver saw of the jobs that asked for a webhook.
type webhookPhase struct {
	Jobs    int `json:"jobs"`
	Lost    int `json:"lost"`    // jobs whose end it never heard of
	Doubled int `json:"doubled"` // deliveries of an end beyond the first
	Other   int `json:"other"`   // webhooks of anything but an end

	Finished  quantiles `json:"finished_to_received"` // of the steady round
	Accepted  quantiles `json:"accepted_to_received"` // of the steady round
	FullQueue quantiles `json:"full_queue_finished_to_received"`
}

// summarizeWebhooks describes the webhooks of the jobs before the steady round,
// if they asked for any, and of its own.
func summarizeWebhooks(loaded, steady []*benchJob, other int) *webhookPhase {
	p := &webhookPhase{
		Other:     other,
		Finished:  between(steady, (*benchJob).wasFinished, (*benchJob).wasReceived),
		Accepted:  between(steady, (*benchJob).wasAccepted, (*benchJob).wasReceived),
		FullQueue: between(loaded, (*benchJob).wasFinished, (*benchJob).wasReceived),
	}
	for _, j := range slices.Concat(loaded, steady) {
		if !j.hooked {
			continue
		}
		p.Jobs++
		if j.webhooks == 0 {
			p.Lost++
		}
		p.Doubled += max(j.webhooks-1, 0)
	}
	return p
}

// faults says which webhooks are missing. One that comes twice is no fault: at
// least once is what a customer is promised.
func (p *webhookPhase) faults() []string {
	if p == nil || p.Lost == 0 {
		return nil
	}
	return []string{fmt.Sprintf("jobs whose webhook did not come: %d, want 0", p.Lost)}
}

// verdict is a sentence for people, empty where no webhook was asked for.
func (p *webhookPhase) verdict() string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, " %s webhooks of ends came, %s of them again", thousands(float64(p.Jobs-p.Lost)), thousands(float64(p.Doubled)))
	if p.Other > 0 {
		_, _ = fmt.Fprintf(&b, ", and %s of other events", thousands(float64(p.Other)))
	}
	b.WriteByte('.')
	return b.String()
}

// hook adds what the receiver saw.
func (r *benchReport) hook(p *webhookPhase) {
	r.Phases.Webhooks = p
	if p.Finished.N > 0 {
		r.WebhookP99 = &p.Finished.P99
	}
}

// finishes returns when each generation was finished, by the clock of the
// database, which is this machine's.
func (r *benchRig) finishes(ctx context.Context) (map[string]time.Time, error) {
	db, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Pool().Query(ctx, `SELECT id, finished_at FROM generation WHERE finished_at IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("read ends: %w", err)
	}
	finished := map[string]time.Time{}
	var id string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { finished[id] = at; return nil }); err != nil {
		return nil, fmt.Errorf("read ends: %w", err)
	}
	return finished, nil
}
