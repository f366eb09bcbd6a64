//go:build cgo

package simulator

import (
	"bytes"
	"fmt"
	"image"

	"github.com/bep/gowebp/libwebp"
	"github.com/bep/gowebp/libwebp/webpoptions"
)

// formats lists the values of output_format. The real API has gif and svg, too.
func formats() []string { return []string{"png", "jpeg", "webp"} }

// encodeWebP encodes an image as WebP of a quality from 1 to 100.
func encodeWebP(im image.Image, quality int) ([]byte, error) {
	var b bytes.Buffer
	err := libwebp.Encode(&b, im, webpoptions.EncodingOptions{Quality: quality, EncodingPreset: webpoptions.EncodingPresetPicture})
	if err != nil {
		return nil, fmt.Errorf("encode WebP: %w", err)
	}
	return b.Bytes(), nil
}
