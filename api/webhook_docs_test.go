package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// What customers read of webhooks is what the code does.
func TestWebhookDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	waits := make([]string, 0, webhook.Attempts)
	for _, wait := range webhook.Schedule() {
		switch {
		case wait >= time.Hour:
			waits = append(waits, fmt.Sprintf("%.0f h", wait.Hours()))
		case wait >= time.Minute:
			waits = append(waits, fmt.Sprintf("%.0f min", wait.Minutes()))
		default:
			waits = append(waits, fmt.Sprintf("%.0f s", wait.Seconds()))
		}
	}
	facts := []string{
		"| waits | " + strings.Join(waits, " | ") + " |",
		fmt.Sprintf("within %.0f seconds", webhook.Timeout.Seconds()),
		`"api_version":"` + webhook.APIVersion + `"`,
		"smaller than 20,000 bytes", // webhook.MaxBody
		fmt.Sprintf("A project may have %d that were made with live keys, and %[1]d that", store.MaxWebhookEndpoints),
		"Five can be valid at a time", // store.MaxWebhookSecrets
		fmt.Sprintf("Listed for %.0f days", store.EventRetention.Hours()/24),
	}
	for _, e := range webhook.EventTypes() {
		facts = append(facts, "| `"+e.Name+"` | "+e.Description+" |")
	}
	for _, fact := range facts {
		if !strings.Contains(string(raw), fact) {
			t.Errorf("docs/webhooks.md does not say %s", fact)
		}
	}
	if webhook.MaxBody != 20_000 || store.MaxWebhookSecrets != 5 {
		t.Error("docs/webhooks.md says 20,000 bytes and five secrets")
	}
}
