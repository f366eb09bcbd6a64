package store

import (
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Prefixes of ids.
const (
	prefixGeneration = "gen_"
	prefixImage      = "img_"
)

// MaxImages is the most images one generation may have.
const MaxImages = 10

// idEncoding keeps the byte order of what it encodes: 128 bits give 26
// characters, and ids sort by the time they were made.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns prefix, "_" and a UUIDv7 (RFC 9562) in 26 sortable characters.
func NewID(prefix string) string {
	id := uuid.Must(uuid.NewV7())
	return prefix + "_" + idEncoding.EncodeToString(id[:])
}

// NewGenerationID returns an id for a generation. Its last four bits are zero:
// they number its images.
func NewGenerationID() string {
	id := uuid.Must(uuid.NewV7())
	id[15] &= 0xf0
	return prefixGeneration + idEncoding.EncodeToString(id[:])
}

// ImageID returns the id of a generation's image, known before it is made.
// generationID must come from NewGenerationID, index be below MaxImages.
func ImageID(generationID string, index int) string {
	raw, err := decodeID(generationID, prefixGeneration)
	if err != nil || index < 0 || index >= MaxImages {
		panic(fmt.Sprintf("image %d of %q", index, generationID))
	}
	raw[15] = raw[15]&0xf0 | byte(index)
	return prefixImage + idEncoding.EncodeToString(raw[:])
}

// GenerationOfImage returns the generation an image id belongs to and its
// index, or ErrNotFound if it is not an image id.
func GenerationOfImage(imageID string) (generationID string, index int, err error) {
	raw, err := decodeID(imageID, prefixImage)
	if err != nil {
		return "", 0, err
	}
	index = int(raw[15] & 0x0f)
	raw[15] &= 0xf0
	return prefixGeneration + idEncoding.EncodeToString(raw[:]), index, nil
}

// ValidGenerationID reports whether id could be a generation's.
func ValidGenerationID(id string) bool {
	raw, err := decodeID(id, prefixGeneration)
	return err == nil && raw[15]&0x0f == 0
}

func decodeID(id, prefix string) (raw [16]byte, err error) {
	text, ok := strings.CutPrefix(id, prefix)
	if !ok || len(text) != 26 {
		return raw, ErrNotFound
	}
	n, err := idEncoding.Decode(raw[:], []byte(text))
	if err != nil || n != len(raw) {
		return raw, ErrNotFound
	}
	// Two bits of the last character are unused: only one spelling is an id.
	if idEncoding.EncodeToString(raw[:]) != text {
		return raw, ErrNotFound
	}
	return raw, nil
}

// NewBatchID returns an id for generations that are reserved together.
func NewBatchID() string { return NewID("batch") }
