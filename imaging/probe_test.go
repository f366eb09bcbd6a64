package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/image/webp"
)

// painting is a picture in which every pixel differs from its neighbours, its
// left half transparent if asked.
func painting(width, height int, transparent bool) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.NRGBA{uint8(x * 255 / width), uint8(y * 255 / height), 90, 255}
			if transparent && x < width/2 {
				c.A = 128
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func pngOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pngHeader is a PNG up to its first pixel.
func pngHeader(width, height uint32, depth, colour, interlace byte, before ...string) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR")
	b = binary.BigEndian.AppendUint32(b, width)
	b = binary.BigEndian.AppendUint32(b, height)
	b = append(b, depth, colour, 0, 0, interlace, 0, 0, 0, 0)
	for _, chunk := range append(before, "IDAT") {
		kind, data := chunk[:4], chunk[4:]
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		b = append(b, kind+data+"\x00\x00\x00\x00"...)
	}
	return b
}

// jpegHeader is a JPEG up to its frame header, which has the given marker and
// sampling factors.
func jpegHeader(width, height uint16, marker byte, factors ...byte) []byte {
	b := []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xff\xff\x01\xff\xfe\x00\x03x\xff")
	b = append(b, marker, 0, byte(8+3*len(factors)), 8, byte(height>>8), byte(height), byte(width>>8), byte(width), byte(len(factors)))
	for i, f := range factors {
		b = append(b, byte(i+1), f, 0)
	}
	return b
}

// pngLong is a PNG with provenance records of so many bytes before its pixels.
func pngLong(lengths ...int) string {
	var records []string
	for _, n := range lengths {
		records = append(records, "caBX"+strings.Repeat("x", n))
	}
	return string(pngHeader(30, 20, 8, 2, 0, records...))
}

// A pipe can not seek although it has the method.
type pipe struct{ r io.Reader }

func (p pipe) Read(b []byte) (int, error) { return p.r.Read(b) }

func (pipe) Seek(int64, int) (int64, error) { return 0, errors.New("illegal seek") }

// counted counts the bytes that are read.
type counted struct {
	*bytes.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestProbe_SeeksOverMetadata counts what is read of a picture with much of it.
func TestProbe_SeeksOverMetadata(t *testing.T) {
	t.Parallel()
	r := &counted{Reader: bytes.NewReader([]byte(pngLong(10<<20, 10<<20)))}
	if _, err := Probe(r); err != nil {
		t.Fatal(err)
	}
	if r.n > 3*headerAhead {
		t.Errorf("%d bytes were read", r.n)
	}
}

// TestConvert_LongMetadata converts a picture behind a provenance record.
func TestConvert_LongMetadata(t *testing.T) {
	t.Parallel()
	plain := pngOf(t, painting(30, 20, false))
	const kind = "caBX"
	data := make([]byte, 2<<20)
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), kind...)
	chunk = append(chunk, data...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	signed := slices.Concat(plain[:33], chunk, plain[33:])
	got, err := NewConverter(ConverterOptions{}).Convert(t.Context(), new(bytes.Buffer), bytes.NewReader(signed), Options{Format: JPEG})
	if err != nil || got.Width != 30 || got.Height != 20 {
		t.Errorf("got %+v, %v", got.Info, err)
	}
}

func webpFile(chunks ...string) []byte {
	body := "WEBP"
	for _, c := range chunks {
		body += c[:4] + string(binary.LittleEndian.AppendUint32(nil, uint32(len(c)-4))) + c[4:]
		if len(c)%2 == 1 {
			body += "\x00"
		}
	}
	return []byte("RIFF" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(body)))) + body)
}

