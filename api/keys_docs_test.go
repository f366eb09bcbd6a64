package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// What customers read of keys is what the code does.
func TestKeysDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	facts := []string{
		fmt.Sprintf("after %.0f days", auth.ProjectKeyLife.Hours()/24),
		fmt.Sprintf("at most %d keys", store.MaxAPIKeys),
	}
	for _, scope := range auth.ProjectScopes() {
		facts = append(facts, "| `"+scope+"` |")
	}
	for _, fact := range facts {
		if !strings.Contains(string(raw), fact) {
			t.Errorf("docs/keys.md does not say %s", fact)
		}
	}
	if auth.MaxGrace.Hours() != 7*24 || store.KeyWarning.Hours() != 7*24 {
		t.Error("docs/keys.md says a week of grace, and that who should know is told 7 days before")
	}
}
