package api

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// auditRoutes are those of the audit log.
func (s *server) auditRoutes(_ *echo.Echo, _ huma.API) {}
