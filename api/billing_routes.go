package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
)

// billingRoutes are those of plans, subscriptions and payments.
func (s *server) billingRoutes(e *echo.Echo, api huma.API) {
	read, write := inOrg(auth.ScopeBillingRead), inOrg(auth.ScopeBillingWrite)
	register(s, api, read, "GET /v1/billing/subscription", "getSubscription", "See what the organization is on and pays for", 200, s.getSubscription)
	register(s, api, write, "POST /v1/billing/subscription", "changeSubscription", "Change the plan, or end the subscription with its period", 200, s.changeSubscription)
	register(s, api, write, "POST /v1/billing/checkout", "createCheckout", "Get the page on which a plan is subscribed to", 201, s.createCheckout)
	register(s, api, write, "POST /v1/billing/credits", "buyCredits", "Get the page on which credits are bought", 201, s.buyCredits)
	register(s, api, write, "POST /v1/billing/portal", "createPortal", "Get the page on which cards and invoices are managed", 201, s.createPortal)
	register(s, api, read, "GET /v1/billing/invoices", "listInvoices", "List the organization's invoices", 200, s.listInvoices)
	register(s, api, read, "GET /v1/billing/invoices/{id}", "getInvoice", "See an invoice", 200, s.getInvoice)
	register(s, api, asOperator, "POST /v1/admin/refunds", "adminRefund", "Give back what an invoice has taken", 201, s.adminRefund)
	e.POST(stripeWebhookPath, s.takeStripeEvent) // anyone: the signature decides
	describeStripeWebhook(api.OpenAPI())
}
