package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// channelRoute carries the names of routes that have changed.
const channelRoute = "nanobanana_route"

// A ProviderRoute is what the fleet knows of a route to a provider. Times that
// have passed mean nothing any more.
type ProviderRoute struct {
	Name           string
	Enabled        bool       // false: drained by an operator
	CooldownUntil  *time.Time // the upstream asked for a pause
	CooldownReason *string
	OpenUntil      *time.Time // the breaker is open until then; nil: closed
	ChangedAt      time.Time
	ChangedBy      *string
	Now            time.Time // the database's clock when this was read
}

// Here turns a time of the row into one of this machine's clock; nil is zero.
func (r *ProviderRoute) Here(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now().Add(t.Sub(r.Now))
}

var routesSQL = `
		SELECT ` + columns[ProviderRoute]("") + `
		FROM (SELECT *, now() AS now FROM provider_route) AS r
		ORDER BY name`

// ProviderRoutes lists the routes that something is known of.
func (db *DB) ProviderRoutes(ctx context.Context) ([]*ProviderRoute, error) {
	routes, err := many[ProviderRoute](ctx, db, routesSQL, nil)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// A RouteNews is what one process found out about a route. Cooldown and Open are
// counted from now on the database's clock, so that no two clocks need agree.
type RouteNews struct {
	Name     string
	By       string        // who found out
	Cooldown time.Duration // longer than 0: the upstream asked for this pause
	Reason   string        // of the cooldown
	Open     time.Duration // longer than 0: the breaker has opened for so long
	Closed   bool          // a call succeeded: the breaker is closed
	Age      time.Duration // since it was found out; a Closed older than the row changes nothing
}

// SaveRouteNews records what a process found out and tells the others. A cooldown
// is never shortened: it ends by itself, or by an operator.
func (db *DB) SaveRouteNews(ctx context.Context, n RouteNews) error {
	_, err := db.q.Exec(ctx, `
		WITH saved AS (
			INSERT INTO provider_route AS r (name, cooldown_until, cooldown_reason, open_until, changed_by)
			VALUES (@name,
				CASE WHEN @cooldown::interval > '0' THEN now() + @cooldown END,
				nullif(@reason, ''),
				CASE WHEN @open::interval > '0' THEN now() + @open END,
				@by)
			ON CONFLICT (name) DO UPDATE
			SET cooldown_until = greatest(r.cooldown_until, excluded.cooldown_until),
				cooldown_reason = coalesce(excluded.cooldown_reason, r.cooldown_reason),
				open_until = CASE
					WHEN NOT @closed OR r.changed_at > now() - @age::interval THEN greatest(r.open_until, excluded.open_until)
				END,
				changed_at = now(), changed_by = excluded.changed_by
			RETURNING name
		)
		SELECT pg_notify(@channel, name) FROM saved`,
		pgx.NamedArgs{
			"name": n.Name, "cooldown": n.Cooldown, "reason": n.Reason, "open": n.Open, "closed": n.Closed, "age": n.Age,
			"by": n.By, "channel": channelRoute,
		})
	if err != nil {
		return fmt.Errorf("save news of route %s: %w", n.Name, err)
	}
	return nil
}

// SwitchRoute drains a route, which takes no call from now on, or enables it and
// forgets what was known against it. It tells every worker.
func (db *DB) SwitchRoute(ctx context.Context, name string, enabled bool, by string) error {
	_, err := db.q.Exec(ctx, `
		WITH saved AS (
			INSERT INTO provider_route AS r (name, enabled, changed_by)
			VALUES (@name, @enabled, @by)
			ON CONFLICT (name) DO UPDATE
			SET enabled = excluded.enabled, changed_at = now(), changed_by = excluded.changed_by,
				cooldown_until = CASE WHEN NOT @enabled THEN r.cooldown_until END,
				cooldown_reason = CASE WHEN NOT @enabled THEN r.cooldown_reason END,
				open_until = CASE WHEN NOT @enabled THEN r.open_until END
			RETURNING name
		)
		SELECT pg_notify(@channel, name) FROM saved`,
		pgx.NamedArgs{"name": name, "enabled": enabled, "by": by, "channel": channelRoute})
	if err != nil {
		return fmt.Errorf("switch route %s: %w", name, err)
	}
	return nil
}
