//go:build cgo

package imaging

import (
	"image"
	"io"

	"github.com/bep/gowebp/libwebp"
	"github.com/bep/gowebp/libwebp/webpoptions"
)

const canEncodeWebP = true

// encodeWebP wants a picture from straight. Only our own pixels reach the C
// library, never a file.
func encodeWebP(w io.Writer, img image.Image, quality int) error {
	if img.Bounds().Empty() {
		return invalid("no pixels") // the library reads the first pixel unasked
	}
	// To this encoder a quality of 0 means lossless; Options has none below 1.
	return libwebp.Encode(w, img, webpoptions.EncodingOptions{
		Quality: quality, EncodingPreset: webpoptions.EncodingPresetPicture,
	})
}
