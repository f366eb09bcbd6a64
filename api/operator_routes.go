package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// operatorRoutes are those of those who run the service.
func (s *server) operatorRoutes(_ huma.API) {}
