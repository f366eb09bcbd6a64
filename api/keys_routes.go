package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// keyRoutes are those of API keys.
func (s *server) keyRoutes(_ huma.API) {}
