package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// ledgerRoutes are those of credits and of the log of requests.
func (s *server) ledgerRoutes(_ *echo.Echo, _ huma.API) {
}
