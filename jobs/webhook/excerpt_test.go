package webhook_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("a", webhook.FirstBytes)
	for name, c := range map[string]struct{ body, want string }{
		"Empty":              {"", ""},
		"Short":              {"grüezi\n\tok", "grüezi\n\tok"},
		"Full":               {full, full},
		"Longer":             {full + "b", full},
		"NUL":                {"a\x00b", "a\uFFFDb"},
		"NotUTF8":            {"a\xff\xfeb", "a\uFFFDb"},
		"EndsHalf":           {"a\xc3", "a\uFFFD"},
		"CutInTwo":           {full[1:] + "é", full[1:]},
		"CutInThree":         {full[2:] + "🍌", full[2:]},
		"CutInFour":          {full[3:] + "🍌", full[3:]},
		"WholeAtTheEnd":      {full[4:] + "🍌", full[4:] + "🍌"},
		"ReadUpToTheLimit":   {full[1:] + "\xc3", full[1:]},
		"GrowsBeyond":        {strings.Repeat("\x00", webhook.FirstBytes), strings.Repeat("\uFFFD", webhook.FirstBytes/3)},
		"ContinuationsOnly":  {strings.Repeat("\x80", webhook.FirstBytes), "\uFFFD"},
		"SurrogateIsNotUTF8": {"\xed\xa0\x80", "\uFFFD"},
	} {
		if diff := cmp.Diff(c.want, webhook.Excerpt([]byte(c.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("plain"), 1)
	f.Add([]byte("\x00\xff🍌"), 400)
	f.Add([]byte("\xf0\x9f\x8d"), 1023)
	f.Fuzz(func(t *testing.T, body []byte, times int) {
		if times < 0 || len(body)*(times%2000) > 1<<16 {
			return
		}
		long := strings.Repeat(string(body), times%2000)
		got := webhook.Excerpt([]byte(long))
		if len(got) > webhook.FirstBytes || !utf8.ValidString(got) || strings.Contains(got, "\x00") {
			t.Fatalf("%q of %q", got, long)
		}
		if utf8.ValidString(long) && !strings.Contains(long, "\x00") && (!strings.HasPrefix(long, got) || len(got) < min(len(long), webhook.FirstBytes-3)) {
			t.Fatalf("%q is not the beginning of %q", got, long)
		}
	})
}
