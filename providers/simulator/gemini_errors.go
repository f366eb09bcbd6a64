package simulator

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A wireError is an error of Google's APIs (google.rpc.Status in JSON). The
// texts are those that the real API was seen to answer.
type wireError struct {
	Code    int              `json:"code"`
	Message string           `json:"message"`
	Status  string           `json:"status"`
	Details []map[string]any `json:"details,omitempty"`
}

func invalidArgument(format string, args ...any) *wireError {
	return &wireError{Code: http.StatusBadRequest, Status: "INVALID_ARGUMENT", Message: fmt.Sprintf(format, args...)}
}

// invalidRequest is all the API says about a wrong value of a known field.
func invalidRequest() *wireError { return invalidArgument("Request contains an invalid argument.") }

func missingKey() *wireError {
	return &wireError{Code: http.StatusForbidden, Status: "PERMISSION_DENIED", Message: "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."}
}

// missingCredential is missingKey on the Vertex path.
func missingCredential() *wireError {
	return &wireError{Code: http.StatusUnauthorized, Status: "UNAUTHENTICATED", Message: "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."}
}

func badKey() *wireError {
	err := invalidArgument("API key not valid. Please pass a valid API key.")
	err.Details = []map[string]any{
		{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
			"metadata": map[string]any{"service": "generativelanguage.googleapis.com"},
		},
		{"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": err.Message},
	}
	return err
}

// badCredential is badKey for a token.
func badCredential() *wireError {
	return &wireError{Code: http.StatusUnauthorized, Status: "UNAUTHENTICATED", Message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."}
}

// billingDisabled is the answer for a project without a billing account.
func billingDisabled() *wireError {
	return &wireError{
		Code: http.StatusForbidden, Status: "PERMISSION_DENIED",
		Message: "This API method requires billing to be enabled. Please enable billing on your project by visiting https://console.developers.google.com/billing/enable then retry. If you enabled billing for this project recently, wait a few minutes for the action to propagate to our systems and retry.",
		Details: []map[string]any{{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BILLING_DISABLED", "domain": "googleapis.com",
			"metadata": map[string]any{"service": "generativelanguage.googleapis.com"},
		}},
	}
}

func modelNotFound(model, method string) *wireError {
	return &wireError{Code: http.StatusNotFound, Status: "NOT_FOUND", Message: fmt.Sprintf("models/%s is not found for API version v1beta, or is not supported for %s. Call ListModels to see the list of available models and their supported methods.", model, method)}
}

// publisherModelNotFound is modelNotFound on the Vertex path; resource is the
// path from "projects" or "publishers" on.
func publisherModelNotFound(resource string) *wireError {
	return &wireError{Code: http.StatusNotFound, Status: "NOT_FOUND", Message: fmt.Sprintf("Publisher Model `%s` was not found or your project does not have access to it. Please ensure you are using a valid model version. For more information, see: https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions", resource)}
}

func unavailable() *wireError {
	return &wireError{Code: http.StatusServiceUnavailable, Status: "UNAVAILABLE", Message: "The model is overloaded. Please try again later."}
}

func internalError() *wireError {
	return &wireError{Code: http.StatusInternalServerError, Status: "INTERNAL", Message: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"}
}

func deadlineExceeded() *wireError {
	return &wireError{Code: http.StatusGatewayTimeout, Status: "DEADLINE_EXCEEDED", Message: "Deadline expired before operation could complete."}
}

// Quotas as Google names them.
const (
	quotaMetric    = "generativelanguage.googleapis.com/generate_content_paid_tier_requests"
	quotaPerMinute = "GenerateRequestsPerMinutePerProjectPerModel-PaidTier"
	quotaPerDay    = "GenerateRequestsPerDayPerProjectPerModel-PaidTier"
	rateLimitsURL  = "https://ai.google.dev/gemini-api/docs/rate-limits"
)

// quotaExceeded is the answer beyond a quota. Without a delay it has no
// RetryInfo.
func quotaExceeded(model, quotaID string, limit int, delay string) *wireError {
	err := &wireError{Code: http.StatusTooManyRequests, Status: "RESOURCE_EXHAUSTED", Message: fmt.Sprintf(
		"You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: %s.\n* Quota exceeded for metric: %s, limit: %d, model: %s",
		rateLimitsURL, quotaMetric, limit, model)}
	err.Details = []map[string]any{
		{
			"@type": "type.googleapis.com/google.rpc.QuotaFailure",
			"violations": []map[string]any{{
				"quotaMetric": quotaMetric, "quotaId": quotaID, "quotaValue": strconv.Itoa(limit),
				"quotaDimensions": map[string]any{"location": "global", "model": model},
			}},
		},
		{
			"@type": "type.googleapis.com/google.rpc.Help",
			"links": []map[string]any{{"description": "Learn more about Gemini API quotas", "url": rateLimitsURL}},
		},
	}
	if delay != "" {
		err.Message += "\nPlease retry in " + delay + "."
		err.Details = append(err.Details, map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
	}
	return err
}

// resourceExhausted is a 429 without any detail, as Vertex answers.
func resourceExhausted() *wireError {
	return &wireError{Code: http.StatusTooManyRequests, Status: "RESOURCE_EXHAUSTED", Message: "Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details."}
}

// protoDuration writes a duration as protobuf's JSON does, in seconds.
func protoDuration(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
