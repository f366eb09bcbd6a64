package imaging

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func convert(t *testing.T, data []byte, o Options) (image.Image, Info) {
	t.Helper()
	var out bytes.Buffer
	said, err := NewConverter(ConverterOptions{}).Convert(t.Context(), &out, bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	info, err := Probe(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if info.Format != said.Format || info.Width != said.Width || info.Height != said.Height {
		t.Errorf("wrote %+v, said %+v", info, said)
	}
	img, err := decode(&reader{ctx: t.Context(), r: &out}, info)
	if err != nil {
		t.Fatal(err)
	}
	return img, said.Info
}

// distance is the largest difference of a channel between two pictures of equal
// size, colours multiplied by transparency.
func distance(t *testing.T, a, b image.Image) int {
	t.Helper()
	if a.Bounds().Size() != b.Bounds().Size() {
		t.Fatalf("sizes %v and %v differ", a.Bounds(), b.Bounds())
	}
	worst := 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r0, g0, b0, a0 := a.At(a.Bounds().Min.X+x, a.Bounds().Min.Y+y).RGBA()
			r1, g1, b1, a1 := b.At(b.Bounds().Min.X+x, b.Bounds().Min.Y+y).RGBA()
			for _, d := range []int{int(r0) - int(r1), int(g0) - int(g1), int(b0) - int(b1), int(a0) - int(a1)} {
				worst = max(worst, max(d, -d)>>8)
			}
		}
	}
	return worst
}

func over(img image.Image, background color.Color) image.Image {
	dst := image.NewRGBA(img.Bounds())
	draw.Draw(dst, dst.Rect, image.NewUniform(background), image.Point{}, draw.Src)
	draw.Draw(dst, dst.Rect, img, image.Point{}, draw.Over)
	return dst
}

func TestConvert(t *testing.T) {
	t.Parallel()
	solid, half := painting(64, 48, false), painting(64, 48, true)
	gray := image.NewGray(solid.Rect)
	draw.Draw(gray, gray.Rect, solid, image.Point{}, draw.Src)
	deep := image.NewNRGBA64(half.Rect)
	draw.Draw(deep, deep.Rect, half, image.Point{}, draw.Src)
	flat := image.NewPaletted(solid.Rect, color.Palette{color.White, color.RGBA{200, 0, 0, 255}})
	red := color.RGBA{255, 0, 0, 255}
	for name, c := range map[string]struct {
		data []byte
		o    Options
		want image.Image
		near int // largest difference allowed
	}{
		"PNGToPNG":             {pngOf(t, solid), Options{}, solid, 0},
		"PNGAlphaToPNG":        {pngOf(t, half), Options{Format: PNG}, half, 0},
		"PNG16ToPNG":           {pngOf(t, deep), Options{Format: PNG}, half, 1},
		"PNGGrayToPNG":         {pngOf(t, gray), Options{Format: PNG}, gray, 0},
		"PNGPaletteToPNG":      {pngOf(t, flat), Options{Format: PNG}, flat, 0},
		"PNGToJPEG":            {pngOf(t, solid), Options{Format: JPEG, Quality: 95}, solid, 16},
		"PNGGrayToJPEG":        {pngOf(t, gray), Options{Format: JPEG, Quality: 95}, gray, 10},
		"PNGAlphaToJPEG":       {pngOf(t, half), Options{Format: JPEG, Quality: 95}, over(half, color.White), 40},
		"PNGAlphaToJPEGOnRed":  {pngOf(t, half), Options{Format: JPEG, Quality: 95, Background: red}, over(half, red), 40},
		"PNGAlphaToJPEGOnGlas": {pngOf(t, half), Options{Format: JPEG, Quality: 95, Background: color.NRGBA{255, 0, 0, 9}}, over(half, red), 40},
		"JPEGToPNG":            {jpegOf(t, solid), Options{Format: PNG}, solid, 24},
		"JPEGToJPEG":           {jpegOf(t, solid), Options{}, solid, 32},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, info := convert(t, c.data, c.o)
			if d := distance(t, c.want, got); d > c.near {
				t.Errorf("pixels differ by up to %d, allowed are %d", d, c.near)
			}
			if wantAlpha := !isOpaque(c.want); info.Alpha != wantAlpha {
				t.Errorf("alpha is %v, want %v", info.Alpha, wantAlpha)
			}
		})
	}
}

