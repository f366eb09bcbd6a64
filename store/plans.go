package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How often a plan's credits are granted.
const (
	PeriodMonth = "month"
	PeriodDay   = "day"
)

// Plans that the service itself puts organizations on.
const (
	PlanUnlimited = "unlimited" // who runs the service
)

// A Plan is what an organization can be on. Amounts of money are in millionths of a
// US dollar.
type Plan struct {
	Name          string
	Title         string
	Place         int   // in lists; the first is what whoever registers is on
	Offered       bool  // to customers
	PriceMicros   int64 // a month
	Period        string
	Credits       int  // granted at the beginning of each period
	CreditMicros  int  // what a used credit costs, or is worth
	Metered       bool // what is used beyond the granted is let in, and billed afterwards
	RateLimit     int  // generations an hour; 0: any number
	Concurrency   int  // generations at the same time; 0: as many as the fleet runs
	RetentionDays *int // nil keeps images for good
	Priority      int  // 1 has the longest head start (HeadStart), 4 has none
}

// Waits reports whether a change to the plan from another waits for the period to end,
// since that is paid for already and was worth more.
func (p *Plan) Waits(was *Plan) bool {
	return !was.Metered && (p.Metered || p.PriceMicros < was.PriceMicros)
}

// Plans returns every plan in order: the one of whoever registers comes first.
func (db *DB) Plans(ctx context.Context) ([]*Plan, error) {
	plans, err := many[Plan](ctx, db, `SELECT `+columns[Plan]("")+` FROM plan ORDER BY place, name`, nil)
	if err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	return plans, nil
}

// Plan returns a plan, or ErrNotFound.
func (db *DB) Plan(ctx context.Context, name string) (*Plan, error) {
	plans, err := db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("plan %q: %w", name, ErrNotFound)
}

// planTTL is how old what a PlanBook says may be.
const planTTL = 5 * time.Second

// A PlanBook remembers the plans for a few seconds, for what asks at every request.
type PlanBook struct {
	db *DB

	mu    sync.Mutex
	plans []*Plan
	read  time.Time
}

// NewPlanBook returns a PlanBook of a database.
func NewPlanBook(db *DB) *PlanBook { return &PlanBook{db: db} }

// Plan returns a plan as it was a few seconds ago at most. One that is not known is
// the first. Where the database does not answer it goes on with what it knows.
func (b *PlanBook) Plan(ctx context.Context, name string) (*Plan, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.plans == nil || time.Since(b.read) > planTTL {
		plans, err := b.db.Plans(ctx)
		switch {
		case err == nil && len(plans) > 0:
			b.plans, b.read = plans, time.Now()
		case b.plans == nil && err == nil:
			return nil, fmt.Errorf("plan %q: %w", name, ErrNotFound)
		case b.plans == nil:
			return nil, err
		}
	}
	for _, p := range b.plans {
		if p.Name == name {
			return p, nil
		}
	}
	return b.plans[0], nil
}