const (
	lossy10x20 = "VP8 \x10\x00\x00\x9d\x01\x2a\x0a\x00\x14\x00"
	canvas     = "VP8X\x00\x00\x00\x00\x09\x00\x00\x13\x00\x00"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\xff\xe1\xff\xff"+strings.Repeat("x", 65533), 3)
	exif := append([]byte("\xff\xd8"+long), jpegOf(t, painting(30, 20, false))[2:]...)
	segments := strings.Repeat("\xff\xeb\xff\xff"+strings.Repeat("x", 65533), 50) // APP11
	manifests := append([]byte("\xff\xd8"+segments), jpegOf(t, painting(30, 20, false))[2:]...)
	for name, c := range map[string]struct {
		data []byte
		want Info
	}{
		"PNG":               {pngOf(t, painting(30, 20, false)), Info{Format: PNG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 3000}},
		"PNGAlpha":          {pngOf(t, painting(30, 20, true)), Info{Format: PNG, Width: 30, Height: 20, Depth: 8, Alpha: true, DecodeBytes: 3000}},
		"PNG16Interlaced":   {pngHeader(30, 20, 16, 2, 1), Info{Format: PNG, Width: 30, Height: 20, Depth: 16, Progressive: true, DecodeBytes: 12000}},
		"PNGTransparentKey": {pngHeader(30, 20, 8, 3, 0, "PLTEabc", "tRNS\x00"), Info{Format: PNG, Width: 30, Height: 20, Depth: 8, Alpha: true, DecodeBytes: 3000}},
		"PNGProvenance":     {[]byte(pngLong(3<<20, 5<<20)), Info{Format: PNG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 3000}},
		"JPEGProvenance":    {manifests, Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 900}},
		"WebPLongProfile":   {webpFile(canvas, "ICCP"+strings.Repeat("x", 2<<20), lossy10x20), Info{Format: WebP, Width: 10, Height: 20, Depth: 8, DecodeBytes: 1141}},
		"JPEG":              {jpegOf(t, painting(30, 20, false)), Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 900}},
		"JPEGLongMetadata":  {exif, Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 900}},
		"JPEGGray":          {jpegHeader(30, 20, 0xc0, 0x11), Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 600}},
		"JPEGProgressive":   {jpegHeader(30, 20, 0xc2, 0x11, 0x11, 0x11), Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, Progressive: true, DecodeBytes: 9000}},
		"JPEGInk":           {jpegHeader(30, 20, 0xc1, 0x11, 0x11, 0x11, 0x11), Info{Format: JPEG, Width: 30, Height: 20, Depth: 8, DecodeBytes: 4800}},
		"WebPLossless":      {testdata(t, "bomb16383.webp"), Info{Format: WebP, Width: 16383, Height: 16383, Depth: 8, DecodeBytes: 1207812101}},
		"WebPLossy":         {webpFile(lossy10x20), Info{Format: WebP, Width: 10, Height: 20, Depth: 8, DecodeBytes: 1141}},
		"WebPExtended":      {webpFile(canvas, "ICCPabc", lossy10x20), Info{Format: WebP, Width: 10, Height: 20, Depth: 8, DecodeBytes: 1141}},
		"WebPLossyAlpha":    {webpFile(canvas, "ALPHabc", lossy10x20), Info{Format: WebP, Width: 10, Height: 20, Depth: 8, Alpha: true, DecodeBytes: 2241}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{
				"reading": iotest.HalfReader(bytes.NewReader(c.data)),
				"seeking": bytes.NewReader(c.data),
				"pipe":    pipe{bytes.NewReader(c.data)},
			} {
				got, err := Probe(r)
				if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
					t.Errorf("%s: error %v, info (-want +got):\n%s", how, err, diff)
				}
			}
		})
	}
}

