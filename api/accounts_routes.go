package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// accountRoutes are those of a person about themselves.
func (s *server) accountRoutes(_ huma.API) {}
