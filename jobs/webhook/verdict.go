package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Outcome is what an attempt comes to.
type Outcome string

// The outcomes of an attempt.
const (
	Delivered Outcome = "delivered" // answered 2xx
	Failed    Outcome = "failed"    // to be tried again, while attempts are left
	Gone      Outcome = "gone"      // answered 410: the endpoint is to be disabled
)

// maxRetryAfter is the longest wait that a receiver can ask for.
const maxRetryAfter = 24 * time.Hour

// An Answer is what came back from one attempt.
type Answer struct {
	Status int         // 0 if there was no answer
	Header http.Header // of the answer; nil is none
	At     time.Time   // when it came: dates in Header are seen from here

	// Err is why there was no answer. It counts only without a Status: a body
	// that breaks off takes nothing back.
	Err error

	// Forbidden says in words for the customer why the address may not be
	// reached, if nothing was sent for that reason. Empty if it may.
	Forbidden string
}

// A Verdict is what follows from an Answer.
type Verdict struct {
	Outcome Outcome

	// Reason tells the customer why it was not delivered, in one short line of
	// valid UTF-8. Empty if it was.
	Reason string

	// RetryAfter is the least wait that the receiver asked for, up to 24 h; 0
	// if it asked for none.
	RetryAfter time.Duration
}

// Verdict judges an Answer: 2xx is delivered, 410 gone, and everything else
// failed, redirects and no answer too.
func (a Answer) Verdict() Verdict {
	switch {
	case a.Forbidden != "":
		return Verdict{Outcome: Failed, Reason: line("address is not allowed: " + a.Forbidden)}
	case a.Status == 0:
		return Verdict{Outcome: Failed, Reason: line(reasonOf(a.Err))}
	case a.Status >= 200 && a.Status <= 299:
		return Verdict{Outcome: Delivered}
	case a.Status == http.StatusGone:
		return Verdict{Outcome: Gone, Reason: "answered 410: the endpoint is gone"}
	}
	reason := "answered " + strconv.Itoa(a.Status)
	if a.Status >= 300 && a.Status <= 399 {
		reason += ": redirects are not followed"
	}
	return Verdict{Outcome: Failed, Reason: reason, RetryAfter: retryAfter(a.Header.Get("Retry-After"), a.At)}
}

// Retry returns how long after the nth attempt, counted from 1, the next one
// comes: what the function Retry says, or longer if the receiver asked for it.
// It is false if there is none, since this one was the last or did not fail.
func (v Verdict) Retry(n int, jitter func() float64) (wait time.Duration, ok bool) {
	if v.Outcome != Failed {
		return 0, false
	}
	if wait, ok = Retry(n, jitter); ok {
		wait = max(wait, v.RetryAfter)
	}
	return wait, ok
}

// retryAfter returns the wait that a Retry-After header asks for: a number of
// seconds or a date (RFC 9110, section 10.2.3), from 0 to 24 h. What is neither
// asks for none.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) { // an error is of range only
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
