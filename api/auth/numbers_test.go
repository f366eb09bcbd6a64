package auth_test

import (
	"testing"

	"github.com/nanobanana/nanobanana/api/auth"
)

// What stands for a number leads back to it for its owner and nobody else, and is the
// same in every process, whatever else is configured.
func TestSigner_Numbers(t *testing.T) {
	t.Parallel()
	s := auth.NewSigner("", "database secret")
	seen := map[string]bool{}
	for _, n := range []int64{1, 2, 3, 1 << 40, 1<<63 - 1} {
		text := s.HideNumber("org_1", n)
		if len(text) != 26 || seen[text] {
			t.Errorf("%d is shown as %q", n, text)
		}
		seen[text] = true
		if got, ok := auth.NewSigner("operator's secret", "database secret").ShowNumber("org_1", text); got != n || !ok {
			t.Errorf("%q is %d, %v; want %d", text, got, ok, n)
		}
		if _, ok := s.ShowNumber("org_2", text); ok {
			t.Errorf("%q of another is read", text)
		}
		if _, ok := auth.NewSigner("", "another secret").ShowNumber("org_1", text); ok {
			t.Errorf("%q of another service is read", text)
		}
		last := text[:25] + string(text[25]+1) // differs in bits that decode to nothing
		for _, forged := range []string{"", text[1:], text + "0", last, "00000000000000000000000001", "\xff"} {
			if _, ok := s.ShowNumber("org_1", forged); ok {
				t.Errorf("%q is read", forged)
			}
		}
	}
}
