package mail

import (
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nanobanana/nanobanana/store"
)

// Most characters of a value that are shown.
const (
	maxName = 100
	maxURL  = 300
)

// apart is the zero width space: readers of mail make no link of what it parts.
const apart = "\u200b"

// reasons say why an endpoint is disabled.
var reasons = map[string]string{
	store.DisabledGone:    "it answered 410, which says that it wants nothing any more",
	store.DisabledFailing: "nothing but failures came of it for five days",
}

// clean makes a letter's data fit to be shown.
func clean(kind string, data map[string]string) map[string]string {
	shown := make(map[string]string, len(data))
	for key, value := range data {
		switch {
		case key == "expires_at", key == "at", key == "resets_at":
			shown[key] = day(value)
		case isAmount(value): // its point parts nothing
			shown[key] = value
		case key == "role":
			shown[key] = line(strings.ReplaceAll(value, "_", " "), maxName)
		case key == "url":
			shown[key] = line(bare(value), maxURL)
		case key == "reason" && kind == store.MailEndpointDisabled && reasons[value] != "":
			shown[key] = reasons[value]
		default:
			shown[key] = line(value, maxName)
		}
	}
	return shown
}

// isAmount reports whether a text is digits with at most one point among them.
func isAmount(text string) bool {
	return len(text) <= maxName && strings.Count(text, ".") <= 1 && strings.Trim(text, "0123456789.") == ""
}

// line returns text as one line of at most limit characters that no reader of mail
// makes a link of: without what controls, hides or turns around, and with the parts
// of addresses held apart.
func line(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case r == utf8.RuneError, unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp):
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return part(text)
}

// part puts the mark between a full stop, colon, at sign or slash and what follows
// without a space.
func part(text string) string {
	var out strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		out.WriteRune(r)
		if strings.ContainsRune(".:@/", r) && i+1 < len(runes) && runes[i+1] != ' ' {
			out.WriteString(apart)
		}
	}
	return out.String()
}

// bare returns a URL without what may be secret in it.
func bare(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// day returns an RFC 3339 time as people read it.
func day(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return line(text, maxName)
	}
	return at.UTC().Format("2 January 2006, 15:04 UTC")
}
