package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nanobanana/nanobanana/store"
)

// MaxFilter is the most entries a filter may have.
const MaxFilter = 30

// An EventType is a type of event and when it happens.
type EventType struct {
	Name, Description string
}

// EventTypes returns every type of event that this service sends.
func EventTypes() []EventType {
	return []EventType{
		{store.EventGenerationQueued, "A generation was accepted; it waits for its turn."},
		{store.EventGenerationStarted, "A worker began a generation."},
		{store.EventGenerationProgress, "A generation of several images (n > 1) is another fifth or more of the way: up to four times, at most once in half a second."},
		{store.EventGenerationSucceeded, "A generation ended with its images."},
		{store.EventGenerationFailed, "A generation ended without images; its error says why."},
		{store.EventGenerationCanceled, "A generation was canceled before it ended."},
		{store.EventGenerationExpired, "A generation's deadline passed before it began."},
		{store.EventEndpointDisabled, "A webhook endpoint was disabled, since it answered 410 or failed for 5 days."},
		{store.EventKeyExpiring, "An API key of the project will expire within 7 days, or within a tenth of its life if that is shorter."},
		{store.EventKeyRevoked, "An API key of the project was revoked."},
		{store.EventQuotaWarning, "The organization has used 80 percent of its period's credits. Each of its projects has the event."},
		{store.EventQuotaExceeded, "The organization has used all of its period's credits. Each of its projects has the event."},
		{store.EventBudgetAlert, "The organization's use has reached a share of its budget that it wants to hear of. Each of its projects has the event."},
		{store.EventTestPing, "A test that was asked for."},
	}
}

// DefaultEvents returns the filter where none was chosen: the four types that a
// generation can end with.
func DefaultEvents() []string {
	return []string{store.EventGenerationSucceeded, store.EventGenerationFailed, store.EventGenerationCanceled, store.EventGenerationExpired}
}

// Patterns returns the entries of a filter that match a type, the widest first:
// "*", "generation.*" and "generation.failed" for generation.failed. A filter
// matches a type if the two have an entry in common.
func Patterns(eventType string) []string {
	if group, _, ok := strings.Cut(eventType, "."); ok {
		return []string{"*", group + ".*", eventType}
	}
	return []string{"*", eventType}
}

// Filters returns every entry that a filter may have.
func Filters() []string { return entriesFor("") }

// GenerationFilters returns every entry that matches events of a generation, which
// are all that its webhook_url is told of.
func GenerationFilters() []string { return entriesFor("generation.") }

// entriesFor returns every entry that matches a type with a prefix, sorted.
func entriesFor(prefix string) []string {
	var all []string
	for _, t := range EventTypes() {
		if !strings.HasPrefix(t.Name, prefix) {
			continue
		}
		for _, p := range Patterns(t.Name) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	slices.Sort(all)
	return all
}

// CheckFilter returns a filter without its duplicates, in its order. Its error
// tells the customer what is wrong: it is empty, has more than MaxFilter
// entries, or one that is not of Filters.
func CheckFilter(filter []string) ([]string, error) {
	return checkFilter(filter, Filters(), "an event")
}

// CheckGenerationFilter does as CheckFilter with GenerationFilters.
func CheckGenerationFilter(filter []string) ([]string, error) {
	return checkFilter(filter, GenerationFilters(), "an event of a generation")
}

func checkFilter(filter, allowed []string, what string) ([]string, error) {
	switch {
	case len(filter) == 0:
		return nil, errors.New(`name at least one event, or "*" for all`)
	case len(filter) > MaxFilter:
		return nil, fmt.Errorf("%d events are more than %d", len(filter), MaxFilter)
	}
	checked := make([]string, 0, len(filter))
	for _, entry := range filter {
		if !slices.Contains(allowed, entry) {
			return nil, fmt.Errorf("%q is not %s; use any of %s", clean(entry, 64), what, strings.Join(allowed, ", "))
		}
		if !slices.Contains(checked, entry) {
			checked = append(checked, entry)
		}
	}
	return checked, nil
}

// Matches reports whether a filter lets a type of event through.
func Matches(filter []string, eventType string) bool {
	return slices.ContainsFunc(Patterns(eventType), func(p string) bool { return slices.Contains(filter, p) })
}
