package imaging

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// How far Probe looks for the pixels' dimensions. The metadata before them may hold
// whole pictures: provenance records (C2PA specification, appendix A) come with
// thumbnails of what a picture was made of.
const (
	maxHeader   = 1 << 20  // bytes that are looked at
	maxSkipped  = 32 << 20 // bytes that are passed over
	maxSkips    = 4096     // parts that are passed over
	worthASeek  = 64 << 10 // bytes: a seek in a remote blob is a request
	headerAhead = 4096     // bytes that are read ahead
)

// Probe reads as much of a picture's header as tells its format and size, at most
// 1 MiB, and decodes nothing. Metadata in the way is passed over, up to 32 MiB, by
// seeking where r can and that saves reading. It goes by content, refuses animations and whatever
// is not PNG, JPEG or WebP with ErrUnsupported, and damaged headers with
// ErrInvalid. It knows no limits: see Limits.Check.
func Probe(r io.Reader) (Info, error) {
	h := &header{src: r, r: bufio.NewReaderSize(r, headerAhead)}
	magic, err := h.r.Peek(12)
	if err != nil && !errors.Is(err, io.EOF) {
		return Info{}, fmt.Errorf("read picture header: %w", err)
	}
	var info Info
	switch s := string(magic); {
	case len(s) >= 8 && s[:8] == "\x89PNG\r\n\x1a\n":
		info, err = probePNG(h)
	case len(s) >= 3 && s[:3] == "\xff\xd8\xff":
		info, err = probeJPEG(h)
	case len(s) == 12 && s[:4] == "RIFF" && s[8:] == "WEBP":
		info, err = probeWebP(h)
	default:
		return Info{}, ErrUnsupported
	}
	if err == nil && (info.Width <= 0 || info.Height <= 0) {
		err = invalid("no pixels")
	}
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

// header reads the parts of a picture before its pixels. An end before them is
// an ErrInvalid.
type header struct {
	src     io.Reader
	r       *bufio.Reader // of src
	looked  int           // bytes
	skipped int           // bytes
	skips   int
}

func (h *header) read(n int) ([]byte, error) {
	if h.looked += n; h.looked > maxHeader {
		return nil, invalid("header is too long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(h.r, b)
	return b, ended(err)
}

// skip passes over a part. One that ends beyond the source is noticed by the next
// read.
func (h *header) skip(n int) error {
	if h.skips++; n < 0 || n > maxSkipped-h.skipped || h.skips > maxSkips {
		return invalid("header is too long")
	}
	h.skipped += n
	if rest := n - h.r.Buffered(); rest > worthASeek {
		if s, ok := h.src.(io.Seeker); ok {
			if _, err := s.Seek(int64(rest), io.SeekCurrent); err == nil {
				h.r.Reset(h.src)
				return nil
			}
		}
	}
	_, err := h.r.Discard(n)
	return ended(err)
}

func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("header ends early")
	case err != nil:
		return fmt.Errorf("read picture header: %w", err)
	}
	return nil
}

// probePNG reads IHDR and walks to the first IDAT, before which an animation
// declares itself (PNG specification, third edition, sections 5 and 11).
func probePNG(h *header) (Info, error) {
	b, err := h.read(8 + 8 + 13 + 4)
	if err != nil {
		return Info{}, err
	}
	if b = b[8:]; string(b[:8]) != "\x00\x00\x00\x0dIHDR" {
		return Info{}, invalid("PNG does not begin with IHDR")
	}
	b = b[8:]
	width, height := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	depth, colour, interlace := int(b[8]), b[9], b[12]
	if width > 1<<31-1 || height > 1<<31-1 || interlace > 1 || !validPNG(depth, colour) {
		return Info{}, invalid("PNG header")
	}
	info := Info{
		Format: PNG, Width: int(width), Height: int(height), Depth: depth,
		Alpha: colour&4 != 0, Progressive: interlace == 1,
	}
	for {
		chunk, err := h.read(8)
		if err != nil {
			return Info{}, err
		}
		switch string(chunk[4:]) {
		case "IDAT":
			info.DecodeBytes = pngBytes(info)
			return info, nil
		case "acTL":
			return Info{}, unsupported("animated PNG")
		case "tRNS":
			info.Alpha = true
		}
		if err := h.skip(int(binary.BigEndian.Uint32(chunk)) + 4); err != nil {
			return Info{}, err
		}
	}
}

func validPNG(depth int, colour byte) bool {
	switch colour {
	case 0:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
	case 3:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8
	case 2, 4, 6:
		return depth == 8 || depth == 16
	}
	return false
}

// pngBytes is what image/png takes, measured: 4.8 bytes a pixel, twice that for
// 16 bits and again for interlacing.
func pngBytes(i Info) int64 {
	n := pixels(i) * 5
	if i.Depth == 16 {
		n *= 2
	}
	if i.Progressive {
		n *= 2
	}
	return n
}

func pixels(i Info) int64 { return int64(i.Width) * int64(i.Height) }
