//go:build cgo

package imaging

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"io"
	"testing"

	"github.com/bep/gowebp/libwebp"
	"github.com/bep/gowebp/libwebp/webpoptions"
)

func TestConvert_WebP(t *testing.T) {
	t.Parallel()
	solid, half := painting(64, 48, false), painting(64, 48, true)
	gray := image.NewGray(solid.Rect)
	draw.Draw(gray, gray.Rect, solid, image.Point{}, draw.Src)
	for name, c := range map[string]struct {
		data []byte
		o    Options
		want image.Image
		near int
	}{
		"PNGToWebP":       {pngOf(t, solid), Options{Format: WebP, Quality: 95}, solid, 24},
		"PNGAlphaToWebP":  {pngOf(t, half), Options{Format: WebP, Quality: 95}, half, 40},
		"PNGGrayToWebP":   {pngOf(t, gray), Options{Format: WebP, Quality: 95}, gray, 16},
		"JPEGToWebP":      {jpegOf(t, solid), Options{Format: WebP, Quality: 95}, solid, 32},
		"LossyToPNG":      {webpOf(t, solid, 95), Options{Format: PNG}, solid, 24},
		"LossyAlphaToPNG": {webpOf(t, half, 95), Options{Format: PNG}, half, 40},
		"LosslessToPNG":   {webpOf(t, half, 0), Options{Format: PNG}, half, 0},
		"LosslessToJPEG":  {webpOf(t, half, 0), Options{Format: JPEG, Quality: 95}, over(half, color.White), 40},
		"WebPToWebP":      {webpOf(t, half, 0), Options{Quality: 95}, half, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := convert(t, c.data, c.o)
			if d := distance(t, c.want, got); d > c.near {
				t.Errorf("pixels differ by up to %d, allowed are %d", d, c.near)
			}
		})
	}
}

// TestConvert_WebPKeepsTranslucentColour guards against an encoder that is handed
// colours multiplied by transparency and darkens them.
func TestConvert_WebPKeepsTranslucentColour(t *testing.T) {
	t.Parallel()
	want := color.NRGBA{200, 40, 40, 128}
	img := image.NewNRGBA(image.Rect(0, 0, 32, 32))
	draw.Draw(img, img.Rect, image.NewUniform(want), image.Point{}, draw.Src)
	decoded, _ := convert(t, pngOf(t, img), Options{Format: WebP, Quality: 100})
	got, _ := color.NRGBAModel.Convert(decoded.At(16, 16)).(color.NRGBA)
	for _, d := range []int{int(got.R) - 200, int(got.G) - 40, int(got.B) - 40, int(got.A) - 128} {
		if d < -6 || d > 6 {
			t.Fatalf("colour is %v, want about %v", got, want)
		}
	}
}

func TestConvert_WebPKeepsBlackAndWhite(t *testing.T) {
	t.Parallel()
	for _, want := range []color.NRGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, {30, 200, 90, 255}} {
		img := image.NewNRGBA(image.Rect(0, 0, 32, 32))
		draw.Draw(img, img.Rect, image.NewUniform(want), image.Point{}, draw.Src)
		got, _ := convert(t, webpOf(t, img, 100), Options{Format: PNG})
		if d := distance(t, img, got); d > 2 {
			t.Errorf("%v differs by %d, want at most 2", want, d)
		}
	}
}

func TestConvert_WebPEndsAt16383(t *testing.T) {
	t.Parallel()
	c := NewConverter(ConverterOptions{Limits: Limits{MaxSide: 20000}})
	_, err := c.Convert(t.Context(), io.Discard, bytes.NewReader(pngHeader(16384, 1, 8, 2, 0)), Options{Format: WebP})
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want %v", err, ErrTooLarge)
	}
}

func TestEncodeWebP_Empty(t *testing.T) {
	t.Parallel()
	if err := encodeWebP(io.Discard, image.NewNRGBA(image.Rectangle{}), 80); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want %v", err, ErrInvalid)
	}
}

// webpOf encodes with the library itself; quality 0 is lossless.
func webpOf(t *testing.T, img image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := libwebp.Encode(&b, img, webpoptions.EncodingOptions{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkConvert makes each format of a 1024x1024 JPEG, as a provider sends it.
func BenchmarkConvert(b *testing.B) {
	data := jpegOf(b, painting(1024, 1024, false))
	c := NewConverter(ConverterOptions{})
	for _, format := range []Format{PNG, JPEG, WebP} {
		b.Run(string(format), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Convert(b.Context(), io.Discard, bytes.NewReader(data), Options{Format: format}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
