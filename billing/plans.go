// Package billing knows what is sold: plans and what they promise.
package billing

// A Plan is what an organization has subscribed to.
type Plan struct {
	Name string
	// RetentionDays is how long images are kept; nil keeps them for good.
	RetentionDays *int
	// Concurrency is how many generations may run at the same time, and apart
	// from them how many of batches; 0 is as many as the service can.
	Concurrency int
	// RateLimit is how many generations may be asked for in an hour; 0 is any number.
	RateLimit int
}

// Plans lists every plan, the one of a new organization first.
func Plans() []Plan {
	month := 30
	return []Plan{
		{Name: "free", RetentionDays: &month, Concurrency: 5, RateLimit: 10},
		{Name: "hobby", Concurrency: 10, RateLimit: 100},
		{Name: "pro", Concurrency: 25, RateLimit: 500},
		{Name: "pay_as_you_go", Concurrency: 50, RateLimit: 1000},
		{Name: "unlimited", RetentionDays: &month}, // operators and development
	}
}

// LookupPlan finds a plan by its name.
func LookupPlan(name string) (Plan, bool) {
	for _, p := range Plans() {
		if p.Name == name {
			return p, true
		}
	}
	return Plan{}, false
}
