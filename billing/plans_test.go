package billing

import "testing"

func TestPlans(t *testing.T) {
	t.Parallel()
	for name, days := range map[string]int{"free": 30, "hobby": 0, "pro": 0, "pay_as_you_go": 0, "unlimited": 30} {
		p, ok := LookupPlan(name)
		switch {
		case !ok:
			t.Errorf("there is no plan %s", name)
		case days == 0 && p.RetentionDays != nil:
			t.Errorf("%s keeps images for %d days, want for good", name, *p.RetentionDays)
		case days > 0 && (p.RetentionDays == nil || *p.RetentionDays != days):
			t.Errorf("%s keeps images for %v days, want %d", name, p.RetentionDays, days)
		}
	}
	for name, rate := range map[string]int{"free": 10, "hobby": 100, "pro": 500, "pay_as_you_go": 1000, "unlimited": 0} {
		if p, _ := LookupPlan(name); p.RateLimit != rate {
			t.Errorf("%s allows %d an hour, want %d", name, p.RateLimit, rate)
		}
	}
	if _, ok := LookupPlan("gold"); ok {
		t.Error("a plan that is not sold was found")
	}
}
