package worker

import (
	"context"

	"github.com/nanobanana/nanobanana/store"
)

// routeReports says how this process sees its routes.
func (w *Worker) routeReports() []store.RouteReport { return nil }

// refreshRoutes reads what the fleet knows of the routes.
func (w *Worker) refreshRoutes(context.Context) {}
