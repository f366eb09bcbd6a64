package simulator

import (
	"bytes"
	"image"
	"image/color"
	"image/png"

	"golang.org/x/image/draw"
)

// checkMask refuses a mask that is no PNG with an alpha channel of the first
// reference's size.
func checkMask(mask []byte, size image.Point) *openaiError {
	const code = "invalid_mask_image_format"
	cfg, err := png.DecodeConfig(bytes.NewReader(mask))
	switch {
	case err != nil:
		return badImage("mask", code, "Invalid mask image format - mask must be a PNG image")
	case len(mask) >= maxMask:
		return badImage("mask", "image_too_large", "Invalid mask: the file must be less than 4MB.")
	case image.Pt(cfg.Width, cfg.Height) != size:
		return badImage("mask", code, "Invalid mask image format - mask size does not match image size")
	case !hasAlpha(cfg.ColorModel):
		return badImage("mask", code, "Invalid mask image format - mask image missing alpha channel")
	}
	return nil
}

// hasAlpha reports whether a PNG's colours have alpha: those without decode to
// models whose alpha is always full.
func hasAlpha(m color.Model) bool {
	if palette, ok := m.(color.Palette); ok {
		for _, c := range palette {
			if _, _, _, a := c.RGBA(); a < 0xffff {
				return true
			}
		}
		return false
	}
	return m == color.NRGBAModel || m == color.NRGBA64Model
}

// keepMasked puts a reference's pixels over a picture where the mask is opaque;
// where it is translucent they mix. Both are scaled if the picture has another
// size.
func keepMasked(im *image.RGBA, ref, mask image.Image) {
	if ref.Bounds().Size() != im.Rect.Size() {
		ref, mask = scaled(ref, im.Rect), scaled(mask, im.Rect)
	}
	draw.DrawMask(im, im.Rect, ref, ref.Bounds().Min, mask, mask.Bounds().Min, draw.Over)
}

func scaled(im image.Image, to image.Rectangle) image.Image {
	out := image.NewNRGBA(to)
	draw.ApproxBiLinear.Scale(out, to, im, im.Bounds(), draw.Src, nil)
	return out
}

// cutOut makes everything outside of a picture's rounded middle transparent. The
// result shares the picture's pixels.
func cutOut(im *image.RGBA) *image.NRGBA {
	short := min(im.Rect.Dx(), im.Rect.Dy())
	stencil := image.NewRGBA(im.Rect)
	fillBox(stencil, im.Rect.Inset(short/64), float64(short)/2, color.White)
	for i := 3; i < len(im.Pix); i += 4 {
		if im.Pix[i] = stencil.Pix[i]; im.Pix[i] == 0 {
			clear(im.Pix[i-3 : i])
		}
	}
	return &image.NRGBA{Pix: im.Pix, Stride: im.Stride, Rect: im.Rect}
}

// pixelate makes a picture one of squares of so many pixels a side.
func pixelate(im *image.RGBA, square int) {
	small := image.NewRGBA(image.Rect(0, 0, max(1, im.Rect.Dx()/square), max(1, im.Rect.Dy()/square)))
	draw.ApproxBiLinear.Scale(small, small.Rect, im, im.Rect, draw.Src, nil)
	draw.NearestNeighbor.Scale(im, im.Rect, small, small.Rect, draw.Src, nil)
}
