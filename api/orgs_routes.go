package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// orgRoutes are those of organizations, their members and invitations.
func (s *server) orgRoutes(_ huma.API) {}
