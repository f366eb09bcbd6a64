package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// problemKind is one code of the API's errors.
type problemKind struct {
	Code       string
	Status     int
	Title      string
	Type       string // of the OpenAI API
	Retryable  bool
	RetryAfter time.Duration
	Detail     string // when there is nothing more exact to say
}

// Types of error that clients of the OpenAI API know.
const (
	typeRequest     = "invalid_request_error"
	typeAuth        = "authentication_error"
	typeConflict    = "conflict_error"
	typeIdempotency = "idempotency_error"
	typeRateLimit   = "rate_limit_error"
	typeAPI         = "api_error"
	typePermission  = "permission_error"
	typeQuota       = "insufficient_quota"
)

const sendKey = "send a key as \"Authorization: Bearer nb_live_...\""

// problemKinds is every code there is, the most general last. It is never
// written to.
var problemKinds = []problemKind{
	{Code: "invalid_json", Status: 400, Title: "Invalid JSON", Type: typeRequest, Detail: "The body is not valid JSON."},
	{Code: "invalid_request", Status: 400, Title: "Invalid request", Type: typeRequest, Detail: "The request is not valid."},
	{Code: "invalid_cursor", Status: 400, Title: "Invalid cursor", Type: typeRequest, Detail: "after and before take what first_id, last_id or next_cursor of an earlier page say."},
	{Code: "invalid_signature", Status: 400, Title: "Invalid signature", Type: typeAuth, Detail: "The body is not signed as it should be."},
	{Code: "sign_on_failed", Status: 400, Title: "Sign-on failed", Type: typeAuth, Detail: "Begin again with GET /v1/auth/oidc/{provider}."},
	{Code: "organization_required", Status: 400, Title: "Organization required", Type: typeRequest, Detail: "Say which organization in the header NanoBanana-Organization."},
	{Code: "project_required", Status: 400, Title: "Project required", Type: typeRequest, Detail: "Say which project in the header NanoBanana-Project."},
	{Code: "missing_api_key", Status: 401, Title: "Missing API key", Type: typeAuth, Detail: "No API key was sent; " + sendKey + "."},
	{Code: "invalid_api_key", Status: 401, Title: "Invalid API key", Type: typeAuth, Detail: "The API key is not valid; " + sendKey + "."},
	{Code: "key_expired", Status: 401, Title: "API key expired", Type: typeAuth, Detail: "The API key has expired; make a new one."},
	{Code: "key_revoked", Status: 401, Title: "API key revoked", Type: typeAuth, Detail: "The API key has been revoked; make a new one."},
	{Code: "invalid_token", Status: 401, Title: "Invalid access token", Type: typeAuth, Detail: "The access token is not valid; sign in again with POST /v1/auth/login."},
	{Code: "token_expired", Status: 401, Title: "Access token expired", Type: typeAuth, Detail: "The access token has expired; get another with POST /v1/auth/refresh."},
	{Code: "invalid_credentials", Status: 401, Title: "Invalid credentials", Type: typeAuth, Detail: "The e-mail address or the password is wrong, or the address is not verified yet: follow the link that was mailed."},
	{Code: "session_ended", Status: 401, Title: "Session ended", Type: typeAuth, Detail: "The session has ended; sign in again with POST /v1/auth/login."},
	{Code: "quota_exceeded", Status: 402, Title: "Quota exceeded", Type: typeQuota, Detail: "The monthly limit is reached."},
	{Code: "spend_limit_reached", Status: 402, Title: "Spend limit reached", Type: typeQuota, Detail: "The organization's budget is used up."},
	{Code: "payment_required", Status: 402, Title: "Payment required", Type: typeQuota, Detail: "The organization's subscription is not paid."},
	{Code: "payment_declined", Status: 402, Title: "Payment declined", Type: typeQuota, Detail: "The payment was declined; change how you pay with POST /v1/billing/portal."},
	{Code: "permission_denied", Status: 403, Title: "Permission denied", Type: typePermission, Detail: "The caller may not do this."},
	{Code: "scope_missing", Status: 403, Title: "Scope missing", Type: typePermission, Detail: "The API key was not granted what this needs."},
	{Code: "ip_not_allowed", Status: 403, Title: "Address not allowed", Type: typePermission, Detail: "The API key may not be used from this address."},
	{Code: "csrf_failed", Status: 403, Title: "Cross-site request refused", Type: typePermission, Detail: "Send the value of the cookie nb_csrf in the header X-CSRF-Token."},
	{Code: "email_unverified", Status: 403, Title: "E-mail address unverified", Type: typePermission, Detail: "Follow the link that was mailed to this address first."},
	{Code: "account_suspended", Status: 403, Title: "Account suspended", Type: typePermission, Detail: "The account is suspended; write to whoever runs this service."},
	{Code: "organization_suspended", Status: 403, Title: "Organization suspended", Type: typePermission, Detail: "The organization is suspended; write to whoever runs this service."},
	{Code: "not_found", Status: 404, Title: "Not found", Type: typeRequest, Detail: "Nothing with this id belongs to the key's project."},
	{Code: "method_not_allowed", Status: 405, Title: "Method not allowed", Type: typeRequest, Detail: "The route takes other methods; see the header Allow."},
	{Code: "request_timeout", Status: 408, Title: "Request timeout", Type: typeRequest, Retryable: true, Detail: "The body did not arrive in time."},
	{Code: "idempotency_in_flight", Status: 409, Title: "Request in flight", Type: typeConflict, Retryable: true, RetryAfter: time.Second, Detail: "A request with this Idempotency-Key is being accepted; ask again."},
	{Code: "already_exists", Status: 409, Title: "Already exists", Type: typeConflict, Detail: "There is one of that name already."},
	{Code: "subscription_exists", Status: 409, Title: "Subscription exists", Type: typeConflict, Detail: "The organization has a subscription; change it with POST /v1/billing/subscription."},
	{Code: "no_subscription", Status: 409, Title: "No subscription", Type: typeConflict, Detail: "The organization has no subscription; get one with POST /v1/billing/checkout."},
	{Code: "billing_refused", Status: 409, Title: "Refused by billing", Type: typeConflict, Detail: "The provider of payments refuses this."},
	{Code: "last_owner", Status: 409, Title: "Last owner", Type: typeConflict, Detail: "An organization needs an owner; make someone else one first, or delete the organization."},
	{Code: "key_ended", Status: 409, Title: "API key ended", Type: typeConflict, Detail: "The API key is revoked, has expired or has been replaced, which is for good; make a new one with POST /v1/keys."},
	{Code: "limit_reached", Status: 409, Title: "Limit reached", Type: typeConflict, Detail: "There are as many as there may be."},
	{Code: "project_archived", Status: 409, Title: "Project archived", Type: typeConflict, Detail: "The project is archived, for good; make another."},
	{Code: "webhook_endpoint_disabled", Status: 409, Title: "Webhook endpoint disabled", Type: typeConflict, Detail: "The webhook endpoint is disabled; enable it with POST /v1/webhook_endpoints/{id}/enable."},
	{Code: "webhook_endpoint_limit", Status: 409, Title: "Too many webhook endpoints", Type: typeConflict, Detail: fmt.Sprintf("The project has %d webhook endpoints of the mode of this key, live or test, which is the most; delete one that is not needed.", store.MaxWebhookEndpoints)},
	{Code: "webhook_secret_limit", Status: 409, Title: "Too many webhook secrets", Type: typeConflict, Detail: fmt.Sprintf("%d secrets sign already, which is the most; wait until one of them expires, or rotate with \"overlap_seconds\": 0 to end them now.", store.MaxWebhookSecrets)},
	{Code: "webhook_secret_unreadable", Status: 409, Title: "Webhook secret unreadable", Type: typeConflict, Detail: "The service can not read this secret any more, since its operator has changed NANOBANANA_SECRET; make a new one with POST /v1/webhooks/default/rotate."},
	{Code: "webhook_endpoint_deleted", Status: 409, Title: "Webhook endpoint deleted", Type: typeConflict, Detail: "What the events were for is deleted, the webhook endpoint or the generation's webhook_url; GET /v1/events has the events for as long as they are kept."},
	{Code: "image_expired", Status: 410, Title: "Image expired", Type: typeRequest, Detail: "The image's retention is over."},
	{Code: "data_removed", Status: 410, Title: "Data removed", Type: typeRequest, Detail: "The image was deleted with its generation."},
	{Code: "link_invalid", Status: 410, Title: "Link invalid", Type: typeRequest, Detail: "The link has been used, or its time is over; ask for another."},
	{Code: "payload_too_large", Status: 413, Title: "Payload too large", Type: typeRequest, Detail: "The body is larger than this route accepts."},
	{Code: "unsupported_media_type", Status: 415, Title: "Unsupported media type", Type: typeRequest, Detail: "Send the body as \"Content-Type: application/json\"."},
	{Code: "range_not_satisfiable", Status: 416, Title: "Range not satisfiable", Type: typeRequest, Detail: "The image has no such part; Content-Range tells its length."},
	{Code: "validation_failed", Status: 422, Title: "Validation failed", Type: typeRequest, Detail: "The request is not valid; errors lists why."},
	{Code: "idempotency_key_reused", Status: 422, Title: "Idempotency key reused", Type: typeIdempotency, Detail: "This Idempotency-Key was used for a different request; use a new key for a new request."},
	{Code: jobs.CodeWebhookURL, Status: 422, Title: "Webhook URL forbidden", Type: typeRequest, Detail: "Nothing can be sent to this URL; errors says why."},
	{Code: "query_too_slow", Status: 422, Title: "Query too slow", Type: typeRequest, Detail: "The list takes too long to find; narrow it with created_after, created_before or status."},
	{Code: "rate_limited", Status: 429, Title: "Rate limited", Type: typeRateLimit, Retryable: true, Detail: "Too many requests; Retry-After says when there may be another."},
	{Code: "concurrency_limited", Status: 429, Title: "Concurrency limited", Type: typeRateLimit, Retryable: true, RetryAfter: 5 * time.Second, Detail: "Too many such requests are open at the same time; end one or ask again."},
	{Code: "client_closed_request", Status: 499, Title: "Client closed request", Type: typeRequest, Retryable: true, Detail: "The caller went away."},
	{Code: "overloaded", Status: 503, Title: "Overloaded", Type: typeAPI, Retryable: true, RetryAfter: 2 * time.Second, Detail: "Too many are signing in just now; ask again."},
	{Code: "service_unavailable", Status: 503, Title: "Service unavailable", Type: typeAPI, Retryable: true, RetryAfter: 2 * time.Second, Detail: "The service can not reach its database just now; ask again."},
	{Code: "issuer_unavailable", Status: 503, Title: "Issuer unavailable", Type: typeAPI, Retryable: true, RetryAfter: 5 * time.Second, Detail: "The issuer of single sign-on can not be reached just now; ask again."},
	{Code: "billing_unavailable", Status: 503, Title: "Billing unavailable", Type: typeAPI, Retryable: true, RetryAfter: 5 * time.Second, Detail: "Payments are not possible just now; ask again."},
	{Code: "internal_error", Status: 500, Title: "Internal error", Type: typeAPI, Retryable: true, Detail: "Something went wrong here; the request_id finds it in the log."},
}

