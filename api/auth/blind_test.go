package auth

import (
	"strings"
	"testing"
)

func TestSigner_Blind(t *testing.T) {
	t.Parallel()
	s := NewSigner("", "database secret")
	name := s.Blind("login", "ann@example.com")
	if name != s.Blind("login", "ann@example.com") || strings.Contains(name, "ann") || len(name) != 22 {
		t.Errorf("got %q, want always the same 22 characters that do not tell", name)
	}
	for what, other := range map[string]string{
		"text":    s.Blind("login", "bob@example.com"),
		"purpose": s.Blind("reset", "ann@example.com"),
		"secret":  NewSigner("", "another secret").Blind("login", "ann@example.com"),
		"URL":     s.Sign("ann@example.com"),
	} {
		if other == name {
			t.Errorf("another %s has the same name", what)
		}
	}
}
