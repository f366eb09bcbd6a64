package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
)

// keyOf returns the API key that a request carries, or "".
func keyOf(h http.Header) (string, error) {
	authorization := strings.TrimSpace(h.Get("Authorization"))
	if authorization == "" {
		return strings.TrimSpace(h.Get("X-Api-Key")), nil
	}
	scheme, key, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%w: %s", auth.ErrMalformed, sendKey)
	}
	return strings.TrimSpace(key), nil
}

// idempotencyKey returns the request's Idempotency-Key, or "" if it has none.
// Quotes around it, which the standard's draft wants
// (draft-ietf-httpapi-idempotency-key-header), do not belong to it.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	visible := strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if len(values) > 1 || key == "" || len(key) > 255 || !visible {
		return "", refuse("invalid_request", "The header Idempotency-Key must have 1 to 255 visible ASCII characters, once.")
	}
	return key, nil
}

// defaultWait is what "Prefer: wait" without a number asks for, in seconds.
const defaultWait = 60

// preferredWait returns the seconds that the request's Prefer headers (RFC
// 7240) want to wait. A preference that makes no sense is ignored, as the
// standard says.
func preferredWait(h http.Header) (seconds int, ok bool) {
	for _, line := range h.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, valued := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			if !valued {
				return defaultWait, true
			}
			value = strings.Trim(strings.TrimSpace(value), `"`)
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				return n, true
			}
		}
	}
	return 0, false
}

// matches reports whether an If-None-Match header names a weak or strong tag.
func matches(ifNoneMatch, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for candidate := range strings.SplitSeq(ifNoneMatch, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}