func kindOf(code string) *problemKind {
	for i := range problemKinds {
		if problemKinds[i].Code == code {
			return &problemKinds[i]
		}
	}
	return &problemKinds[len(problemKinds)-1]
}

// sentinels maps errors to codes. It is never written to.
var sentinels = []struct {
	err  error
	code string
}{
	{auth.ErrMissing, "missing_api_key"},
	{auth.ErrExpired, "key_expired"},
	{auth.ErrRevoked, "key_revoked"},
	{auth.ErrInvalidToken, "invalid_token"},
	{auth.ErrTokenExpired, "token_expired"},
	{auth.ErrSuspended, "organization_suspended"},
	{auth.ErrForbidden, "permission_denied"},
	{auth.ErrBusy, "overloaded"},
	{store.ErrSessionEnded, "session_ended"},
	{store.ErrTokenReused, "session_ended"},
	{store.ErrAccountSuspended, "account_suspended"},
	{store.ErrLastOwner, "last_owner"},
	{store.ErrNotFound, "not_found"},
	{jobs.ErrIdempotencyKeyReused, "idempotency_key_reused"},
	{jobs.ErrIdempotencyInFlight, "idempotency_in_flight"},
	{store.ErrEndpointDisabled, "webhook_endpoint_disabled"},
	{store.ErrEndpointDeleted, "webhook_endpoint_deleted"},
	{store.ErrTooManyEndpoints, "webhook_endpoint_limit"},
	{store.ErrTooManySecrets, "webhook_secret_limit"},
}

