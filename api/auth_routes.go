package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// authRoutes are those of signing in and out.
func (s *server) authRoutes(_ *echo.Echo, _ huma.API) {}
