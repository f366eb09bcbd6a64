package imaging

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"io"
)

// thumbnailSide is the longest side of a thumbnail, in pixels.
const thumbnailSide = 320

// thumbnailBytes bounds what a thumbnail and its encoding take.
const thumbnailBytes = 32 * thumbnailSide * thumbnailSide

// A Thumbnail describes a small copy of a picture: at most 320 pixels a side,
// never larger than the picture. It is a WebP, or a JPEG on white where this
// build writes no WebP.
type Thumbnail struct {
	Format        Format
	Width, Height int

	// Hash is the picture's ThumbHash: some 25 bytes that make a placeholder
	// with its proportions, colours and transparency
	// (https://evanw.github.io/thumbhash/).
	Hash []byte
}

// Thumbnail writes a small copy of a picture and returns its description. It
// fails as Convert does.
func (c *Converter) Thumbnail(ctx context.Context, w io.Writer, r io.ReadSeeker) (Thumbnail, error) {
	source, err := c.probe(ctx, r)
	if err != nil {
		return Thumbnail{}, err
	}
	memory := source.DecodeBytes + thumbnailBytes
	if source.Alpha {
		memory += 4 * pixels(source)
	}
	release, err := c.acquire(ctx, memory)
	if err != nil {
		return Thumbnail{}, err
	}
	defer release()
	img, err := c.decode(ctx, r, source)
	if err != nil {
		return Thumbnail{}, err
	}
	return c.writeThumbnail(writer{ctx, w}, img)
}

func (c *Converter) writeThumbnail(w io.Writer, img image.Image) (Thumbnail, error) {
	small := shrink(img, thumbnailSide)
	t := Thumbnail{
		Format: WebP, Width: small.Bounds().Dx(), Height: small.Bounds().Dy(),
		Hash: thumbHash(nrgba(shrink(small, hashSide))),
	}
	quality := 75
	if !CanEncode(WebP) {
		t.Format, quality = JPEG, 80
		small = flat(small, color.White)
	}
	if err := c.encode(w, small, t.Format, quality); err != nil {
		return Thumbnail{}, fmt.Errorf("write thumbnail: %w", err)
	}
	return t, nil
}

// shrink returns a picture with no side longer than side pixels, in its
// proportions.
func shrink(img image.Image, side int) image.Image {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	longest := max(w, h)
	if longest <= side {
		return img
	}
	scaled := func(n int) int { return max(1, (n*side+longest/2)/longest) }
	return resize(img, img.Bounds(), scaled(w), scaled(h))
}

// nrgba is straight for those who need the type.
func nrgba(img image.Image) *image.NRGBA {
	switch m := straight(img).(type) {
	case *image.NRGBA:
		return m
	case *image.RGBA: // opaque, and so the same bytes
		return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}
	}
	panic("straight returned neither") // it returns one of the two
}
