package blobs

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

const (
	maxKeyBytes    = 512
	maxKeySegments = 10
)

// checkKey returns ErrBadKey unless key is one that every Store can keep.
func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty", ErrBadKey)
	case len(key) > maxKeyBytes:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadKey, len(key), maxKeyBytes)
	case strings.Count(key, "/") >= maxKeySegments:
		return fmt.Errorf("%w %q: more than %d segments", ErrBadKey, key, maxKeySegments)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("%w %q: %w", ErrBadKey, key, err)
		}
	}
	return nil
}

// checkPrefix returns ErrBadKey if no key can begin with prefix. A prefix may
// end within a segment or with "/".
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return checkKey(strings.TrimSuffix(prefix, "/"))
}

func checkSegment(segment string) error {
	if segment == "" {
		return errors.New("a segment is empty")
	}
	if segment[0] == '.' {
		return fmt.Errorf("segment %q starts with a dot", segment)
	}
	for _, r := range segment {
		if !isKeyRune(r) {
			return fmt.Errorf("%q is not allowed", r)
		}
	}
	return nil
}

func isKeyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r == '.' || r == '_' || r == '-'
}

// contentTypeOf returns the media type that the key's extension names, or ""
// for an extension this service does not write.
func contentTypeOf(key string) string {
	switch strings.ToLower(path.Ext(key)) {
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".webp":
		return "image/webp"
	case ".gif":
		return "image/gif"
	case ".avif":
		return "image/avif"
	case ".json", ".jsonl":
		return "application/json"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".zip":
		return "application/zip"
	}
	return ""
}
