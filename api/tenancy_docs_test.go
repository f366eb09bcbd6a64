package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// What customers read of organizations is what the code does.
func TestTenancyDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/tenancy.md")
	if err != nil {
		t.Fatal(err)
	}
	facts := []string{
		fmt.Sprintf("| organizations that one account makes or owns, when it makes one; others can make it an owner of more | %d |", store.MaxOwnedOrgs),
		fmt.Sprintf("| members of an organization | %d |", store.MaxMembers),
		fmt.Sprintf("| open invitations of an organization | %d |", store.MaxOpenInvitations),
		fmt.Sprintf("| invitations that an organization makes in a day | %d |", store.MaxDailyInvitations),
		fmt.Sprintf("| projects of an organization, without archived ones | %d |", store.MaxProjects),
		fmt.Sprintf("good for %.0f days", store.InvitationTTL.Hours()/24),
		fmt.Sprintf("3 to %d of", store.MaxSlug),
	}
	for _, role := range auth.Roles() {
		facts = append(facts, "| `"+role+"` | ")
	}
	for _, fact := range facts {
		if !strings.Contains(string(raw), fact) {
			t.Errorf("docs/tenancy.md does not say %s", fact)
		}
	}
}