// problemFor is the one place where an error becomes an answer. What matches
// nothing is ours: a bare 500, whose cause only the log gets. r may be nil.
func problemFor(r *http.Request, err error) *problem {
	var refused *refusal
	var invalid *jobs.InvalidError
	var quota *jobs.QuotaError
	var credits *jobs.CreditsError
	var explained *creditRefusal
	var tooLarge *http.MaxBytesError
	var routing *echo.HTTPError
	switch {
	case errors.As(err, &refused):
		p := newProblem(refused.code, refused.detail, refused.faults)
		p.after = refused.after
		return p
	case errors.As(err, &invalid):
		return validationProblem(jobFaults(invalid.Faults))
	case errors.As(err, &quota):
		return quotaProblem(quota)
	case errors.As(err, &explained):
		return creditsProblem(explained)
	case errors.As(err, &credits):
		return creditsProblem(&creditRefusal{CreditsError: credits, left: credits.Available, more: "More of them, or a larger plan, let it in sooner."})
	case errors.As(err, &tooLarge):
		return newProblem("payload_too_large", fmt.Sprintf("The body is larger than the %d bytes that are accepted.", tooLarge.Limit), nil)
	case errors.Is(err, auth.ErrMalformed), errors.Is(err, auth.ErrUnknown):
		return newProblem("invalid_api_key", "The key was refused: "+err.Error()+".", nil)
	case errors.As(err, &routing):
		return routingProblem(r, routing)
	}
	if p := signOnProblem(err); p != nil {
		return p
	}
	if p := billingProblem(err); p != nil {
		return p
	}
	if code := sentinelCode(err); code != "" {
		return newProblem(code, "", nil)
	}
	var p *problem
	away := isAway(err)
	left := r != nil && errors.Is(r.Context().Err(), context.Canceled)
	switch {
	case errors.Is(err, context.Canceled), away && left:
		p = newProblem("client_closed_request", "", nil)
	case away:
		p = newProblem("service_unavailable", "", nil)
	default:
		p = newProblem("internal_error", "", nil)
	}
	p.cause = err
	return p
}

