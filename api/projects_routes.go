package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// projectRoutes are those of projects.
func (s *server) projectRoutes(_ huma.API) {}
