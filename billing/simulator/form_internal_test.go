package simulator

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"a=1&&b=2":                       "a=1 b=2",
		"a%5Bb%5D=x+y":                   "a[b]=x y",
		"items[0][id]=i&items[1][id]=j":  "items[0][id]=i items[1][id]=j",
		"items[][a]=1&items[][b]=2":      "items[0][a]=1 items[0][b]=2",
		"items[][a]=1&items[][a]=2":      "items[0][a]=1 items[1][a]=2",
		"expand[]=a&expand[]=b":          "expand[0]=a expand[1]=b",
		"metadata[a.b]=c&metadata[d]":    "metadata[a.b]=c metadata[d]=",
		"a=%E2%82%AC":                    "a=€",
		"line_items[2][price]=p&a[]=q&b": "line_items[2][price]=p a[0]=q b=",
	} {
		parsed, err := parseForm(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		var got []string
		for _, f := range parsed {
			got = append(got, f.name()+"="+f.value)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q differs (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{
		"=1", "a[b=1", "a]b=1", "a[b]c=1", "a[[b]]=1", "a=%", "%=a", "[a]=1", "a[1][2][3][4][5][6][7][8][9][10]=1",
		strings.Repeat("a=1&", maxFormFields+1), strings.Repeat("a", maxFormBytes+1),
	} {
		if parsed, err := parseForm(text); err == nil {
			t.Errorf("%.40q was taken as %v", text, parsed)
		}
	}
}

// FuzzParseForm holds the parser to what a form that it takes has to be: what it writes
// it reads as the same.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"a=1", "a[b][0][c]=d&e=f", "a[]=1&a[]=2", "a[][b]=1&a[][c]=2&a[][b]=3", "%", "a[", "metadata[%5D]=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseForm(text)
		if err != nil {
			return
		}
		var pairs []string
		for _, v := range parsed {
			pairs = append(pairs, url.QueryEscape(v.name())+"="+url.QueryEscape(v.value))
			if len(v.path) == 0 || len(v.path) > maxFormDepth || v.path[0] == "" {
				t.Fatalf("%q has the path %q", text, v.path)
			}
		}
		again, err := parseForm(strings.Join(pairs, "&"))
		if err != nil {
			t.Fatalf("%q was read as %v, which is not: %v", text, parsed, err)
		}
		if diff := cmp.Diff(parsed.canonical(), again.canonical()); diff != "" {
			t.Fatalf("%q differs when it is read again (-want +got):\n%s", text, diff)
		}
	})
}

func TestRound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"5/2": 3, "-5/2": -3, "12/5": 2, "-12/5": -2, "0": 0, "13/5": 3, "7": 7, "-13/5": -3} {
		if got := round(rat(t, text)); got != want {
			t.Errorf("%s is rounded to %d, want %d", text, got, want)
		}
	}
}

func TestPeriodEnd(t *testing.T) {
	t.Parallel()
	monthly, yearly := &recurring{Interval: "month", IntervalCount: 1}, &recurring{Interval: "year", IntervalCount: 1}
	for _, c := range []struct {
		start, anchor, want string
		every               *recurring
	}{
		{"2026-01-31", "2026-01-31", "2026-02-28", monthly},
		{"2026-02-28", "2026-01-31", "2026-03-31", monthly},
		{"2026-12-15", "2026-01-15", "2027-01-15", monthly},
		{"2024-02-29", "2024-02-29", "2025-02-28", yearly},
		{"2026-01-31", "2026-01-31", "2026-02-07", &recurring{Interval: "week", IntervalCount: 1}},
		{"2026-01-31", "2026-01-31", "2026-02-02", &recurring{Interval: "day", IntervalCount: 2}},
	} {
		if got := periodEnd(day(t, c.start), day(t, c.anchor), c.every); got != day(t, c.want) {
			t.Errorf("a %s from %s (anchor %s) ends at %d, want %s", c.every.Interval, c.start, c.anchor, got, c.want)
		}
	}
}
