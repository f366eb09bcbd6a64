package providers

import (
	"net/http"
	"time"
)

const (
	rateCooldown  = 30 * time.Second // after a 429 that names no wait
	quotaCooldown = 15 * time.Minute // at least, after a quota is used up
	pageEvery     = 15 * time.Minute // the same route calls a person
)

// noteFailure pauses the route where the upstream asked for it, and calls a person
// where nothing else will help. Hold mu.
func (r *route) noteFailure(upstream string, e *Error, now time.Time) {
	t := treatmentOf(e.Kind)
	paged := &r.pagedAt
	if e.Kind == KindModelGone {
		paged = r.noteGone(upstream, now)
	}
	if t.person && now.Sub(*paged) > pageEvery {
		*paged = now
		r.chain.opts.Logger.Error("provider route needs a person", "route", r.opts.Name, "kind", e.Kind, "model", upstream, "error", e)
	}
	if !t.pauses(e, r.chain.opts.MaxInline) {
		return
	}
	// Whole seconds make the same of what many calls hear in one moment.
	until := now.Add(r.cooldownFor(e, now)).Add(time.Second - 1).Truncate(time.Second).UTC()
	if !until.After(r.cooldown.until) {
		return
	}
	if r.cooldown.left(now) == 0 {
		r.chain.opts.Logger.Warn("provider route pauses", "route", r.opts.Name, "until", until, "error", e)
	}
	r.cooldown = pause{until: until, reason: reasonOf(e), own: true}
	r.report(RouteChange{Route: r.opts.Name, What: ChangeCooldown, Until: until, Reason: r.cooldown.reason})
}

// cooldownFor is how long the route is left alone after a failure.
func (r *route) cooldownFor(e *Error, now time.Time) time.Duration {
	switch {
	case e.Kind == KindQuota && e.RetryAfter == 0 && r.opts.API == "gemini" && e.Status == http.StatusTooManyRequests:
		return max(quotaCooldown, nextPacificDay(now).Sub(now))
	case e.Kind == KindQuota:
		return max(quotaCooldown, e.RetryAfter)
	case e.RetryAfter > 0:
		return e.RetryAfter
	}
	return rateCooldown
}

// nextPacificDay is when Google resets the quotas of a day
// (ai.google.dev/gemini-api/docs/rate-limits). Without time zone data it is an
// hour late in summer.
func nextPacificDay(now time.Time) time.Time {
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		zone = time.FixedZone("PST", -8*60*60)
	}
	local := now.In(zone)
	return time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, zone)
}

// setCooldown takes over what others know of the pause. What this process found
// out itself stands until a state as new comes back. Hold mu.
func (r *route) setCooldown(until time.Time, reason string, now time.Time) {
	if r.cooldown.own && r.cooldown.until.After(now) && until.Before(r.cooldown.until) {
		return
	}
	r.cooldown = pause{until: until, reason: reason}
}
