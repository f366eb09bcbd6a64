package api_test

import (
	"os"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/store"
)

// What customers read of budgets names what there is.
func TestBudgetDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/budgets.md")
	if err != nil {
		t.Fatal(err)
	}
	p := setupBudget(t, "pay_as_you_go")
	shown := p.does(p.master, "PUT", limitsPath, `{"amount":"25.00"}`, 200)
	facts := []string{
		"| `" + store.EventQuotaWarning + "` |", "| `" + store.EventQuotaExceeded + "` |", "| `" + store.EventBudgetAlert + "` |",
		`"credits":1250,"amount":"25.0000"`, "`spend_limit_reached`", `"downgraded":{"from":"high","to":"low","reason":"budget"}`,
	}
	for member := range shown.json {
		facts = append(facts, `"`+member+`":`)
	}
	for _, fact := range facts {
		if !strings.Contains(string(raw), fact) {
			t.Errorf("docs/budgets.md does not say %s", fact)
		}
	}
	if !strings.Contains(shown.body, facts[3]) {
		t.Errorf("$25.00 are %s", shown.body)
	}
}
