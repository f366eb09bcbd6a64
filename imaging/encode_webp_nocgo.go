//go:build !cgo

package imaging

import (
	"image"
	"io"
)

const canEncodeWebP = false

func encodeWebP(io.Writer, image.Image, int) error { return ErrNoEncoder }
