package imaging

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	xdraw "golang.org/x/image/draw"
)

// disc is a white disc in the middle of a dark ground, of a radius of a third of
// the shorter side.
func disc(width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(color.RGBA{20, 30, 60, 255}), image.Point{}, draw.Src)
	radius := float64(min(width, height)) / 3
	for y := range height {
		off := float64(y) + 0.5 - float64(height)/2
		if half := math.Sqrt(radius*radius - off*off); half > 0 {
			row := image.Rect(int(float64(width)/2-half+0.5), y, int(float64(width)/2+half+0.5), y+1)
			draw.Draw(img, row, image.White, image.Point{}, draw.Src)
		}
	}
	return img
}

// extent returns the bounds of the disc, as its middle row and column show them.
func extent(img image.Image) image.Rectangle {
	var found image.Rectangle
	see := func(x, y int) {
		if _, g, _, _ := img.At(x, y).RGBA(); g > 0x9000 {
			found = found.Union(image.Rect(x, y, x+1, y+1))
		}
	}
	bounds := img.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		see((bounds.Min.X+bounds.Max.X)/2, y)
	}
	for x := bounds.Min.X; x < bounds.Max.X; x++ {
		see(x, (bounds.Min.Y+bounds.Max.Y)/2)
	}
	return found
}

// TestConvert_PromisedPixels makes the standard sizes and the pictures of the six
// named proportions from what models send, in every format.
func TestConvert_PromisedPixels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		source, want image.Point
		enlarge      int
	}{
		{"1024x1024", image.Pt(1024, 1024), image.Pt(1024, 1024), 0},
		{"1280x896", image.Pt(2528, 1696), image.Pt(1280, 896), 0},
		{"896x1280", image.Pt(1696, 2528), image.Pt(896, 1280), 0},
		{"1408x768", image.Pt(2752, 1536), image.Pt(1408, 768), 0},
		{"768x1408", image.Pt(1536, 2752), image.Pt(768, 1408), 0},
		{"1280x896 of the small model", image.Pt(1264, 848), image.Pt(1280, 896), 8},
		{"square by another model", image.Pt(1056, 1024), image.Pt(1024, 1024), 0},
		{"portrait by another model", image.Pt(1024, 1536), image.Pt(896, 1200), 0},
		{"landscape by another model", image.Pt(1536, 1024), image.Pt(1200, 896), 0},
		{"widescreen by another model", image.Pt(1920, 1088), image.Pt(1376, 768), 0},
		{"ultrawide by another model", image.Pt(1600, 688), image.Pt(1584, 672), 0},
		{"vertical by another model", image.Pt(1088, 1920), image.Pt(768, 1376), 0},
	} {
		data := jpegOf(t, disc(c.source.X, c.source.Y))
		for _, format := range []Format{PNG, JPEG, WebP} {
			t.Run(fmt.Sprint(c.name, " ", format), func(t *testing.T) {
				t.Parallel()
				o := Options{Format: format, Width: c.want.X, Height: c.want.Y, Enlarge: c.enlarge}
				if !CanEncode(format) {
					if _, err := NewConverter(ConverterOptions{}).Convert(t.Context(), io.Discard, bytes.NewReader(data), o); !errors.Is(err, ErrNoEncoder) {
						t.Errorf("error %v, want %v", err, ErrNoEncoder)
					}
					return
				}
				img, _ := convert(t, data, o)
				if diff := cmp.Diff(c.want, img.Bounds().Size()); diff != "" {
					t.Fatalf("size (-want +got):\n%s", diff)
				}
				round := extent(img)
				if d := round.Dx() - round.Dy(); d < -2 || d > 2 {
					t.Errorf("the disc has %v pixels: it is distorted", round.Size())
				}
				if off := round.Min.Add(round.Max).Sub(img.Bounds().Min).Sub(img.Bounds().Max); max(off.X, -off.X, off.Y, -off.Y) > 3 {
					t.Errorf("the disc is off centre by half of %v", off)
				}
			})
		}
	}
}