// sentinelCode returns the code of an error, or empty.
func sentinelCode(err error) string {
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return ""
}

// signOnProblem turns what has gone wrong with an issuer of single sign-on, or
// returns nil. The cause is for whoever configures it.
func signOnProblem(err error) *problem {
	var failed *auth.SignOnError
	var token *auth.TokenError
	switch {
	case errors.As(err, &failed):
		code, advice := "sign_on_failed", " Begin again with GET /v1/auth/oidc/{provider}."
		if failed.Denied {
			code, advice = "permission_denied", ""
		}
		p := newProblem(code, failed.Text+advice, nil)
		p.cause = failed.Cause
		return p
	case errors.As(err, &token):
		return newProblem(sentinelCode(token.Err), "The access token was refused: "+token.Reason+".", nil)
	case errors.Is(err, auth.ErrUnknownIssuer):
		return newProblem("not_found", "There is no such provider of single sign-on; GET /v1/auth/oidc lists them.", nil)
	case errors.Is(err, auth.ErrIssuerAway):
		p := newProblem("issuer_unavailable", "", nil)
		p.cause = err
		return p
	}
	return nil
}

// isAway reports whether err is that the database, or the issuer of a token, can not be
// reached or takes too long.
func isAway(err error) bool {
	return store.IsUnavailable(err) || store.IsStatementTimeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, auth.ErrIssuerAway)
}

// isRefusedKey reports whether err is that a credential, which is well formed, is no
// good any more.
func isRefusedKey(err error) bool {
	for _, refused := range []error{auth.ErrInvalidToken, auth.ErrTokenExpired, auth.ErrForbidden, auth.ErrSuspended, store.ErrSessionEnded, store.ErrAccountSuspended} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return errors.Is(err, auth.ErrUnknown) || errors.Is(err, auth.ErrExpired) || errors.Is(err, auth.ErrRevoked)
}

// isRefused reports whether err is that a caller is no longer let in.
func isRefused(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) || isRefusedKey(err)
}

// routingProblem turns what Echo says of a route.
func routingProblem(r *http.Request, err *echo.HTTPError) *problem {
	switch {
	case err.Code == http.StatusNotFound && r != nil:
		return newProblem("not_found", fmt.Sprintf("There is no route %s %s; GET /openapi.json lists them.", r.Method, shorten(r.URL.Path, maxMessage)), nil)
	case err.Code == http.StatusMethodNotAllowed:
		return newProblem("method_not_allowed", "", nil)
	case err.Code == http.StatusRequestEntityTooLarge:
		return newProblem("payload_too_large", "", nil)
	case err.Code >= 400 && err.Code < 500:
		return newProblem("invalid_request", fmt.Sprint(err.Message), nil)
	}
	p := newProblem("internal_error", "", nil)
	p.cause = err
	return p
}
