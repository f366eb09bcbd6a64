package imaging

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	"image/color"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestThumbHash compares with what the reference implementation (npm thumbhash
// 0.1.1) makes of the same pixels.
func TestThumbHash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		width, height int
		alpha         bool
		want          string
	}{
		"Square":        {100, 100, false, "3wcKPxpwd4dweHh3d3eHd3d3BwiIgH8H"},
		"Landscape":     {100, 70, false, "3/cJNZqAh3dwd3d4eHh3eHCAB/h3"},
		"Portrait":      {55, 100, false, "3wcKNBpwB4h3d4d4d3eAcAj4eA=="},
		"Alpha":         {80, 60, true, "owiGHI4noYewh3loCAqboH8Gdyh3d3iHBw=="},
		"AlphaPortrait": {40, 90, true, "o9iFGg4ngLGoeIigsgrpWYSHgIiIeIg="},
		"Line":          {100, 1, false, "VPYqcb52d4eIiAiJlYdPiAg="},
		"Dot":           {1, 1, false, "AAgCBwAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		"Wide":          {100, 12, false, "4PcJMZyBhmZwd3d4cYAY+Hc="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := base64.StdEncoding.EncodeToString(thumbHash(gradients(c.width, c.height, c.alpha)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("hash (-want +got):\n%s", diff)
			}
		})
	}
	got := base64.StdEncoding.EncodeToString(thumbHash(image.NewNRGBA(image.Rect(0, 0, 8, 8))))
	if diff := cmp.Diff("AAiCBQAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", got); diff != "" {
		t.Errorf("hash of nothing but transparency (-want +got):\n%s", diff)
	}
}

// gradients is made of whole numbers alone, so that another language can draw it.
func gradients(width, height int, alpha bool) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.NRGBA{uint8(x * 255 / max(1, width-1)), uint8(y * 255 / max(1, height-1)), uint8(x*7 + y*13), 255}
			if alpha {
				c.A = uint8((x + y) * 255 / (width + height - 2))
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func TestThumbnail(t *testing.T) {
	t.Parallel()
	format := WebP
	if !CanEncode(WebP) {
		format = JPEG
	}
	half := painting(64, 640, true)
	for name, c := range map[string]struct {
		data          []byte
		of            image.Image // what it should look like; nil where proportions can not be kept
		width, height int
	}{
		"Square":    {jpegOf(t, painting(1024, 1024, false)), painting(320, 320, false), 320, 320},
		"Landscape": {pngOf(t, painting(1280, 896, false)), painting(320, 224, false), 320, 224},
		"Tall":      {pngOf(t, half), painting(32, 320, true), 32, 320},
		"Small":     {pngOf(t, painting(40, 30, false)), painting(40, 30, false), 40, 30},
		"Thin":      {pngOf(t, painting(2000, 2, false)), nil, 320, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			got, err := NewConverter(ConverterOptions{}).Thumbnail(t.Context(), &out, bytes.NewReader(c.data))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Hash) < 15 || len(got.Hash) > 36 {
				t.Errorf("the hash has %d bytes", len(got.Hash))
			}
			got.Hash = nil
			if diff := cmp.Diff(Thumbnail{Format: format, Width: c.width, Height: c.height}, got); diff != "" {
				t.Errorf("thumbnail (-want +got):\n%s", diff)
			}
			info, err := Probe(bytes.NewReader(out.Bytes()))
			if err != nil || info.Format != format {
				t.Fatalf("%+v, %v; want a %s", info, err, format)
			}
			img, err := decode(&reader{ctx: t.Context(), r: &out}, info)
			if err != nil {
				t.Fatal(err)
			}
			want := c.of
			if want == nil {
				return
			}
			if format == JPEG {
				want = over(want, color.White)
			}
			if d := distance(t, want, img); d > 40 {
				t.Errorf("pixels differ by up to %d", d)
			}
		})
	}
}

// TestConvert_Thumbnail holds the thumbnail of a conversion to that of what it
// wrote.
func TestConvert_Thumbnail(t *testing.T) {
	t.Parallel()
	c := NewConverter(ConverterOptions{})
	var out, small, later bytes.Buffer
	said, err := c.Convert(t.Context(), &out, bytes.NewReader(pngOf(t, painting(1376, 768, false))),
		Options{Format: PNG, Width: 900, Height: 700, Thumbnail: &small})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Thumbnail(t.Context(), &later, bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again, said.Thumbnail); diff != "" || !bytes.Equal(small.Bytes(), later.Bytes()) {
		t.Errorf("the thumbnail of what was written differs from the one beside it (-want +got):\n%s", diff)
	}
}

func TestThumbnail_Refuses(t *testing.T) {
	t.Parallel()
	good := pngOf(t, painting(64, 48, false))
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"Text":      {[]byte("hello, I am a text"), ErrUnsupported},
		"Truncated": {good[:len(good)/2], ErrInvalid},
		"Bomb":      {testdata(t, "bomb16383.webp"), ErrTooLarge},
	} {
		_, err := NewConverter(ConverterOptions{}).Thumbnail(t.Context(), io.Discard, bytes.NewReader(c.data))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	full := errors.New("disk full")
	if _, err := NewConverter(ConverterOptions{}).Thumbnail(t.Context(), refusing{full}, bytes.NewReader(good)); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

// refusing takes no bytes.
type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }
