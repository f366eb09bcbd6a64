package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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

// paid reports whether a subscription pays for the plan: by the month, or for its use.
func (p *Plan) paid() bool { return p.PriceMicros > 0 || p.Metered && p.CreditMicros > 0 }

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

// How old what a PlanBook says may be while the database answers, and how long it is
// asked.
const (
	planTTL     = 5 * time.Second
	planTimeout = time.Second
)

// A PlanBook remembers the plans for a few seconds, for what asks at every request.
type PlanBook struct {
	db      *DB
	known   atomic.Pointer[[]*Plan]
	asking  sync.Mutex // of who asks the database
	askedAt time.Time  // under asking
}

// NewPlanBook returns a PlanBook of a database.
func NewPlanBook(db *DB) *PlanBook { return &PlanBook{db: db} }

// Plan returns a plan as it was a few seconds ago. One that is not known is the first.
// One caller at a time asks the database, and nobody waits for him who has plans to go
// on with: where the database does not answer, those that are known.
func (b *PlanBook) Plan(ctx context.Context, name string) (*Plan, error) {
	plans := b.known.Load()
	switch {
	case plans == nil:
		b.asking.Lock()
		err := b.ask(ctx)
		b.asking.Unlock()
		if plans = b.known.Load(); plans == nil {
			return nil, err
		}
	case b.asking.TryLock():
		if time.Since(b.askedAt) > planTTL {
			_ = b.ask(ctx) // what is known goes on
			plans = b.known.Load()
		}
		b.asking.Unlock()
	}
	for _, p := range *plans {
		if p.Name == name {
			return p, nil
		}
	}
	return (*plans)[0], nil
}

// ask reads the plans.
func (b *PlanBook) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	plans, err := b.db.Plans(ctx)
	b.askedAt = time.Now()
	if err == nil && len(plans) == 0 {
		err = fmt.Errorf("list plans: %w", ErrNotFound)
	}
	if err == nil {
		b.known.Store(&plans)
	}
	return err
}