func TestConvert_QualityShrinksFiles(t *testing.T) {
	t.Parallel()
	data := pngOf(t, painting(256, 256, false))
	var sizes []int
	for _, quality := range []int{10, 85, 0, 100} {
		var out bytes.Buffer
		if _, err := NewConverter(ConverterOptions{}).Convert(t.Context(), &out, bytes.NewReader(data), Options{Format: JPEG, Quality: quality}); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, out.Len())
	}
	if sizes[0] >= sizes[1] || sizes[1] != sizes[2] || sizes[2] >= sizes[3] {
		t.Errorf("sizes at quality 10, 85, default and 100 are %v", sizes)
	}
}

func TestConvert_Refuses(t *testing.T) {
	t.Parallel()
	good := pngOf(t, painting(64, 48, false))
	for name, c := range map[string]struct {
		data []byte
		o    Options
		want error
	}{
		"UnknownSource": {[]byte("GIF89a......"), Options{}, ErrUnsupported},
		"UnknownTarget": {good, Options{Format: "gif"}, ErrNoEncoder},
		"QualityHigh":   {good, Options{Format: JPEG, Quality: 101}, ErrBadOption},
		"QualityLow":    {good, Options{Format: JPEG, Quality: -1}, ErrBadOption},
		"Truncated":     {good[:len(good)/2], Options{}, ErrInvalid},
		"TruncatedJPEG": {jpegOf(t, painting(64, 48, false))[:700], Options{}, ErrInvalid},
		"Damaged":       {bytes.Replace(good, []byte("IDAT"), []byte("IDAT\xff\xff\xff"), 1), Options{}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewConverter(ConverterOptions{}).Convert(t.Context(), io.Discard, bytes.NewReader(c.data), c.o)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// stopping cancels its context at a byte, or fails there.
type stopping struct {
	*bytes.Reader
	left   int
	cancel context.CancelFunc
	err    error
}

func (s *stopping) Read(p []byte) (int, error) {
	if s.left <= 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.cancel()
	}
	n, err := s.Reader.Read(p[:min(len(p), 512)])
	s.left -= n
	return n, err
}

func TestConvert_StopsInTheMiddle(t *testing.T) {
	t.Parallel()
	noise := painting(512, 512, false)
	rng := rand.NewChaCha8([32]byte{})
	for i := range noise.Pix {
		noise.Pix[i] ^= byte(rng.Uint64() & 63)
	}
	data := pngOf(t, noise)
	broken := errors.New("disk gone")
	for name, c := range map[string]struct {
		fail, want error
	}{
		"Canceled":    {nil, context.Canceled},
		"ReaderFails": {broken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			source := &stopping{bytes.NewReader(data), 8192, cancel, c.fail}
			_, err := NewConverter(ConverterOptions{}).Convert(ctx, io.Discard, source, Options{})
			if !errors.Is(err, c.want) || errors.Is(err, ErrInvalid) {
				t.Errorf("error %v, want only %v", err, c.want)
			}
		})
	}
}

func TestConvert_WriterFails(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	full := errors.New("disk full")
	if err := r.CloseWithError(full); err != nil {
		t.Fatal(err)
	}
	for _, format := range []Format{PNG, JPEG} {
		_, err := NewConverter(ConverterOptions{}).Convert(t.Context(), w, bytes.NewReader(pngOf(t, painting(64, 48, false))), Options{Format: format})
		if !errors.Is(err, full) || !strings.Contains(err.Error(), string(format)) {
			t.Errorf("%s: error %v, want %v", format, err, full)
		}
	}
}

func TestConvert_WaitsForTheBudget(t *testing.T) {
	t.Parallel()
	data := pngOf(t, painting(64, 48, false))
	for name, o := range map[string]ConverterOptions{
		"Memory":     {Memory: 1000, Parallel: 4},
		"Processors": {Parallel: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewConverter(o)
			release, err := c.acquire(t.Context(), 1<<40) // more than the whole
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := c.Convert(ctx, io.Discard, bytes.NewReader(data), Options{}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want canceled", err)
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if _, err := c.Convert(t.Context(), io.Discard, bytes.NewReader(data), Options{}); err != nil {
						t.Error(err)
					}
				})
			}
			release()
			wg.Wait()
			if !c.memory.TryAcquire(c.budget) {
				t.Error("memory was not given back")
			}
		})
	}
}

func TestConverterOptions_Defaults(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(int64(256<<20), NewConverter(ConverterOptions{}).budget); diff != "" {
		t.Errorf("budget (-want +got):\n%s", diff)
	}
}