func TestProbe_Refuses(t *testing.T) {
	t.Parallel()
	whole := jpegOf(t, painting(30, 20, false))
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"Empty":              {"", ErrUnsupported},
		"Text":               {"hello, I am a text of some length", ErrUnsupported},
		"GIF":                {"GIF89a\x01\x00\x01\x00\x00\x00\x00", ErrUnsupported},
		"AVIF":               {"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", ErrUnsupported},
		"SVG":                {"<svg xmlns='http://www.w3.org/2000/svg'/>", ErrUnsupported},
		"WAV":                {"RIFF\x10\x00\x00\x00WAVEfmt ", ErrUnsupported},
		"PNGCut":             {string(pngHeader(30, 20, 8, 2, 0)[:20]), ErrInvalid},
		"PNGWithoutPixels":   {string(pngHeader(0, 20, 8, 2, 0)), ErrInvalid},
		"PNGTooWide":         {string(pngHeader(1<<31, 20, 8, 2, 0)), ErrInvalid},
		"PNGBadDepth":        {string(pngHeader(30, 20, 4, 2, 0)), ErrInvalid},
		"PNGBadColour":       {string(pngHeader(30, 20, 8, 5, 0)), ErrInvalid},
		"PNGOtherFirst":      {"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIDAT" + strings.Repeat("x", 40), ErrInvalid},
		"PNGAnimated":        {string(pngHeader(30, 20, 8, 2, 0, "acTL\x00\x00\x00\x02\x00\x00\x00\x00")), ErrUnsupported},
		"PNGEndlessText":     {pngLong(maxSkipped), ErrInvalid},
		"PNGEndlessTexts":    {pngLong(maxSkipped/2-100, maxSkipped/2, 200), ErrInvalid},
		"PNGManyTexts":       {string(pngHeader(30, 20, 8, 2, 0, slices.Repeat([]string{"tEXtx"}, maxSkips+1)...)), ErrInvalid},
		"PNGEndsInText":      {string(pngHeader(30, 20, 8, 2, 0))[:33] + "\x00\x10\x00\x00caBXends", ErrInvalid},
		"JPEGEndlessFill":    {"\xff\xd8\xff\xe0\x00\x02" + strings.Repeat("\xff", maxHeader), ErrInvalid},
		"JPEGEndless":        {"\xff\xd8" + strings.Repeat("\xff\xeb\xff\xff"+strings.Repeat("x", 65533), 513), ErrInvalid},
		"JPEGCut":            {string(whole[:100]), ErrInvalid},
		"JPEGOnlyMagic":      {"\xff\xd8\xff", ErrInvalid},
		"JPEGNoFrame":        {"\xff\xd8\xff\xda\x00\x02", ErrInvalid},
		"JPEGNoMarker":       {"\xff\xd8\xff\xfe\x00\x02ab", ErrInvalid},
		"JPEGBadLength":      {"\xff\xd8\xff\xfe\x00\x01ab", ErrInvalid},
		"JPEGLossless":       {string(jpegHeader(30, 20, 0xc3, 0x11)), ErrUnsupported},
		"JPEGArithmetic":     {string(jpegHeader(30, 20, 0xc9, 0x11)), ErrUnsupported},
		"JPEGNoHeight":       {string(jpegHeader(30, 0, 0xc0, 0x11)), ErrInvalid},
		"JPEGTwoComponents":  {string(jpegHeader(30, 20, 0xc0, 0x11, 0x11)), ErrInvalid},
		"JPEGBadSampling":    {string(jpegHeader(30, 20, 0xc0, 0x05)), ErrInvalid},
		"JPEG12Bits":         {strings.Replace(string(jpegHeader(30, 20, 0xc1, 0x11)), "\x0b\x08", "\x0b\x0c", 1), ErrUnsupported},
		"JPEGShortFrame":     {"\xff\xd8\xff\xc0\x00\x05\x08\x00\x01", ErrInvalid},
		"WebPCanvasLies":     {string(testdata(t, "vp8x_lie.webp")), ErrInvalid},
		"WebPAnimated":       {string(webpFile("VP8X\x02" + canvas[5:])), ErrUnsupported},
		"WebPAnimatedByBody": {string(webpFile(canvas, "ANIMabcdef")), ErrUnsupported},
		"WebPUnknown":        {string(webpFile("VP9 abcdef")), ErrUnsupported},
		"WebPNoKeyFrame":     {string(webpFile("VP8 \x11" + lossy10x20[5:])), ErrInvalid},
		"WebPNoPixels":       {string(webpFile(lossy10x20[:10] + "\x00\x00\x00\x00")), ErrInvalid},
		"WebPBadSignature":   {string(webpFile("VP8Labcdef")), ErrInvalid},
		"WebPTwoCanvases":    {string(webpFile(canvas, canvas)), ErrInvalid},
		"WebPLooseAlpha":     {string(webpFile("ALPHabc")), ErrInvalid},
		"WebPShortCanvas":    {string(webpFile("VP8Xabcd")) + "0123456789", ErrInvalid},
		"WebPCut":            {string(webpFile(lossy10x20)[:24]), ErrInvalid},
		"WebPHugeChunk":      {"RIFF\xff\xff\xff\xffWEBP" + string(webpFile(canvas)[12:]) + "ICCP\xff\xff\xff\xff", ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := Probe(strings.NewReader(c.data)); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v (info %+v)", err, c.want, got)
			}
		})
	}
}

