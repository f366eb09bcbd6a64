package simulator

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// An openaiError is an error of the OpenAI API. The texts are those that the
// real API was seen to answer, where one was.
type openaiError struct {
	status  int
	kind    string // "type" on the wire
	code    string // "" is null
	param   string // "" is null
	message string // may hold {id}, where the request's id goes
	stage   string // of moderation: "input" or "output"
	wait    time.Duration
	limit   int // of requests a minute, where that was it
}

// Error makes it an error; no client sees this text.
func (e *openaiError) Error() string { return e.message }

// document is the error's body.
func (e *openaiError) document(id string) map[string]any {
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	doc := map[string]any{
		"message": strings.ReplaceAll(e.message, "{id}", id), "type": e.kind,
		"param": null(e.param), "code": null(e.code),
	}
	if e.stage != "" {
		doc["moderation_details"] = map[string]any{"moderation_stage": e.stage, "categories": []string{"violence"}}
	}
	return map[string]any{"error": doc}
}

const (
	invalidRequestError = "invalid_request_error"
	imageUserError      = "image_generation_user_error"
	serverError         = "server_error"
)

// badRequest is a 400 about a parameter; code and param may be "".
func badRequest(param, code, format string, args ...any) *openaiError {
	return &openaiError{status: http.StatusBadRequest, kind: invalidRequestError, code: code, param: param, message: fmt.Sprintf(format, args...)}
}

func unknownParameter(name string) *openaiError {
	return badRequest(name, "unknown_parameter", "Unknown parameter: '%s'.", name)
}

func missingParameter(name string) *openaiError {
	return badRequest(name, "missing_required_parameter", "Missing required parameter: '%s'.", name)
}

func wrongType(name, want, got string) *openaiError {
	return badRequest(name, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", name, want, got)
}

// unsupportedValue is the answer to a value that is none of the supported ones.
func unsupportedValue(name, value string, supported []string) *openaiError {
	quoted := make([]string, len(supported))
	for i, s := range supported {
		quoted[i] = "'" + s + "'"
	}
	last := len(quoted) - 1
	list := strings.Join(quoted[:last], ", ") + " and " + quoted[last]
	return badRequest(name, "invalid_value", "Invalid value: '%s'. Supported values are: %s.", value, list)
}

// badImage is a 400 about the bytes of an image.
func badImage(param, code, format string, args ...any) *openaiError {
	e := badRequest(param, code, format, args...)
	e.kind = imageUserError
	return e
}

func openaiMissingKey() *openaiError {
	return &openaiError{status: http.StatusUnauthorized, kind: invalidRequestError, message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys."}
}

func openaiBadKey(key string) *openaiError {
	shown := key[:min(len(key), 3)] + "****" + key[max(0, len(key)-4):]
	return &openaiError{status: http.StatusUnauthorized, kind: invalidRequestError, code: "invalid_api_key", message: fmt.Sprintf("Incorrect API key provided: %s. You can find your API key at https://platform.openai.com/account/api-keys.", shown)}
}

func openaiModelNotFound(model string) *openaiError {
	return &openaiError{status: http.StatusNotFound, kind: invalidRequestError, code: "model_not_found", message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model)}
}

// modelRetired is openaiModelNotFound for a model that there was.
func modelRetired(model string) *openaiError {
	e := openaiModelNotFound(model)
	e.message = fmt.Sprintf("The model `%s` has been deprecated, learn more here: https://platform.openai.com/docs/deprecations", model)
	return e
}

func variationsRetired() *openaiError {
	return &openaiError{status: http.StatusNotFound, kind: invalidRequestError, message: "The image variations endpoint has been retired and no longer accepts requests. Use /v1/images/edits instead. Learn more here: https://platform.openai.com/docs/deprecations"}
}

func invalidURL(method, path string) *openaiError {
	return &openaiError{status: http.StatusNotFound, kind: invalidRequestError, message: fmt.Sprintf("Invalid URL (%s %s)", method, path)}
}

func methodNotAllowed(method, path string) *openaiError {
	return &openaiError{status: http.StatusMethodNotAllowed, kind: invalidRequestError, code: "method_not_supported", message: fmt.Sprintf("Not allowed to %s on %s. (HINT: Perhaps you meant to use a different HTTP method?)", method, path)}
}

func unsupportedContentType(got string) *openaiError {
	return &openaiError{status: http.StatusBadRequest, kind: invalidRequestError, code: "unsupported_content_type", message: fmt.Sprintf("Unsupported content type: '%s'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: %s'. Please try again with a supported content type.", got, got)}
}

func openaiServerError() *openaiError {
	return &openaiError{status: http.StatusInternalServerError, kind: serverError, message: "The server had an error while processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if the error persists. (Please include the request ID {id} in your message.)"}
}

func openaiOverloaded() *openaiError {
	return &openaiError{status: http.StatusServiceUnavailable, kind: serverError, message: "The server is currently overloaded with other requests. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if the error persists."}
}

func openaiTimedOut() *openaiError {
	return &openaiError{status: http.StatusGatewayTimeout, kind: serverError, code: "timeout", message: "The request timed out. Please retry your request. (Please include the request ID {id} if you contact us.)"}
}

func insufficientQuota() *openaiError {
	return &openaiError{status: http.StatusTooManyRequests, kind: "insufficient_quota", code: "insufficient_quota", message: "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."}
}

func billingLimit() *openaiError {
	return &openaiError{status: http.StatusBadRequest, kind: "billing_limit_user_error", code: "billing_hard_limit_reached", message: "Billing hard limit has been reached."}
}

// moderated is the answer to a prompt (stage "input") or to pictures ("output")
// that the safety system rejects.
func moderated(stage string) *openaiError {
	e := badImage("", "moderation_blocked", "Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com and include the request ID {id}. safety_violations=[violence].")
	e.stage = stage
	return e
}

// rateLimited is the answer beyond the requests of a minute. Without a wait it
// names none.
func (c *openaiCall) rateLimited(limit int, wait time.Duration) *openaiError {
	e := &openaiError{
		status: http.StatusTooManyRequests, kind: "input-images", code: "rate_limit_exceeded", limit: limit, wait: wait,
		message: fmt.Sprintf("Rate limit reached for %s in organization %s on input-images per min: Limit %d, Used %d, Requested 1.", c.model, openaiOrganization, limit, limit),
	}
	if wait > 0 {
		e.message += fmt.Sprintf(" Please try again in %s.", wait)
	}
	e.message += " Visit https://platform.openai.com/account/rate-limits to learn more."
	return e
}
