package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs"
)

const problemType = "application/problem+json"

// problem is a problem document (RFC 9457). Its member "error" repeats it in
// the form that clients of the OpenAI API read.
type problem struct {
	Type      string      `json:"type" doc:"Where the code is explained" example:"/errors/validation_failed"`
	Title     string      `json:"title"`
	Status    int         `json:"status"`
	Detail    string      `json:"detail" doc:"What was wrong with this request and how to mend it"`
	Instance  string      `json:"instance" doc:"The path of the request"`
	Code      string      `json:"code" doc:"For programs; see GET /errors/{code}"`
	RequestID string      `json:"request_id"`
	Retryable bool        `json:"retryable" doc:"Whether the same request may succeed later"`
	Charged   bool        `json:"charged" doc:"Whether it cost anything: an error never does"`
	Available *int64      `json:"available,omitempty" doc:"Of a 402: credits that are left or, of a key's monthly limit, generations"`
	Needed    *int64      `json:"needed,omitempty" doc:"Of a 402: how many this asks for"`
	ResetsAt  *time.Time  `json:"resets_at,omitempty" doc:"Of a 402: when there are new ones"`
	Errors    []fault     `json:"errors,omitempty" nullable:"false" doc:"What is wrong with the request: the first 50, and how many more there are"`
	OpenAI    openAIError `json:"error"`

	kind  *problemKind
	after time.Duration // until it is worth asking again; 0: as its kind says
	cause error         // of a problem that is ours, for the log alone
}

// fault is one thing wrong with a request.
type fault struct {
	Param   string   `json:"param" doc:"The parameter as the caller wrote it: size, metadata.color, tags.0"`
	Code    string   `json:"code" doc:"required, invalid_type, unknown_parameter, unsupported_value, out_of_range, too_long, conflict, webhook_url_forbidden or invalid"`
	Message string   `json:"message"`
	Allowed []string `json:"allowed,omitempty" nullable:"false"`
}

type openAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// refusal is an error that handlers return for what a caller did wrong.
type refusal struct {
	code   string // of problemKinds
	detail string
	faults []fault
	after  time.Duration // until it is worth asking again; 0: as its code says
}

func (r *refusal) Error() string { return r.detail }

func refuse(code, format string, args ...any) error {
	return &refusal{code: code, detail: fmt.Sprintf(format, args...)}
}

// newProblem makes the document of a code. An empty detail is the code's own.
func newProblem(code, detail string, faults []fault) *problem {
	kind := kindOf(code)
	if detail == "" {
		detail = kind.Detail
	}
	faults = boundFaults(faults)
	p := &problem{
		Type: "/errors/" + kind.Code, Title: kind.Title, Status: kind.Status, Detail: detail, Code: kind.Code,
		Retryable: kind.Retryable, Errors: faults, kind: kind,
		OpenAI: openAIError{Message: detail, Type: kind.Type, Code: kind.Code},
	}
	if len(faults) > 0 && faults[0].Param != "" {
		p.OpenAI.Param = &faults[0].Param
	}
	return p
}

// Error makes a problem an error for Huma.
func (p *problem) Error() string { return p.Detail }

// GetStatus tells Huma the status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType tells Huma the media type.
func (p *problem) ContentType(string) string { return problemType }

// address completes a problem as the answer to one request, and sets the
// headers that go with it.
func (p *problem) address(c echo.Context) {
	r := requestOf(c.Request().Context())
	p.Instance, p.RequestID, r.code = shorten(c.Request().URL.Path, maxMessage), r.id, p.Code
	if p.cause != nil {
		r.cause = p.cause
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	after := p.after
	if after == 0 {
		after = p.kind.RetryAfter
	}
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(ceil(after, time.Second), 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(ceil(after, time.Millisecond), 10))
	}
	switch {
	// Clients retry most of these by themselves unless told not to.
	case p.Status == http.StatusPaymentRequired, p.Status == http.StatusConflict, p.Status == http.StatusTooManyRequests, p.Status >= 500:
		h.Set("X-Should-Retry", strconv.FormatBool(p.Retryable && after <= maxPatience))
	}
}

// maxPatience is how long a client may be asked to wait and ask again by itself.
const maxPatience = time.Minute

// ceil is how many units a time takes, begun ones included.
func ceil(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// writeError answers with the problem that err is.
func (s *server) writeError(err error, c echo.Context) {
	p := problemFor(c.Request(), err)
	p.address(c)
	if c.Response().Committed {
		return
	}
	if c.Request().Method == http.MethodHead {
		c.Response().Header().Set("Content-Type", problemType)
		_ = c.NoContent(p.Status)
		return
	}
	var body bytes.Buffer
	if err := writeJSON(&body, p); err != nil {
		panic(err) // strings and numbers always encode
	}
	_ = c.Blob(p.Status, problemType, body.Bytes()) // it fails if the caller has gone
}

// humaProblem turns what Huma found wrong into a problem. msg is Huma's own,
// names are the parameters of the operation. r may be nil.
func humaProblem(r *http.Request, status int, msg string, errs []error, names []string) *problem {
	switch status {
	case http.StatusUnprocessableEntity:
		return validationProblem(faultsOf(errs, names))
	case http.StatusBadRequest:
		detail := "The body is empty; send a JSON object."
		if len(errs) > 0 {
			detail = "The body is not valid JSON"
			var d *huma.ErrorDetail
			if errors.As(errs[0], &d) {
				detail += ": " + d.Message
			}
			detail += "."
		}
		return newProblem("invalid_json", detail, nil)
	case http.StatusUnsupportedMediaType:
		return newProblem("unsupported_media_type", "", nil)
	}
	if len(errs) == 1 {
		return problemFor(r, errs[0])
	}
	return problemFor(r, errors.Join(append(errs, fmt.Errorf("status %d: %s", status, msg))...))
}

// validationProblem lists faults. A URL that is not permitted, and nothing else, has
// a code of its own: the request is as it should be.
func validationProblem(faults []fault) *problem {
	code := "validation_failed"
	if len(faults) == 1 && faults[0].Code == jobs.CodeWebhookURL {
		code = jobs.CodeWebhookURL
	}
	return newProblem(code, detailOf(faults), faults)
}

// writeJSON encodes v without escaping <, > and &, which JSON does not ask for.
func writeJSON(w *bytes.Buffer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
