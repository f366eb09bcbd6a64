//go:build !cgo

package simulator

import (
	"errors"
	"image"
)

// formats lists the values of output_format. WebP is missing, as its encoder is
// a C library; the real API has it, and gif and svg.
func formats() []string { return []string{"png", "jpeg"} }

func encodeWebP(image.Image, int) ([]byte, error) {
	return nil, errors.New("encode WebP: built without cgo")
}
