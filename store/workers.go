package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// WorkerSilence is how long a worker may be silent before its tickets are given
// to others. It is several heartbeats, so that one lost beat costs nothing.
const WorkerSilence = 5 * time.Second

// A Worker is a process that runs generations, as its last heartbeat left it.
type Worker struct {
	ID         string
	StartedAt  time.Time
	SeenAt     time.Time
	Slots      int // interactive generations it runs at the same time
	BatchSlots int // the same for batches
	Routes     []RouteReport
}

// A RouteReport is one provider route as a worker sees it.
type RouteReport struct {
	Name        string `json:"name"`
	Provider    string `json:"provider"`
	Enabled     bool   `json:"enabled"`     // by the worker's configuration; an operator's switch is in ProviderRoute
	Concurrency int    `json:"concurrency"` // calls it may have under way
	InFlight    int    `json:"in_flight"`
	Calls       int    `json:"calls"` // that ended within the last minute
	Failed      int    `json:"failed"`
	Breaker     string `json:"breaker"` // "closed", "open", "half_open", "probe_ready"
}

// A Heartbeat says that a worker lives, and what it is doing.
type Heartbeat struct {
	Worker Worker
	Runs   []RunClaim
}

// A RunClaim is the claim that a run under way believes to have.
type RunClaim struct {
	GenerationID string
	Fence        int
}

// A Pulse is a worker's own connection for its heartbeat and for the news of
// routes: no statement of the application can delay it. It reconnects by itself.
// It is for one goroutine.
type Pulse struct {
	cfg  *pgx.ConnConfig
	conn *pgx.Conn
}

// NewPulse returns a Pulse to the same database. Beat connects it.
func (db *DB) NewPulse() *Pulse {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "nanobanana pulse"
	cfg.RuntimeParams["statement_timeout"] = "2s"
	// A heartbeat lost in a crash of the database is as good as one sent late.
	cfg.RuntimeParams["synchronous_commit"] = "off"
	cfg.ConnectTimeout = 2 * time.Second
	return &Pulse{cfg: cfg}
}

// Close closes the connection.
func (p *Pulse) Close(ctx context.Context) {
	if p.conn != nil {
		_ = p.conn.Close(ctx) // the server sees it end either way
		p.conn = nil
	}
}

// A Beaten is what a worker is told in return for its heartbeat.
type Beaten struct {
	// Lost are the generations of the runs whose claim is gone: the generation
	// has ended or another run has it.
	Lost   []string
	Routes []*ProviderRoute // as ProviderRoutes returns them
}

