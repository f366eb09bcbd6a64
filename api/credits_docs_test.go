package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/providers"
)

// docs/credits.md has the price of every model.
func TestCreditsDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/credits.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range providers.Models() {
		name, qualities := m.Name, []string{""}
		if len(m.Qualities) > 0 {
			qualities = []string{"low", "medium", "high"}
			name += ", " + strings.Join(qualities, " / ")
		}
		row := "| " + name + " |"
		for _, resolution := range []string{"1K", "2K", "4K"} {
			var prices []string
			if _, ok := m.Resolution(resolution); ok {
				for _, q := range qualities {
					prices = append(prices, fmt.Sprint(m.Credits(providers.OperationGenerate, resolution, q, 0, 0)))
				}
			} else {
				prices = []string{"-"}
			}
			row += " " + strings.Join(prices, " / ") + " |"
		}
		if !strings.Contains(string(text), row+"\n") {
			t.Errorf("docs/credits.md does not say %s", row)
		}
	}
}
