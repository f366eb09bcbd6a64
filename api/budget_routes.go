package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// budgetRoutes are those of what an organization wants to spend.
func (s *server) budgetRoutes(_ huma.API) {
}
