package api_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlans(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.change(`UPDATE plan SET title = 'Hobbyist' WHERE name = 'hobby'`)
	a := b.do("", "GET", "/v1/plans", "")
	var names []string
	plans := map[string]map[string]any{}
	for _, p := range a.json["data"].([]any) {
		p := p.(map[string]any)
		names = append(names, p["name"].(string))
		plans[p["name"].(string)] = p
	}
	if diff := cmp.Diff([]string{"free", "hobby", "pro", "pay_as_you_go"}, names); diff != "" || a.status != http.StatusOK {
		t.Errorf("status %d, plans (-want +got):\n%s", a.status, diff)
	}
	want := map[string]map[string]any{
		"hobby": {
			"object": "plan", "name": "hobby", "title": "Hobbyist", "price": usd("9.0000"), "period": "month", "credits": 500.0, "credit_price": "0.0180",
			"rate_limit": 100.0, "concurrency": 10.0, "retention_days": nil, "priority": 2.0, "metered": false,
		},
		"free": {
			"object": "plan", "name": "free", "title": "Free", "price": usd("0.0000"), "period": "month", "credits": 50.0, "credit_price": "0.0000",
			"rate_limit": 10.0, "concurrency": 5.0, "retention_days": 30.0, "priority": 3.0, "metered": false,
		},
	}
	for name, plan := range want {
		if diff := cmp.Diff(plan, plans[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if plans["pay_as_you_go"]["metered"] != true {
		t.Errorf("pay_as_you_go: %v", plans["pay_as_you_go"])
	}
}

// Models tell what their images cost in the organization's plan, and at each quality
// where that differs.
func TestModels_Prices(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.onPlan("pay_as_you_go")
	prices := func(key, model string) (list []any) {
		t.Helper()
		for _, r := range b.do(key, "GET", "/v1/models/"+model, "").json["resolutions"].([]any) {
			list = append(list, without(r, "sizes", "typical_seconds"))
		}
		return list
	}
	one := func(name string, credits float64, price string, qualities ...any) map[string]any {
		return map[string]any{"name": name, "credits": credits, "price": usd(price), "qualities": append([]any{}, qualities...)}
	}
	quality := func(name string, credits float64, price string) any {
		return map[string]any{"quality": name, "credits": credits, "price": usd(price)}
	}
	if diff := cmp.Diff([]any{one("1K", 4, "0.0800"), one("2K", 4, "0.0800"), one("4K", 8, "0.1600")}, prices(b.live, "banana-pro")); diff != "" {
		t.Errorf("banana-pro (-want +got):\n%s", diff)
	}
	want := []any{
		one("1K", 2, "0.0400", quality("low", 1, "0.0200"), quality("medium", 2, "0.0400"), quality("high", 7, "0.1400")),
		one("2K", 4, "0.0800", quality("low", 1, "0.0200"), quality("medium", 4, "0.0800"), quality("high", 13, "0.2600")),
	}
	if diff := cmp.Diff(want, prices(b.live, "gpt-image-2")); diff != "" {
		t.Errorf("gpt-image-2 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{one("1K", 1, "0.0000")}, prices(b.test, "banana-lite")); diff != "" {
		t.Errorf("with a test key (-want +got):\n%s", diff)
	}
}
