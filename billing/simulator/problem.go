package simulator

import (
	"fmt"
	"net/http"
)

// A problem is an error as Stripe writes it.
// Source: https://docs.stripe.com/api/errors.
type problem struct {
	status  int
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	Decline string `json:"decline_code,omitempty"`
	Param   string `json:"param,omitempty"`
	Message string `json:"message"`
	DocURL  string `json:"doc_url,omitempty"`
	Request string `json:"request_log_url,omitempty"`

	saved bool // an idempotency key repeats it
}

func (p *problem) Error() string { return p.Message }

// invalid is a request that Stripe does not take.
func invalid(param, code, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, Type: "invalid_request_error", Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

// unknownID is a reference to an object that is not there: 404 where the path names
// it, 400 where a parameter does.
func unknownID(status int, kind, param, id string) *problem {
	p := invalid(param, "resource_missing", "No such %s: '%s'", kind, id)
	p.status = status
	return p
}

// declined is a card that was refused.
func declined() *problem {
	return &problem{
		status: http.StatusPaymentRequired, Type: "card_error", Code: "card_declined", Decline: "generic_decline",
		Message: "Your card was declined.", saved: true,
	}
}