func TestConvert_SizeRefused(t *testing.T) {
	t.Parallel()
	data := pngOf(t, painting(100, 100, false))
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"WidthAlone":     {Options{Width: 50}, ErrBadOption},
		"Negative":       {Options{Width: -50, Height: 50}, ErrBadOption},
		"EnlargeLess":    {Options{Width: 50, Height: 50, Enlarge: -1}, ErrBadOption},
		"Wider":          {Options{Width: 101, Height: 50}, ErrTooSmall},
		"Higher":         {Options{Width: 50, Height: 109, Enlarge: 8}, ErrTooSmall},
		"JustEnough":     {Options{Width: 108, Height: 50, Enlarge: 8}, nil},
		"BeyondLimits":   {Options{Width: 9000, Height: 50, Enlarge: 1e6}, ErrTooLarge},
		"WithoutAnyLoss": {Options{Width: 100, Height: 100}, nil},
	} {
		_, err := NewConverter(ConverterOptions{}).Convert(t.Context(), io.Discard, bytes.NewReader(data), c.o)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestResize_FlatStaysExact(t *testing.T) {
	t.Parallel()
	for _, c := range []color.NRGBA{{200, 40, 40, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}, {200, 40, 41, 128}, {1, 254, 127, 3}, {9, 9, 9, 0}} {
		img := image.NewNRGBA(image.Rect(3, 5, 203, 155))
		for i := range img.Pix {
			img.Pix[i] = []byte{c.R, c.G, c.B, c.A}[i%4]
		}
		for _, size := range []image.Point{{70, 50}, {199, 150}, {210, 160}, {1, 1}} {
			got := resize(img, img.Rect, size.X, size.Y)
			for y := range size.Y {
				for x := range size.X {
					at, _ := color.NRGBAModel.Convert(got.At(x, y)).(color.NRGBA)
					if at != c && (at.A > 0 || c.A > 0) {
						t.Fatalf("%v became %v at %d,%d of %v", c, at, x, y, size)
					}
				}
			}
		}
	}
}

// TestResize_LikeTheLibrary compares with x/image's slower resampler.
func TestResize_LikeTheLibrary(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	rough := image.NewNRGBA(image.Rect(0, 0, 150, 110))
	for i := range rough.Pix {
		rough.Pix[i] = byte(rng.IntN(256))
	}
	opaque := image.NewRGBA(rough.Rect)
	draw.Draw(opaque, opaque.Rect, image.Black, image.Point{}, draw.Src)
	draw.Draw(opaque, opaque.Rect, rough, image.Point{}, draw.Over)
	deep := image.NewNRGBA64(rough.Rect)
	draw.Draw(deep, deep.Rect, rough, image.Point{}, draw.Src)
	gray := image.NewGray(rough.Rect)
	draw.Draw(gray, gray.Rect, rough, image.Point{}, draw.Src)
	for name, c := range map[string]struct {
		img  image.Image
		part image.Rectangle
	}{
		"Opaque":      {opaque, opaque.Rect},
		"Transparent": {rough, rough.Rect},
		"Part":        {rough, image.Rect(11, 7, 131, 101)},
		"Deep":        {deep, deep.Rect},
		"DeepPart":    {deep.SubImage(image.Rect(3, 4, 140, 100)), image.Rect(11, 7, 131, 97)},
		"Gray":        {gray, image.Rect(1, 1, 149, 110)},
	} {
		for _, size := range []image.Point{{60, 45}, {141, 100}, {160, 117}, {20, 100}} {
			want := image.NewRGBA64(image.Rectangle{Max: size})
			xdraw.CatmullRom.Scale(want, want.Rect, c.img, c.part, xdraw.Src, nil)
			got := resize(c.img, c.part, size.X, size.Y)
			if d := distance(t, want, got); d > 2 {
				t.Errorf("%s to %v: pixels differ by up to %d", name, size, d)
			}
		}
	}
}

func TestResize_CutsWithoutChange(t *testing.T) {
	t.Parallel()
	source := painting(90, 70, true)
	got, _ := convert(t, pngOf(t, source), Options{Width: 60, Height: 70})
	if d := distance(t, source.SubImage(image.Rect(15, 0, 75, 70)), got); d != 0 {
		t.Errorf("pixels differ by up to %d", d)
	}
}

func BenchmarkConvert_Size(b *testing.B) {
	for _, c := range []struct {
		name   string
		source image.Point
		o      Options
	}{
		{"2528x1696JPEGTo1280x896JPEG", image.Pt(2528, 1696), Options{Width: 1280, Height: 896}},
		{"2528x1696JPEGTo1280x896WebP", image.Pt(2528, 1696), Options{Format: WebP, Width: 1280, Height: 896}},
		{"1024JPEGToPNG", image.Pt(1024, 1024), Options{Format: PNG}},
		{"1024JPEGToWebP", image.Pt(1024, 1024), Options{Format: WebP}},
		{"1024JPEGToPNGAndThumbnail", image.Pt(1024, 1024), Options{Format: PNG, Thumbnail: io.Discard}},
	} {
		data := jpegOf(b, rough(c.source))
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NewConverter(ConverterOptions{}).Convert(b.Context(), io.Discard, bytes.NewReader(data), c.o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	data := jpegOf(b, rough(image.Pt(1024, 1024)))
	b.Run("1024JPEGThumbnail", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := NewConverter(ConverterOptions{}).Thumbnail(b.Context(), io.Discard, bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// rough is a picture about as hard to encode as a photograph.
func rough(size image.Point) image.Image {
	img := painting(size.X, size.Y, false)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		if i%4 != 3 {
			img.Pix[i] = byte(max(0, min(255, int(img.Pix[i])+rng.IntN(40)-20)))
		}
	}
	return img
}
