package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// billingRoutes are those of plans, subscriptions and payments.
func (s *server) billingRoutes(_ *echo.Echo, _ huma.API) {
}