func TestProbe_ReaderFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk gone")
	whole := jpegOf(t, painting(30, 20, false))
	for _, n := range []int{0, 20} {
		_, err := Probe(&failing{bytes.NewReader(whole[:n]), broken})
		if !errors.Is(err, broken) || errors.Is(err, ErrInvalid) {
			t.Errorf("after %d bytes: error %v, want only %v", n, err, broken)
		}
	}
}

// failing ends with an error of its own.
type failing struct {
	*bytes.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.Len() == 0 {
		return 0, f.err
	}
	return f.Reader.Read(p)
}

func TestLimits_Check(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limits        Limits
		width, height int
		want          bool
	}{
		{Limits{}, 5000, 5000, true},
		{Limits{}, 5001, 5000, false},
		{Limits{}, 8192, 1, true},
		{Limits{}, 8193, 1, false},
		{Limits{}, 1 << 30, 1 << 30, false},
		{Limits{MaxSide: 20000, MaxPixels: 1 << 28}, 12288, 1536, true},
		{Limits{MaxPixels: 100}, 10, 10, true},
		{Limits{MaxPixels: 100}, 10, 11, false},
	} {
		err := c.limits.Check(Info{Width: c.width, Height: c.height})
		if (err == nil) != c.want || err != nil && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v, %dx%d: error %v, want allowed %v", c.limits, c.width, c.height, err, c.want)
		}
	}
}

func TestFormat_MediaType(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(PNG.MediaType(), " ", JPEG.MediaType(), " ", WebP.MediaType())
	if diff := cmp.Diff("image/png image/jpeg image/webp", got); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

// TestConvert_RefusesBombs gives small files that would take gigabytes.
func TestConvert_RefusesBombs(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"WebP16383":      {testdata(t, "bomb16383.webp"), ErrTooLarge},
		"WebPCanvasLies": {testdata(t, "vp8x_lie.webp"), ErrInvalid},
		"PNG30000":       {pngHeader(30000, 30000, 8, 6, 0), ErrTooLarge},
		"JPEG12000":      {jpegHeader(12000, 12000, 0xc2, 0x11, 0x11, 0x11), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // as above
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := NewConverter(ConverterOptions{}).Convert(t.Context(), new(bytes.Buffer), bytes.NewReader(c.data), Options{Format: PNG})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
				t.Errorf("%d bytes were allocated", taken)
			}
		})
	}
}

// FuzzProbe holds Probe to the decoders: they never disagree about the size.
func FuzzProbe(f *testing.F) {
	f.Add(pngOf(f, painting(3, 2, true)))
	f.Add(jpegOf(f, painting(3, 2, false)))
	f.Add(testdata(f, "bomb16383.webp"))
	f.Add(testdata(f, "vp8x_lie.webp"))
	f.Add(webpFile(canvas, "ALPHabc", lossy10x20))
	f.Add(jpegHeader(30, 20, 0xc2, 0x22, 0x11, 0x11))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Probe(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if info.Width <= 0 || info.Height <= 0 || info.DecodeBytes <= 0 {
			t.Fatalf("nonsense: %+v", info)
		}
		decode := map[Format]func() (image.Config, error){
			PNG:  func() (image.Config, error) { return png.DecodeConfig(bytes.NewReader(data)) },
			JPEG: func() (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(data)) },
			WebP: func() (image.Config, error) { return webp.DecodeConfig(bytes.NewReader(data)) },
		}[info.Format]
		config, err := decode()
		if err == nil && (config.Width != info.Width || config.Height != info.Height) {
			t.Fatalf("decoder says %dx%d, Probe %+v", config.Width, config.Height, info)
		}
	})
}
