package api

import (
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

const stripeWebhookPath = "/v1/billing/stripe/webhook"

// takeStripeEvent keeps an event of Stripe's for a worker, and answers at once: Stripe
// tells again what is not answered, and in any order.
func (s *server) takeStripeEvent(c echo.Context) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return bodyError(err)
	}
	e, err := s.opts.Billing.ParseWebhook(body, c.Request().Header.Get(billing.SignatureHeader))
	switch {
	case errors.Is(err, billing.ErrSignature):
		return refuse("invalid_signature", "")
	case errors.Is(err, billing.ErrEvent), err == nil && !isKept(e):
		return refuse("invalid_request", "The body is not an event of Stripe's.")
	case err != nil:
		return err
	}
	ctx, cancel := s.bounded(c.Request().Context())
	defer cancel()
	row := store.StripeEvent{ID: e.ID, Type: e.Type, ObjectID: e.ObjectID, CreatedAt: e.CreatedAt}
	if e.Customer != "" {
		row.Customer = &e.Customer
	}
	if err := s.queue.TakeStripeEvent(ctx, row); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]bool{"received": true})
}

// isKept reports whether a row can hold an event.
func isKept(e *billing.Event) bool {
	for _, text := range []string{e.ID, e.Type, e.ObjectID, e.Customer} {
		if len(text) > 255 || !utf8.ValidString(text) || !isText(text) {
			return false
		}
	}
	return true
}

// describeStripeWebhook puts the route into the document.
func describeStripeWebhook(doc *huma.OpenAPI) {
	op := &huma.Operation{
		Method: http.MethodPost, Path: stripeWebhookPath, OperationID: "takeStripeEvent", Tags: []string{"billing"},
		Summary: "For Stripe, to tell of what has changed", Description: asAnyone.describe() + " The signature in the header " + billing.SignatureHeader + " decides.",
		Security: asAnyone.security(), Extensions: asAnyone.extensions(),
		Responses: map[string]*huma.Response{"200": {Description: "It is kept"}},
	}
	describeProblems(doc, op, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable)
	doc.AddOperation(op)
}
