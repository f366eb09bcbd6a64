package imaging

import (
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
)

// encode writes a picture, which for JPEG must be opaque.
func (c *Converter) encode(w io.Writer, img image.Image, format Format, quality int) error {
	switch format {
	case JPEG:
		return jpeg.Encode(w, img, &jpeg.Options{Quality: quality})
	case WebP:
		return encodeWebP(w, straight(img), quality)
	default:
		// Twice as fast as the default, for files a sixth larger.
		enc := png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: &c.rows}
		return enc.Encode(w, straight(img))
	}
}

func isOpaque(img image.Image) bool {
	o, ok := img.(interface{ Opaque() bool })
	return ok && o.Opaque()
}

// flat is img without transparency, as a type that image/jpeg encodes fast.
func flat(img image.Image, background color.Color) image.Image {
	opaque := isOpaque(img)
	switch img.(type) {
	case *image.YCbCr, *image.Gray:
		return img
	case *image.RGBA:
		if opaque {
			return img
		}
	}
	dst := image.NewRGBA(image.Rectangle{Max: img.Bounds().Size()})
	if !opaque {
		draw.Draw(dst, dst.Rect, image.NewUniform(solid(background)), image.Point{}, draw.Src)
	}
	draw.Draw(dst, dst.Rect, img, img.Bounds().Min, draw.Over)
	return dst
}

// solid is a colour without its transparency.
func solid(c color.Color) color.Color {
	straight, _ := color.NRGBAModel.Convert(c).(color.NRGBA)
	straight.A = 255
	return straight
}

// straight is img at the origin with 8 bits a channel, colours not multiplied by
// transparency: what the WebP encoder needs and the PNG encoder writes fast.
func straight(img image.Image) image.Image {
	bounds := img.Bounds()
	switch m := img.(type) {
	case *image.NRGBA:
		if bounds.Min == (image.Point{}) {
			return m
		}
	case *image.RGBA:
		if bounds.Min == (image.Point{}) && m.Opaque() {
			return m
		}
	}
	size := image.Rectangle{Max: bounds.Size()}
	if isOpaque(img) {
		// Without transparency both kinds have the same bytes, and only this
		// one is drawn fast.
		dst := image.NewRGBA(size)
		draw.Draw(dst, size, img, bounds.Min, draw.Src)
		return dst
	}
	dst := image.NewNRGBA(size)
	draw.Draw(dst, size, img, bounds.Min, draw.Src)
	return dst
}
