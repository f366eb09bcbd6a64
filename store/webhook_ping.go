package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// PingWebhookEndpoint records an event that is delivered to one endpoint of a
// scope, whatever it asks to be told, and at once, even if it has failed of late.
// It fails with ErrNotFound or ErrEndpointDisabled.
func (db *DB) PingWebhookEndpoint(ctx context.Context, scope Scope, id string) (*Event, error) {
	events, err := many[Event](ctx, db, pingSQL, withDeliveries(scope.args(pgx.NamedArgs{
		"id": id, "event_id": NewEventID(), "message": "This is a test that was asked for.",
	})))
	if err == nil && len(events) == 0 {
		if _, err = db.WebhookEndpoint(ctx, scope, id); err == nil {
			err = ErrEndpointDisabled
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ping webhook endpoint %s: %w", id, err)
	}
	return events[0], nil
}

var pingSQL = `
		WITH ` + numberEvents(`
			SELECT @event_id AS event_id, org_id, project_id, '`+EventTestPing+`' AS type, test,
				jsonb_build_object('endpoint_id', id, 'message', @message::text) AS data, id AS endpoint_id
			FROM webhook_endpoint
			WHERE id = @id AND disabled_at IS NULL AND `+inScope, "") + `, addressed AS MATERIALIZED (
			SELECT event_id, org_id, project_id, endpoint_id, true AS sends, true AS healthy
			FROM occurrence
		), ` + queueDeliveries + `
		SELECT o.event_id AS id, o.org_id, o.project_id, n.last AS sequence, o.type, o.test, now() AS created_at, o.data
		FROM occurrence AS o JOIN numbered AS n USING (org_id), errands_announced`
