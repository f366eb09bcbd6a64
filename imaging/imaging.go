// Package imaging checks and converts pictures within limits: bytes in, bytes
// out, no files and no network.
package imaging

import (
	"errors"
	"fmt"
)

// What a picture may be refused for. Errors wrap one of these unless a reader, a
// writer or a context failed.
var (
	ErrUnsupported = errors.New("not a still PNG, JPEG or WebP picture")
	ErrInvalid     = errors.New("damaged picture")
	ErrTooLarge    = errors.New("picture has too many pixels")
	ErrTooSmall    = errors.New("picture has too few pixels")
	ErrNoEncoder   = errors.New("this build cannot write the format")
	ErrBadOption   = errors.New("conversion option out of range")
)

// A Format is a kind of picture that this package reads and writes.
type Format string

// The formats.
const (
	PNG  Format = "png"
	JPEG Format = "jpeg"
	WebP Format = "webp"
)

// MediaType is the format's registered type, such as "image/png".
func (f Format) MediaType() string { return "image/" + string(f) }

// CanEncode reports whether this build writes the format. It writes WebP only
// when built with cgo.
func CanEncode(f Format) bool {
	return f == PNG || f == JPEG || f == WebP && canEncodeWebP
}

// Info is what the header of a picture says.
type Info struct {
	Format        Format
	Width, Height int
	Depth         int  // bits per sample
	Alpha         bool // the pixels themselves carry transparency
	Progressive   bool // progressive JPEG or interlaced PNG
	DecodeBytes   int64
}

// Limits bound what is decoded.
type Limits struct {
	MaxPixels int // default 25 million
	MaxSide   int // default 8192
}

// Check returns an ErrTooLarge if the picture exceeds the limits.
func (l Limits) Check(i Info) error {
	if l.MaxPixels <= 0 {
		l.MaxPixels = 25_000_000
	}
	if l.MaxSide <= 0 {
		l.MaxSide = 8192
	}
	if i.Width > l.MaxSide || i.Height > l.MaxSide || i.Width > l.MaxPixels/max(1, i.Height) {
		return fmt.Errorf("%w: %dx%d, allowed are %d on a side and %d in all", ErrTooLarge, i.Width, i.Height, l.MaxSide, l.MaxPixels)
	}
	return nil
}

func invalid(what string) error { return fmt.Errorf("%w: %s", ErrInvalid, what) }

func unsupported(what string) error { return fmt.Errorf("%w: %s", ErrUnsupported, what) }
