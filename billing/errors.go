package billing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v85"
)

// Kinds of errors.
var (
	// ErrOff reports that Stripe is not configured.
	ErrOff = errors.New("payments by Stripe are not configured")
	// ErrUnavailable reports that Stripe can not be reached, is busy, or has failed: the
	// same request may succeed later.
	ErrUnavailable = errors.New("it is not to be had from Stripe just now")
	// ErrNotFound reports that Stripe does not have what was named.
	ErrNotFound = errors.New("there is no such thing at Stripe")
	// ErrDeclined reports that a payment was refused.
	ErrDeclined = errors.New("the payment was declined")
	// ErrKeyReused reports that what was asked once is asked with other parameters.
	ErrKeyReused = errors.New("the Idempotency-Key was used for something else")
	// ErrCredentials reports that Stripe refuses the API key.
	ErrCredentials = errors.New("the API key is refused by Stripe")
	// ErrAccount reports that Stripe has neither what was named nor the customer whose it
	// is: the API key is of another account or mode.
	ErrAccount = errors.New("the API key is of another account or mode of Stripe's than what was made before")
	// ErrRefused reports that Stripe does not do what was asked.
	ErrRefused = errors.New("the request is refused by Stripe")
	// ErrCatalogue reports that a price has not been set up at Stripe.
	ErrCatalogue = errors.New("there is no such price at Stripe: run \"nanobanana billing setup\"")
)

// An Error is what has gone wrong with a request to Stripe. It is one of the kinds
// above for errors.Is.
type Error struct {
	Doing     string // "make a customer"
	Kind      error
	Code      string // Stripe's, where it has answered
	Param     string // that it is about
	Message   string
	RequestID string // Stripe's
}

// Error says what was being done and why it failed.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Doing, e.Kind)
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.RequestID != "" {
		text += " (" + e.RequestID + ")"
	}
	return text
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// failed types an error of stripe-go; nil stays nil.
func failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	var said *stripe.Error
	if !errors.As(err, &said) {
		return &Error{Doing: doing, Kind: ErrUnavailable, Message: err.Error()} // no answer, or half of one
	}
	return &Error{Doing: doing, Kind: kindOf(said), Code: string(said.Code), Param: said.Param, Message: said.Msg, RequestID: said.RequestID}
}

// kindOf tells errors apart as https://docs.stripe.com/error-low-level does.
func kindOf(e *stripe.Error) error {
	switch status := e.HTTPStatusCode; {
	case e.Type == stripe.ErrorTypeIdempotency && status != http.StatusConflict:
		return ErrKeyReused
	case e.Type == stripe.ErrorTypeCard, status == http.StatusPaymentRequired:
		return ErrDeclined
	case status == http.StatusNotFound, e.Code == stripe.ErrorCodeResourceMissing:
		return ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrCredentials
	case status == http.StatusConflict, status == http.StatusTooManyRequests, status == 0, status >= 500:
		return ErrUnavailable // 409: a request with the same key is under way
	}
	return ErrRefused
}

// CustomerGone reports whether Stripe does not have the customer for whom something was
// asked.
func CustomerGone(err error) bool {
	var said *Error
	return errors.As(err, &said) && errors.Is(said.Kind, ErrNotFound) && said.Param == "customer"
}

// off is the error of a Client that is.
func off(doing string) error { return &Error{Doing: doing, Kind: ErrOff} }

// maxKey is the longest Idempotency-Key that Stripe takes.
const maxKey = 255

// idempotencyKey bounds a key: a longer one is named by its digest.
func idempotencyKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
