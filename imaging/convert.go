package imaging

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"runtime"
	"sync"

	"golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"
)

// ConverterOptions configures a Converter. The zero value is good.
type ConverterOptions struct {
	Limits   Limits
	Memory   int64 // bytes of pixels in work at a time; default 256 MiB
	Parallel int   // pictures in work at a time; default GOMAXPROCS
}

// A Converter decodes and encodes pictures within a budget of memory and
// processors that all its callers share. Those who find it used up wait. A
// picture that would need more than the whole budget is worked on alone.
type Converter struct {
	limits     Limits
	budget     int64
	memory     *semaphore.Weighted
	processors *semaphore.Weighted
	rows       rowPool
}

// NewConverter returns a Converter that is safe for concurrent use.
func NewConverter(o ConverterOptions) *Converter {
	if o.Memory <= 0 {
		o.Memory = 256 << 20
	}
	if o.Parallel <= 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	return &Converter{
		limits: o.Limits, budget: o.Memory,
		memory:     semaphore.NewWeighted(o.Memory),
		processors: semaphore.NewWeighted(int64(o.Parallel)),
	}
}

// Options says what to make of a picture.
type Options struct {
	Format     Format      // default is that of the source
	Quality    int         // 1 to 100 for JPEG and WebP; default 85 and 80
	Background color.Color // behind transparent pixels of a JPEG; default white

	// Width and Height are the exact pixels to write: the picture is scaled
	// until it just covers them, and what stands out is cut off on both sides
	// alike. Default: those of the source.
	Width, Height int
	// Enlarge is by how many percent the picture may be enlarged for that.
	Enlarge int

	// Thumbnail gets a small copy of what is written, and the result its
	// description. Default: none is made.
	Thumbnail io.Writer
}

// A Result describes what Convert wrote.
type Result struct {
	Info
	Thumbnail Thumbnail // zero if none was asked for
}

// Convert reads a picture and writes it anew, without its metadata. It returns
// what it wrote. Transparency is kept but for JPEG, which has none. It fails with
// one of this package's errors, or with that of r, a writer or ctx; then the
// writers may have received a part.
func (c *Converter) Convert(ctx context.Context, w io.Writer, r io.ReadSeeker, o Options) (Result, error) {
	source, err := c.probe(ctx, r)
	if err != nil {
		return Result{}, err
	}
	if o, err = o.complete(source, c.limits); err != nil {
		return Result{}, err
	}
	release, err := c.acquire(ctx, workBytes(source, o))
	if err != nil {
		return Result{}, err
	}
	defer release()
	img, err := c.decode(ctx, r, source)
	if err != nil {
		return Result{}, err
	}
	img = resize(img, cover(img.Bounds(), o.Width, o.Height), o.Width, o.Height)
	if o.Format == JPEG {
		img = flat(img, o.Background)
	}
	if err := c.encode(writer{ctx, w}, img, o.Format, o.Quality); err != nil {
		return Result{}, fmt.Errorf("write %s: %w", o.Format, err)
	}
	result := Result{Info: Info{Format: o.Format, Width: o.Width, Height: o.Height, Depth: 8, Alpha: !isOpaque(img)}}
	if o.Thumbnail != nil {
		result.Thumbnail, err = c.writeThumbnail(writer{ctx, o.Thumbnail}, img)
	}
	return result, err
}

// probe reads the header of a picture and checks it against the limits.
func (c *Converter) probe(ctx context.Context, r io.ReadSeeker) (Info, error) {
	source, err := Probe(struct {
		io.Reader
		io.Seeker
	}{&reader{ctx: ctx, r: r}, r})
	if err != nil {
		return Info{}, err
	}
	return source, c.limits.Check(source)
}

// decode decodes a picture of which the header has been read.
func (c *Converter) decode(ctx context.Context, r io.ReadSeeker, source Info) (image.Image, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind picture: %w", err)
	}
	return decode(&reader{ctx: ctx, r: r}, source)
}

// complete fills in defaults and checks the rest.
func (o Options) complete(source Info, limits Limits) (Options, error) {
	if o.Format == "" {
		o.Format = source.Format
	}
	if !CanEncode(o.Format) {
		return o, fmt.Errorf("%w: %q", ErrNoEncoder, o.Format)
	}
	if o.Quality < 0 || o.Quality > 100 {
		return o, fmt.Errorf("%w: quality %d is not between 1 and 100", ErrBadOption, o.Quality)
	}
	if o.Quality == 0 {
		o.Quality = map[Format]int{JPEG: 85, WebP: 80}[o.Format]
	}
	if o.Background == nil {
		o.Background = color.White
	}
	return o.completeSize(source, limits)
}

