package gemini

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

// maxWait bounds what an answer can make us wait.
const maxWait = 24 * time.Hour

// failure is what is known of a call that the SDK ended with an error.
type failure struct {
	err    error
	status int // 0 if no answer began
	header http.Header
	sent   bool // the request went out completely
}

// answered reports whether the upstream itself refused the call, whatever became
// of our own context meanwhile.
func answered(f failure) bool {
	var api genai.APIError
	return errors.As(f.err, &api) || f.status >= http.StatusMultipleChoices
}

// classify turns a failure into a providers.Error.
func (p *Provider) classify(f failure) *providers.Error {
	e := &providers.Error{Provider: p.name, Status: f.status}
	if answered(f) {
		p.classifyStatus(e, f)
	} else {
		p.classifyTransport(e, f)
	}
	return e
}

// classifyTransport covers calls without a complete answer: what was never sent,
// what broke on the way, and answers of status 200 that nobody could read.
func (p *Provider) classifyTransport(e *providers.Error, f failure) {
	e.Ambiguous, e.Err, e.Message = f.sent, brief(f.err), p.message(f.err.Error())
	var (
		timeout  net.Error
		disk     *fs.PathError
		exchange *url.Error
		token    *tokenError
	)
	switch {
	case errors.As(f.err, &token):
		e.Kind = providers.KindNetwork
		if token.refused() {
			e.Kind = providers.KindAuth
		}
	case errors.As(f.err, &disk):
		e.Kind = providers.KindLocal
	case errors.Is(f.err, providers.ErrImageTooLarge), errors.Is(f.err, providers.ErrAnswerTooLong), errors.Is(f.err, providers.ErrTooManyImages):
		e.Kind = providers.KindServer
	case errors.As(f.err, &timeout) && timeout.Timeout():
		e.Kind = providers.KindTimeout
	case f.status == 0 && !errors.As(f.err, &exchange):
		e.Kind = providers.KindInvalid // the SDK refused it before sending
	default:
		e.Kind = providers.KindNetwork
	}
}

// classifyStatus covers answers with an error status.
func (p *Provider) classifyStatus(e *providers.Error, f failure) {
	api := apiError(f)
	if e.Status == 0 {
		e.Status = api.Code
	}
	e.Code = code(api.Status)
	e.Message = p.message(providers.Readable(api.Message), http.StatusText(e.Status))
	d := readDetails(api)
	e.RetryAfter = min(max(providers.ParseRetryAfter(f.header, time.Now()), d.retry), maxWait)
	switch {
	case e.Status == http.StatusTooManyRequests && (d.perDay || noQuota(api.Message)), e.Status == http.StatusPaymentRequired:
		e.Kind = providers.KindQuota
	case e.Status == http.StatusTooManyRequests:
		e.Kind = providers.KindRate
	case e.Status == http.StatusBadRequest:
		e.Kind = badRequest(api, d.reason)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		e.Kind = providers.KindAuth
	case e.Status == http.StatusNotFound, e.Status == http.StatusGone:
		e.Kind = providers.KindModelGone
	case e.Status == http.StatusRequestTimeout:
		e.Kind = providers.KindTimeout
	case e.Status == http.StatusGatewayTimeout:
		e.Kind, e.Ambiguous = providers.KindTimeout, true // whether it is billed is not documented
	case e.Status == http.StatusServiceUnavailable:
		e.Kind = providers.KindOverload
	case e.Status >= http.StatusInternalServerError, e.Status < http.StatusBadRequest:
		e.Kind = providers.KindServer
	case e.Status == 499: // the upstream believes that we hung up
		e.Kind, e.Ambiguous = providers.KindServer, true
	default:
		e.Kind = providers.KindInvalid
	}
}

// badRequest tells apart what Google puts into status 400. It answers a bad key
// with 400, not 401; and FAILED_PRECONDITION means the project: its location or
// its billing.
func badRequest(api genai.APIError, reason string) providers.Kind {
	switch {
	case strings.Contains(api.Message, "deadline") && strings.Contains(api.Message, "too short"):
		return providers.KindDeadline
	case reason == "API_KEY_INVALID", strings.Contains(api.Message, "API key"),
		api.Status == "FAILED_PRECONDITION", strings.Contains(api.Message, "location is not supported"):
		return providers.KindAuth
	}
	return providers.KindInvalid
}

// apiError is the error in the answer. The SDK leaves a body that is an array of
// errors as raw text, and one that broke off out altogether.
func apiError(f failure) genai.APIError {
	var api genai.APIError
	if !errors.As(f.err, &api) {
		return genai.APIError{Code: f.status}
	}
	var list []struct {
		Error genai.APIError `json:"error"`
	}
	if strings.HasPrefix(api.Message, "[") && json.Unmarshal([]byte(api.Message), &list) == nil && len(list) > 0 {
		return list[0].Error
	}
	if strings.Contains(api.Status, " ") {
		api.Status = "" // the SDK put the HTTP status line there
	}
	return api
}

// details is what the google.rpc details of an error say.
type details struct {
	retry  time.Duration
	perDay bool
	reason string
}

func readDetails(api genai.APIError) details {
	var d details
	for _, detail := range api.Details {
		kind, _ := detail["@type"].(string)
		switch strings.TrimPrefix(kind, "type.googleapis.com/google.rpc.") {
		case "RetryInfo":
			delay, _ := detail["retryDelay"].(string)
			d.retry = max(d.retry, parseDelay(delay))
		case "QuotaFailure":
			violations, _ := detail["violations"].([]any)
			for _, v := range violations {
				m, _ := v.(map[string]any)
				id, _ := m["quotaId"].(string)
				d.perDay = d.perDay || strings.Contains(id, "PerDay")
			}
		case "ErrorInfo":
			d.reason, _ = detail["reason"].(string)
		}
	}
	if _, after, ok := strings.Cut(api.Message, "Please retry in "); ok && d.retry == 0 {
		word, _, _ := strings.Cut(after, " ")
		d.retry = parseDelay(strings.TrimRight(strings.TrimSpace(word), ".,"))
	}
	return d
}

// parseDelay reads "34.074824224s" or "900.2ms". It is 0 for anything else.
func parseDelay(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return max(0, d)
}

// noQuota reports whether a 429 says that the project's limit is zero.
func noQuota(message string) bool {
	_, after, ok := strings.Cut(strings.ToLower(message), "limit: 0")
	return ok && (after == "" || after[0] < '0' || after[0] > '9')
}

// brief keeps err as a cause unless the SDK put the whole answer into it.
func brief(err error) error {
	if len(err.Error()) <= 512 {
		return err
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return syntax
	}
	return nil
}
