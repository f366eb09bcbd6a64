package auth

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"strings"
)

// A key is "nb_", its kind, "_", 30 random characters and 6 of checksum:
// \bnb_(live|test|master)_[0-9A-Za-z]{36}\b. The underscores let a double click
// select it whole; the checksum tells a mistyped key, or a string that only
// looks like one, without a database.
const (
	keyPrefix      = "nb_"
	randomLength   = 30 // 178 bits
	checksumLength = 6  // 62^6 exceeds 2^32
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ParseKey returns the kind of a well-formed key: "live", "test" or "master".
// Otherwise it returns an error that wraps ErrMalformed and says what is wrong
// without repeating the key.
func ParseKey(key string) (kind string, err error) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok {
		return "", fmt.Errorf("%w: keys begin with nb_live_ or nb_test_", ErrMalformed)
	}
	kind, text, _ := strings.Cut(rest, "_")
	switch kind {
	case "live", "test", "master":
	default:
		return "", fmt.Errorf("%w: keys begin with nb_live_ or nb_test_", ErrMalformed)
	}
	if len(text) != randomLength+checksumLength {
		return "", fmt.Errorf("%w: it has %d characters after the prefix instead of %d; was it copied whole?",
			ErrMalformed, len(text), randomLength+checksumLength)
	}
	for i := range len(text) {
		if !isBase62(text[i]) {
			return "", fmt.Errorf("%w: it has a character that keys never have", ErrMalformed)
		}
	}
	if sum := checksum(key[:len(key)-checksumLength]); string(sum[:]) != key[len(key)-checksumLength:] {
		return "", fmt.Errorf("%w: its checksum is wrong; was it mistyped?", ErrMalformed)
	}
	return kind, nil
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// newKey returns a random key of a kind.
func newKey(kind string) string {
	text := keyPrefix + kind + "_" + randomText(randomLength)
	sum := checksum(text)
	return text + string(sum[:])
}

// checksum returns the CRC-32 (IEEE) of text in base62.
func checksum(text string) (sum [checksumLength]byte) {
	crc := crc32.ChecksumIEEE([]byte(text))
	for i := range sum {
		sum[checksumLength-1-i] = base62[crc%62]
		crc /= 62
	}
	return sum
}

// randomText returns n characters, each of the 62 equally likely.
func randomText(n int) string {
	text := make([]byte, 0, n)
	var pool [64]byte
	for len(text) < n {
		_, _ = rand.Read(pool[:]) // never fails: it ends the program instead
		for _, b := range pool {
			// 248 is the largest multiple of 62: beyond it some would be likelier.
			if b < 248 && len(text) < n {
				text = append(text, base62[b%62])
			}
		}
	}
	return string(text)
}