// Beat records a heartbeat.
func (p *Pulse) Beat(ctx context.Context, h Heartbeat) (told *Beaten, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if p.conn == nil {
		if p.conn, err = pgx.ConnectConfig(ctx, p.cfg); err != nil {
			return nil, fmt.Errorf("connect for heartbeat: %w", hideURL(err))
		}
		if _, err := p.conn.Exec(ctx, `LISTEN `+channelRoute); err != nil {
			p.Close(ctx)
			return nil, fmt.Errorf("listen for routes: %w", err)
		}
	}
	if told, err = p.beat(ctx, h); err != nil {
		p.Close(ctx)
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	return told, nil
}

func (p *Pulse) beat(ctx context.Context, h Heartbeat) (*Beaten, error) {
	ids, fences := make([]string, len(h.Runs)), make([]int, len(h.Runs))
	for i, r := range h.Runs {
		ids[i], fences[i] = r.GenerationID, r.Fence
	}
	routes, err := json.Marshal(h.Worker.Routes)
	if err != nil {
		return nil, err
	}
	if h.Worker.Routes == nil {
		routes = []byte("[]")
	}
	var told Beaten
	var batch pgx.Batch // one round trip
	batch.Queue(`
		WITH beat AS (
			INSERT INTO worker (id, slots, batch_slots, routes)
			VALUES (@id, @slots, @batch_slots, @routes)
			ON CONFLICT (id) DO UPDATE
			SET seen_at = now(), slots = excluded.slots, batch_slots = excluded.batch_slots, routes = excluded.routes
		)
		SELECT r.id FROM unnest(@ids::text[], @fences::int[]) AS r (id, fence)
		WHERE NOT EXISTS (
			SELECT FROM generation AS g
			WHERE g.id = r.id AND g.fence = r.fence AND g.status = 'processing'
		)`,
		pgx.NamedArgs{
			"id": h.Worker.ID, "slots": h.Worker.Slots, "batch_slots": h.Worker.BatchSlots, "routes": string(routes),
			"ids": ids, "fences": fences,
		}).Query(func(rows pgx.Rows) error {
		told.Lost, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	batch.Queue(routesSQL).Query(func(rows pgx.Rows) error {
		told.Routes, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[ProviderRoute])
		return err
	})
	if err := p.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, err
	}
	return &told, nil
}

// Routes returns what the fleet knows of its routes, over the same connection.
func (p *Pulse) Routes(ctx context.Context) ([]*ProviderRoute, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if p.conn == nil {
		return nil, fmt.Errorf("list routes: %w", pgconn.ErrConnClosed)
	}
	rows, err := p.conn.Query(ctx, routesSQL)
	if err != nil {
		p.Close(ctx)
		return nil, fmt.Errorf("list routes: %w", err)
	}
	routes, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[ProviderRoute])
	if err != nil {
		p.Close(ctx)
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// Wait returns when a route may have changed, or d is over. It reports whether
// there is news.
func (p *Pulse) Wait(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if p.conn == nil {
		<-ctx.Done()
		return false
	}
	_, err := p.conn.WaitForNotification(ctx)
	if err == nil {
		return true
	}
	if !pgconn.Timeout(err) && ctx.Err() == nil {
		p.Close(context.WithoutCancel(ctx)) // Beat connects anew
		<-ctx.Done()
	}
	return false
}

// Workers lists the workers that have been heard of within the time given.
func (db *DB) Workers(ctx context.Context, within time.Duration) ([]*Worker, error) {
	workers, err := many[Worker](ctx, db, `
		SELECT `+columns[Worker]("")+` FROM worker
		WHERE seen_at > now() - @within::interval
		ORDER BY id`,
		pgx.NamedArgs{"within": within})
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	return workers, nil
}

// Beats lists the last heartbeat of every worker on record.
func (db *DB) Beats(ctx context.Context) ([]Silence, error) {
	rows, err := db.q.Query(ctx, `SELECT id, seen_at FROM worker ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list heartbeats: %w", err)
	}
	beats, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Silence])
	if err != nil {
		return nil, fmt.Errorf("list heartbeats: %w", err)
	}
	return beats, nil
}

// RemoveWorker forgets a worker that has stopped, unless a ticket is left that it
// is running as far as the queue knows: the row tells the others to take it.
func (db *DB) RemoveWorker(ctx context.Context, id string) error {
	_, err := db.q.Exec(ctx, `
		DELETE FROM worker AS w
		WHERE w.id = @id AND `+withoutTickets, pgx.NamedArgs{"id": id})
	if err != nil {
		return fmt.Errorf("remove worker %s: %w", id, err)
	}
	return nil
}

const withoutTickets = `NOT EXISTS (
			SELECT FROM ` + RiverSchema + `.river_job AS j
			WHERE j.state = 'running' AND j.attempted_by[array_upper(j.attempted_by, 1)] = w.id
		)`

// RemoveDeadWorkers forgets the workers that nobody has heard of for long and
// that have no running ticket.
func (db *DB) RemoveDeadWorkers(ctx context.Context, silence time.Duration) error {
	_, err := db.q.Exec(ctx, `
		DELETE FROM worker AS w
		WHERE w.seen_at < now() - @silence::interval AND `+withoutTickets,
		pgx.NamedArgs{"silence": silence})
	if err != nil {
		return fmt.Errorf("remove dead workers: %w", err)
	}
	return nil
}
