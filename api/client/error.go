package client

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An Error is an answer that refuses. Its text says what was wrong with the
// request and how to mend it.
type Error struct {
	Status     int           // of HTTP
	Code       string        // for programs: "validation_failed"; empty if a proxy answered
	Message    string        // for people
	Errors     []Fault       // everything that is wrong with the request
	RequestID  string        // finds the request in the service's log
	Retryable  bool          // the same request may succeed later
	RetryAfter time.Duration // how long to wait before; 0 if the service did not say

	shouldRetry string // the header X-Should-Retry
}

// A Fault is one thing wrong with a request.
type Fault struct {
	Param   string   `json:"param"` // "size", "metadata.color"
	Code    string   `json:"code"`  // "unsupported_value", "required", ...
	Message string   `json:"message"`
	Allowed []string `json:"allowed"` // what would do, if that is a short list
}

// String says what is wrong, what parameter has it, and what would do.
func (f Fault) String() string {
	text := f.Message
	if f.Param != "" && !strings.Contains(text, f.Param) {
		text = f.Param + ": " + text
	}
	if len(f.Allowed) > 0 && !strings.Contains(text, f.Allowed[0]) {
		text += "; use " + strings.Join(f.Allowed, ", ")
	}
	return text
}

// Error lists every fault.
func (e *Error) Error() string {
	text := e.Message
	if len(e.Errors) > 0 {
		faults := make([]string, len(e.Errors))
		for i, f := range e.Errors {
			faults[i] = f.String()
		}
		text = strings.Join(faults, "; ")
	}
	return text + " (" + e.Reference() + ")"
}

// Reference names the answer for those who look into it: its status and code,
// and the request's id.
func (e *Error) Reference() string {
	text := strconv.Itoa(e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text
}

// worthRetry follows the header X-Should-Retry and, without it, the status.
func (e *Error) worthRetry() bool {
	switch {
	case e.shouldRetry != "":
		return e.shouldRetry == "true"
	case e.Code == "idempotency_in_flight":
		return true
	}
	return statusWorthRetry(e.Status)
}

func statusWorthRetry(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status >= 500 && status != http.StatusNotImplemented
}

// decodeError reads an answer that refuses. The service sends problem documents
// (RFC 9457); what stands before it may send anything.
func decodeError(resp *http.Response) *Error {
	e := &Error{
		Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id"),
		Retryable: statusWorthRetry(resp.StatusCode), RetryAfter: retryAfter(resp.Header),
		shouldRetry: strings.ToLower(resp.Header.Get("X-Should-Retry")),
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // half a text still helps
	var problem struct {
		Title     string  `json:"title"`
		Detail    string  `json:"detail"`
		Code      string  `json:"code"`
		RequestID string  `json:"request_id"`
		Retryable *bool   `json:"retryable"`
		Errors    []Fault `json:"errors"`
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if strings.HasSuffix(media, "json") && json.Unmarshal(text, &problem) == nil {
		e.Code, e.Message, e.Errors = problem.Code, problem.Detail, problem.Errors
		if e.Message == "" {
			e.Message = problem.Title
		}
		if problem.RequestID != "" {
			e.RequestID = problem.RequestID
		}
		if problem.Retryable != nil {
			e.Retryable = *problem.Retryable
		}
	}
	if e.Message == "" {
		e.Message = foreignMessage(resp, media, text)
	}
	return e
}

// foreignMessage describes an answer that is not the service's own.
func foreignMessage(resp *http.Response, media string, text []byte) string {
	message := fmt.Sprintf("%s answered %s", resp.Request.URL.Host, resp.Status)
	if location := resp.Header.Get("Location"); location != "" {
		return message + ", and that the service is at " + location
	}
	excerpt := strings.Join(strings.Fields(string(text)), " ")
	if media != "text/plain" || excerpt == "" || !utf8.ValidString(excerpt) {
		return message
	}
	if runes := []rune(excerpt); len(runes) > 200 {
		excerpt = string(runes[:200]) + "…"
	}
	return message + ": " + excerpt
}

// retryAfter reads Retry-After-Ms, or Retry-After in seconds or as a date, which
// is compared with the service's clock rather than ours.
func retryAfter(h http.Header) time.Duration {
	if d, ok := parseDelay(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return d
	}
	value := h.Get("Retry-After")
	if d, ok := parseDelay(value, time.Second); ok {
		return d
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0)
}

func parseDelay(text string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0, false
	}
	const year = 365 * 24 * time.Hour
	return time.Duration(min(n*float64(unit), float64(year))), true
}
