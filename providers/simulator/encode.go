package simulator

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
)

const (
	mimeJPEG = "image/jpeg"
	mimePNG  = "image/png"
	mimeWebP = "image/webp"
)

// encode encodes an image as JPEG or WebP of a quality from 1 to 100, or as PNG.
func encode(im image.Image, mime string, quality int) ([]byte, error) {
	switch mime {
	case mimeJPEG:
		return encodeJPEG(im, quality), nil
	case mimeWebP:
		return encodeWebP(im, quality)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, im); err != nil {
		return nil, fmt.Errorf("encode PNG: %w", err)
	}
	return b.Bytes(), nil
}

// encodeJPEG encodes an image of at most 65,535 pixels a side, which cannot
// fail in memory.
func encodeJPEG(im image.Image, quality int) []byte {
	var b bytes.Buffer
	b.Grow(im.Bounds().Dx() * im.Bounds().Dy() / 4)
	_ = jpeg.Encode(&b, im, &jpeg.Options{Quality: quality})
	return b.Bytes()
}

func rgbAlpha(hex uint32, alpha uint8) color.NRGBA {
	c := rgb(hex)
	return color.NRGBA{c.R, c.G, c.B, alpha}
}
