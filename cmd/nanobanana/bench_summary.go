package main

import "time"

// submitPhase is a round of clients that wait for each answer, while no worker
// runs.
type submitPhase struct {
	Clients          int       `json:"clients"`
	Jobs             int       `json:"jobs"`
	SubmitsPerSecond float64   `json:"submits_per_second"`
	Submit           quantiles `json:"submit"`
}

// drainPhase is the work on a full queue.
type drainPhase struct {
	Jobs          int       `json:"jobs"`
	JobsPerSecond float64   `json:"jobs_per_second"`
	PeakInFlight  int       `json:"peak_in_flight"` // claimed at the same time
	Finish        quantiles `json:"finish"`
}

// steadyPhase is a light load.
type steadyPhase struct {
	Jobs          int       `json:"jobs"`
	RatePerSecond float64   `json:"rate_per_second"`
	Submit        quantiles `json:"submit"`
	Pickup        quantiles `json:"pickup"`
	PickupAfter   quantiles `json:"pickup_after_accepted"`
	Finish        quantiles `json:"finish"`
	EndToEnd      quantiles `json:"end_to_end"`
}

// summarizeSubmit describes a round that took as long.
func summarizeSubmit(jobs []*benchJob, clients int, took time.Duration) submitPhase {
	return submitPhase{
		Clients: clients, Jobs: len(jobs), SubmitsPerSecond: perSecond(len(jobs), took),
		Submit: between(jobs, (*benchJob).wasSent, (*benchJob).wasAccepted),
	}
}

// summarizeDrain counts from the first claim to the last end that was seen.
func summarizeDrain(jobs []*benchJob, runs []span, provider time.Duration) drainPhase {
	var first, last time.Time
	for _, r := range runs {
		if first.IsZero() || r.from.Before(first) {
			first = r.from
		}
	}
	for _, j := range jobs {
		if j.ended.After(last) {
			last = j.ended
		}
	}
	return drainPhase{
		Jobs: len(jobs), JobsPerSecond: perSecond(len(jobs), last.Sub(first)), PeakInFlight: mostAtOnce(runs),
		Finish: between(jobs, answers(provider), (*benchJob).wasEnded),
	}
}

// summarizeSteady describes what single jobs took, each from the moment it was
// due.
func summarizeSteady(jobs []*benchJob, provider time.Duration) steadyPhase {
	return steadyPhase{
		Jobs: len(jobs), RatePerSecond: steadyRate,
		Submit:      between(jobs, (*benchJob).wasSent, (*benchJob).wasAccepted),
		Pickup:      between(jobs, (*benchJob).wasSent, (*benchJob).wasCalled),
		PickupAfter: between(jobs, (*benchJob).wasAccepted, (*benchJob).wasCalled),
		Finish:      between(jobs, answers(provider), (*benchJob).wasEnded),
		EndToEnd:    between(jobs, (*benchJob).wasSent, (*benchJob).wasEnded),
	}
}

// The moments of a job, for between; the zero time is one that is not known.
func (j *benchJob) wasSent() time.Time     { return j.sent }
func (j *benchJob) wasAccepted() time.Time { return j.accepted }
func (j *benchJob) wasCalled() time.Time   { return j.called }
func (j *benchJob) wasEnded() time.Time    { return j.ended }
func (j *benchJob) wasFinished() time.Time { return j.finished }
func (j *benchJob) wasReceived() time.Time { return j.received }

// answers is when the provider began to answer: a fixed time after the call.
func answers(provider time.Duration) func(*benchJob) time.Time {
	return func(j *benchJob) time.Time {
		if j.called.IsZero() {
			return time.Time{}
		}
		return j.called.Add(provider)
	}
}

// between describes the times from one event to another of the jobs that know
// both. A worker can be faster than the answer's way to the client; that counts
// as no time at all.
func between(jobs []*benchJob, from, to func(*benchJob) time.Time) quantiles {
	durations := make([]time.Duration, 0, len(jobs))
	for _, j := range jobs {
		if a, b := from(j), to(j); !a.IsZero() && !b.IsZero() {
			durations = append(durations, max(b.Sub(a), 0))
		}
	}
	return quantilesOf(durations)
}
