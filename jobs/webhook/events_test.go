package webhook_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

func TestEventTypes(t *testing.T) {
	t.Parallel()
	want := []string{
		"generation.queued", "generation.started", "generation.progress", "generation.succeeded", "generation.failed",
		"generation.canceled", "generation.expired", "webhook_endpoint.disabled", "key.expiring", "key.revoked",
		"quota.warning_80", "quota.exceeded", "budget.alert", "test.ping",
	}
	form := regexp.MustCompile(`^[a-z_]+\.[a-z_0-9]+$`)
	var got []string
	for _, e := range webhook.EventTypes() {
		got = append(got, e.Name)
		if !form.MatchString(e.Name) || !strings.HasSuffix(e.Description, ".") {
			t.Errorf("%q: %q", e.Name, e.Description)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filter []string
		want   []string
	}{
		"All":   {[]string{"*"}, nil},
		"Group": {[]string{"webhook_endpoint.*"}, []string{"webhook_endpoint.disabled"}},
		"Exact": {[]string{"generation.failed"}, []string{"generation.failed"}},
		"Mixed": {[]string{"test.*", "generation.queued"}, []string{"generation.queued", "test.ping"}},
		"Default": {webhook.DefaultEvents(), []string{
			"generation.succeeded", "generation.failed", "generation.canceled", "generation.expired",
		}},
		"NoPattern": {[]string{"generation", "generation.f*", "gen*", "*.failed", ""}, []string{}},
		"Empty":     {nil, []string{}},
	} {
		got := []string{}
		for _, e := range webhook.EventTypes() {
			if webhook.Matches(c.filter, e.Name) {
				got = append(got, e.Name)
			}
		}
		if name == "All" && len(got) == len(webhook.EventTypes()) {
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"*", "generation.*", "generation.succeeded"}, webhook.Patterns("generation.succeeded")); diff != "" {
		t.Errorf("patterns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"*", "odd"}, webhook.Patterns("odd")); diff != "" {
		t.Errorf("patterns of a type without a group (-want +got):\n%s", diff)
	}
}

func TestCheckFilter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ filter, want []string }{
		"All":        {[]string{"*"}, []string{"*"}},
		"Duplicates": {[]string{"test.ping", "*", "test.ping", "*"}, []string{"test.ping", "*"}},
		"Everything": {webhook.Filters(), webhook.Filters()},
		"Default":    {webhook.DefaultEvents(), webhook.DefaultEvents()},
		"Thirty":     {slices.Repeat([]string{"*"}, 30), []string{"*"}},
	} {
		given := slices.Clone(c.filter)
		got, err := webhook.CheckFilter(c.filter)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(given, c.filter); diff != "" {
			t.Errorf("%s: what was given changed (-want +got):\n%s", name, diff)
		}
	}
}

func TestCheckFilter_Refuses(t *testing.T) {
	t.Parallel()
	const allowed = "use any of *, budget.*, budget.alert, generation.*, generation.canceled, generation.expired, generation.failed, generation.progress, " +
		"generation.queued, generation.started, generation.succeeded, key.*, key.expiring, key.revoked, " +
		"quota.*, quota.exceeded, quota.warning_80, test.*, test.ping, webhook_endpoint.*, webhook_endpoint.disabled"
	for name, c := range map[string]struct {
		filter []string
		want   string
	}{
		"Nil":      {nil, `name at least one event, or "*" for all`},
		"Empty":    {[]string{}, `name at least one event, or "*" for all`},
		"TooMany":  {slices.Repeat([]string{"*"}, 31), "31 events are more than 30"},
		"Unknown":  {[]string{"*", "generation.done"}, `"generation.done" is not an event; ` + allowed},
		"Case":     {[]string{"Generation.*"}, `"Generation.*" is not an event; ` + allowed},
		"NoName":   {[]string{""}, `"" is not an event; ` + allowed},
		"Binary":   {[]string{"a\x00\xff\n"}, `"a��\n" is not an event; ` + allowed},
		"VeryLong": {[]string{strings.Repeat("x", 9000)}, `"` + strings.Repeat("x", 64) + `" is not an event; ` + allowed},
	} {
		got, err := webhook.CheckFilter(c.filter)
		if err == nil || got != nil {
			t.Errorf("%s: %v, %v, want an error", name, got, err)
			continue
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A generation's own filter has entries that match events of generations, and no
// others.
func TestCheckGenerationFilter(t *testing.T) {
	t.Parallel()
	want := []string{
		"*", "generation.*", "generation.canceled", "generation.expired", "generation.failed", "generation.progress",
		"generation.queued", "generation.started", "generation.succeeded",
	}
	if diff := cmp.Diff(want, webhook.GenerationFilters()); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	for _, entry := range webhook.Filters() {
		got, err := webhook.CheckGenerationFilter([]string{"*", entry, entry})
		if good := slices.Contains(want, entry); good != (err == nil) || good && !slices.Equal(got, slices.Compact([]string{"*", entry})) {
			t.Errorf("%s: %v, %v", entry, got, err)
		}
	}
}
