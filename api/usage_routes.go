package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// usageRoutes are those of what was used, and what it costs.
func (s *server) usageRoutes(_ *echo.Echo, _ huma.API) {
}
