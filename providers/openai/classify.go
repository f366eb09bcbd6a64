package openai

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nanobanana/nanobanana/providers"
)

// maxWait bounds what an answer can make us wait.
const maxWait = 24 * time.Hour

// reportedFailure is the "error" of an answer. Proxies before the API put numbers
// into code, and more.
type reportedFailure struct {
	Message    string      `json:"message"`
	Type       string      `json:"type"`
	Code       any         `json:"code"`
	Moderation *moderation `json:"moderation_details"`
}

type moderation struct {
	Stage      string   `json:"moderation_stage"`
	Categories []string `json:"categories"`
}

// refusal turns an answer of another status than 200 into an error.
func (p *Provider) refusal(status int, header http.Header, body []byte, req providers.Request, now time.Time) *providers.Error {
	var wire struct {
		Error      json.RawMessage `json:"error"`
		Moderation *moderation     `json:"moderation_details"`
		Usage      *reportedUsage  `json:"usage"`
	}
	failure := &reportedFailure{}
	if lenient(json.Unmarshal(body, &wire)) != nil {
		failure.Message = providers.Readable(string(body))
	} else if lenient(json.Unmarshal(wire.Error, failure)) == nil && failure.Message == "" {
		_ = lenient(json.Unmarshal(wire.Error, &failure.Message)) // some proxies send a text only
	}
	if failure.Moderation == nil {
		failure.Moderation = wire.Moderation
	}
	e := p.judge(status, header, failure, now)
	e.Usage = (&answer{Usage: wire.Usage}).usage(req)
	return e
}

// judge says what a failure that the upstream reported means. A refusal for the
// content is taken to concern the input unless it says otherwise.
func (p *Provider) judge(status int, header http.Header, f *reportedFailure, now time.Time) *providers.Error {
	code, _ := f.Code.(string)
	e := &providers.Error{Provider: p.name, Status: status, Code: p.clean(code, maxCode)}
	if e.Code == "" {
		e.Code = p.clean(f.Type, maxCode)
	}
	e.Message = cmp.Or(p.clean(f.Message, maxMessage), http.StatusText(status), "status "+strconv.Itoa(status))
	e.RetryAfter = min(max(providers.ParseRetryAfter(header, now), waitInText(f.Message)), maxWait)
	e.Kind = kindOf(status, code, f)
	switch {
	case e.Kind == providers.KindModeration:
		e.Stage = "input"
		if f.Moderation != nil && f.Moderation.Stage == "output" {
			e.Stage = "output"
		}
		if f.Moderation != nil && len(f.Moderation.Categories) > 0 {
			e.Message = p.clean(e.Message+" ("+strings.Join(f.Moderation.Categories, ", ")+")", maxMessage)
		}
	case e.Kind == providers.KindTimeout, status >= 200 && status < 300:
		e.Ambiguous = true // whether it is billed is not documented
	}
	return e
}

// kindOf goes by the code where it says more than the status: an empty account
// is answered with 429 or 400, a retired model with 404 or 400
// (developers.openai.com/api/docs/guides/error-codes).
func kindOf(status int, code string, f *reportedFailure) providers.Kind {
	switch code {
	case "moderation_blocked", "content_policy_violation":
		return providers.KindModeration
	case "insufficient_quota", "billing_hard_limit_reached", "billing_not_active":
		return providers.KindQuota
	case "model_not_found", "model_deprecated", "deprecated_model":
		return providers.KindModelGone
	case "invalid_api_key":
		return providers.KindAuth
	}
	switch {
	case f.Moderation != nil && status < http.StatusInternalServerError:
		return providers.KindModeration
	case f.Type == "insufficient_quota", status == http.StatusPaymentRequired:
		return providers.KindQuota
	case status == http.StatusBadRequest && saysModelGone(f.Message):
		return providers.KindModelGone
	}
	return kindOfStatus(status)
}

// kindOfStatus is for failures without a telling code. Redirects are not
// followed, and count as a fault of the server like statuses nobody expects.
func kindOfStatus(status int) providers.Kind {
	const cloudflareTimeout = 524 // api.openai.com is behind Cloudflare
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return providers.KindAuth
	case http.StatusNotFound, http.StatusGone:
		return providers.KindModelGone
	case http.StatusRequestTimeout, http.StatusGatewayTimeout, cloudflareTimeout:
		return providers.KindTimeout
	case http.StatusTooManyRequests:
		return providers.KindRate
	case http.StatusConflict, http.StatusServiceUnavailable:
		return providers.KindOverload
	}
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return providers.KindInvalid
	}
	return providers.KindServer
}

// saysModelGone reports whether a refusal is of the model itself. A retired one
// is not always answered with 404.
func saysModelGone(message string) bool {
	message = strings.ToLower(message)
	return strings.Contains(message, "model") && slices.ContainsFunc(
		[]string{"deprecated", "does not exist", "has been shut down", "no longer available", "no longer supported"},
		func(s string) bool { return strings.Contains(message, s) })
}

// waitInText reads "Please try again in 1m30.5s" or "in 20 seconds". It is 0
// where the text says nothing of the kind.
func waitInText(message string) time.Duration {
	_, after, ok := strings.Cut(strings.ToLower(message), "try again in ")
	if !ok {
		return 0
	}
	words := strings.Fields(after[:min(len(after), 64)])
	if len(words) == 0 {
		return 0
	}
	amount := strings.TrimRight(words[0], ".,;")
	if d, err := time.ParseDuration(amount); err == nil {
		return max(0, d)
	}
	n, err := strconv.ParseFloat(amount, 64)
	if err != nil || len(words) < 2 || !(n > 0 && n < maxWait.Seconds()) {
		return 0
	}
	unit := time.Duration(0)
	switch strings.TrimRightFunc(words[1], unicode.IsPunct) {
	case "ms", "millisecond", "milliseconds":
		unit = time.Millisecond
	case "s", "sec", "second", "seconds":
		unit = time.Second
	case "m", "min", "minute", "minutes":
		unit = time.Minute
	case "h", "hour", "hours":
		unit = time.Hour
	}
	return min(time.Duration(n*float64(unit)), maxWait)
}

// broken covers calls without a complete answer: what was never sent, what broke
// on the way, and answers of status 200 that nobody could read. Where an answer
// began or the request went out whole, the image may have been billed.
func (p *Provider) broken(err error, status int, header http.Header, sent bool) *providers.Error {
	e := &providers.Error{
		Provider: p.name, Status: status, Message: p.clean(err.Error(), maxMessage), Err: err, Ambiguous: sent || status != 0,
	}
	if status != 0 && status != http.StatusOK {
		return p.refusal(status, header, nil, providers.Request{}, time.Now())
	}
	var (
		timeout net.Error
		disk    *fs.PathError
	)
	switch {
	case errors.As(err, &disk):
		e.Kind = providers.KindLocal
	case errors.Is(err, providers.ErrImageTooLarge), errors.Is(err, providers.ErrAnswerTooLong), errors.Is(err, providers.ErrTooManyImages):
		e.Kind = providers.KindServer
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Kind = providers.KindTimeout
	default:
		e.Kind = providers.KindNetwork
	}
	return e
}
