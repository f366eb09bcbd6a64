package providers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("attempt 1: %w", &Error{Kind: KindRate})
	if diff := cmp.Diff([]Kind{KindRate, "", ""}, []Kind{KindOf(err), KindOf(nil), KindOf(fmt.Errorf("x"))}); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		n    int
		want string
	}{
		"Fits":        {"quota exceeded", 20, "quota exceeded"},
		"OneLine":     {" a\n\tb\r\n c ", 20, "a b c"},
		"Cut":         {"abcdefghij", 8, "abcde…"},
		"CutInRune":   {"abcdสวัสดี", 9, "abcd…"},
		"Invalid":     {"a\xffb", 20, "ab"},
		"SpacesFirst": {strings.Repeat(" ", 100) + "late", 8, "…"},
		"NoRoom":      {"abc", 1, "…"},
		"Empty":       {"", 10, ""},
	} {
		got := Shorten(c.in, c.n)
		if diff := cmp.Diff(c.want, got); diff != "" || !utf8.ValidString(got) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header, value string
		want          time.Duration
	}{
		{"Retry-After", "12", 12 * time.Second},
		{"Retry-After", "1.5", 1500 * time.Millisecond},
		{"Retry-After", "Sat, 21 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{"Retry-After", "Sat, 21 Nov 2026 11:00:00 GMT", 0},
		{"Retry-After", "-3", 0},
		{"Retry-After", "NaN", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After-Ms", "250", 250 * time.Millisecond},
		{"X-None", "1", 0},
	} {
		h := http.Header{}
		h.Set(c.header, c.value)
		if diff := cmp.Diff(c.want, ParseRetryAfter(h, now)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", c.header, c.value, diff)
		}
	}
}
