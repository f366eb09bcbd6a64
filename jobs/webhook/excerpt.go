package webhook

import (
	"strings"
	"unicode/utf8"
)

// Excerpt returns the beginning of an answer's body, at most FirstBytes of
// valid UTF-8 without NUL, which Postgres takes as text and in jsonb. What is
// neither becomes U+FFFD.
func Excerpt(body []byte) string {
	if len(body) >= FirstBytes {
		body = whole(body[:FirstBytes])
	}
	return clean(string(body), FirstBytes)
}

// whole returns text without a last character that was cut in two.
func whole(text []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return text[:len(text)-i]
			}
			return text
		}
	}
	return text
}

// clean returns text as at most limit bytes of valid UTF-8 without NUL.
func clean(text string, limit int) string {
	const replacement = "\uFFFD"
	text = strings.ReplaceAll(strings.ToValidUTF8(text, replacement), "\x00", replacement)
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// line returns text as one line of at most maxReason bytes.
func line(text string) string {
	return clean(strings.Join(strings.Fields(text), " "), maxReason)
}
