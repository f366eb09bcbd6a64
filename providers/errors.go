package providers

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Kind says what an upstream failure means for the job, not how it came.
type Kind string

// The kinds. Which of them is repeated or taken to another route is the Chain's
// table, what is left of the job afterwards the worker's; which of them may
// already have been paid for is Error.Ambiguous.
const (
	KindInvalid    Kind = "invalid_request"    // the upstream will never accept this request
	KindModeration Kind = "moderation"         // refused for its content, before or after generation
	KindNoImage    Kind = "no_image"           // a complete answer without an image
	KindRate       Kind = "rate_limited"       // wait RetryAfter
	KindQuota      Kind = "quota_exhausted"    // nothing more today
	KindOverload   Kind = "overloaded"         // 503
	KindServer     Kind = "server_error"       // 500, 502
	KindNetwork    Kind = "network"            // refused, reset, cut off, damaged JSON
	KindTimeout    Kind = "timeout"            // no answer in time
	KindAuth       Kind = "auth"               // our key is bad: a person must act
	KindModelGone  Kind = "model_unavailable"  // unknown or retired model: a person must act
	KindDeadline   Kind = "deadline_too_short" // we left the upstream too little time
	KindCanceled   Kind = "canceled"           // our own context ended
	KindBusy       Kind = "busy"               // no route takes a call now; wait RetryAfter
	KindLocal      Kind = "local"              // our own disk failed: a person must act
)

// CodePanic is the code of an error that stands for a panic in a Provider.
const CodePanic = "panic"

// An Error is a failed call to an upstream. Its message never holds more than
// 512 bytes of what the upstream said, and never a credential.
type Error struct {
	Kind       Kind
	Provider   string
	Status     int    // HTTP status, 0 if there was none
	Code       string // the upstream's own code: "IMAGE_SAFETY", "RESOURCE_EXHAUSTED"
	Message    string // for people, shortened
	RetryAfter time.Duration
	Usage      Usage // tokens billed although no image came
	Err        error // cause, may be nil

	// Ambiguous reports that the request was sent and its outcome is unknown:
	// it may have been billed.
	Ambiguous bool
	// Stage is "input" or "output" for KindModeration: what was refused.
	Stage string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (status %d, code %q): %s", e.Provider, e.Kind, e.Status, e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the *Error in err's chain, or "".
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// Shorten makes what an upstream said fit for a log line or a row: on one line,
// valid UTF-8 without control characters, and at most n bytes long.
func Shorten(s string, n int) string {
	const ellipsis = "…"
	// Words are joined from a little more than fits, never from a whole page.
	cut := len(s) > 4*n
	s = strings.ToValidUTF8(s[:min(len(s), 4*n)], "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n && !cut {
		return s
	}
	s = s[:min(len(s), max(0, n-len(ellipsis)))]
	return strings.ToValidUTF8(s, "") + ellipsis
}

// ParseRetryAfter reads how long to wait from Retry-After-Ms or Retry-After
// (seconds or a date, RFC 9110 section 10.2.3). It is 0 where neither says.
func ParseRetryAfter(h http.Header, now time.Time) time.Duration {
	if f, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && f > 0 && f < 1e9 {
		return time.Duration(f * float64(time.Millisecond))
	}
	if f, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil && f > 0 && f < 1e9 {
		return time.Duration(f * float64(time.Second))
	}
	if t, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