func (o Options) completeSize(source Info, limits Limits) (Options, error) {
	if o.Width == 0 && o.Height == 0 {
		o.Width, o.Height = source.Width, source.Height
	}
	if o.Width <= 0 || o.Height <= 0 || o.Enlarge < 0 {
		return o, fmt.Errorf("%w: %dx%d pixels, enlarged by up to %d %%", ErrBadOption, o.Width, o.Height, o.Enlarge)
	}
	if err := limits.Check(Info{Width: o.Width, Height: o.Height}); err != nil {
		return o, err
	}
	if o.Format == WebP && max(o.Width, o.Height) > maxWebPSide {
		return o, fmt.Errorf("%w: WebP ends at %d on a side", ErrTooLarge, maxWebPSide)
	}
	if o.Width > source.Width*(100+o.Enlarge)/100 || o.Height > source.Height*(100+o.Enlarge)/100 {
		return o, fmt.Errorf("%w: %dx%d pixels do not cover %dx%d", ErrTooSmall, source.Width, source.Height, o.Width, o.Height)
	}
	return o, nil
}

// maxWebPSide follows from the 14 bits of the format.
const maxWebPSide = 1<<14 - 1

// workBytes is what a conversion takes: the decoded picture, a copy of it with
// straight transparency, the resized one, and what encoding takes.
func workBytes(source Info, o Options) int64 {
	out := Info{Width: o.Width, Height: o.Height}
	bytes := source.DecodeBytes + encodeBytes(out, o.Format)
	if source.Width != o.Width || source.Height != o.Height {
		bytes += 4 * pixels(out)
		if source.Alpha {
			bytes += 4 * pixels(source)
		}
	}
	if o.Thumbnail != nil {
		bytes += thumbnailBytes
	}
	return bytes
}

// encodeBytes is what encoding takes beside the picture: a copy in four bytes a
// pixel, and for WebP the encoder's own copy and planes.
func encodeBytes(picture Info, to Format) int64 {
	if to == WebP {
		return 12 * pixels(picture)
	}
	return 4 * pixels(picture)
}

func (c *Converter) acquire(ctx context.Context, memory int64) (release func(), err error) {
	memory = min(memory, c.budget)
	if err := c.memory.Acquire(ctx, memory); err != nil {
		return nil, fmt.Errorf("wait for memory to convert a picture: %w", err)
	}
	if err := c.processors.Acquire(ctx, 1); err != nil {
		c.memory.Release(memory)
		return nil, fmt.Errorf("wait for a processor to convert a picture: %w", err)
	}
	return func() {
		c.processors.Release(1)
		c.memory.Release(memory)
	}, nil
}

// decode decodes a probed picture. A decoder's panic is an ErrInvalid.
func decode(r *reader, source Info) (img image.Image, err error) {
	defer func() {
		if v := recover(); v != nil {
			img, err = nil, fmt.Errorf("%w: decoder failed: %v", ErrInvalid, v)
		}
	}()
	buffered := bufio.NewReaderSize(r, 32<<10)
	switch source.Format {
	case PNG:
		img, err = png.Decode(buffered)
	case JPEG:
		img, err = jpeg.Decode(buffered)
	case WebP:
		if img, err = webp.Decode(buffered); err == nil {
			img = fullRange(img)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("read %s: %w", source.Format, r.err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if size := img.Bounds().Size(); size.X != source.Width || size.Y != source.Height {
		return nil, invalid("header and pixels differ in size")
	}
	return img, nil
}

// A reader fails once its context has ended, which stops a decoder in the middle
// of its work, and remembers why it failed.
type reader struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (r *reader) Read(p []byte) (n int, err error) {
	if err = r.ctx.Err(); err == nil {
		n, err = r.r.Read(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// A writer fails once its context has ended.
type writer struct {
	ctx context.Context
	w   io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// rowPool keeps the PNG encoder's buffers from one picture to the next.
type rowPool struct{ pool sync.Pool }

func (p *rowPool) Get() *png.EncoderBuffer {
	b, _ := p.pool.Get().(*png.EncoderBuffer)
	return b
}

func (p *rowPool) Put(b *png.EncoderBuffer) { p.pool.Put(b) }

var _ png.EncoderBufferPool = (*rowPool)(nil)
