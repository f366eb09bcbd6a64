package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
)

const (
	smallBuffer = 4 << 10   // until an image begins
	largeBuffer = 128 << 10 // base64 decoded at a time
	maxKey      = 32        // longer keys are never ours
)

// The pools outlive every Spool: buffers go from one call to the next.
var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new(imageBuffers) }}
)

// imageBuffers is what decoding takes: base64 and, with room for the vector
// instructions to write past the end, the bytes it stands for.
type imageBuffers struct {
	text    [largeBuffer]byte
	decoded [2][largeBuffer/4*3 + 64]byte // in turn: one is hashed while the other is filled
}

// scanner copies a JSON text to out and moves long string values of some keys
// to files. It follows strings and nesting only, which is all that takes; whether
// the rest is JSON is the next decoder's to find out.
type scanner struct {
	ctx   context.Context
	spool *Spool
	files *Files
	src   io.Reader
	out   *bytes.Buffer
	made  []string // tokens of finished images

	buf   []byte // buf[r:w] is read but not consumed
	r, w  int
	small *[smallBuffer]byte
	large *imageBuffers // nil until an image begins
	slot  bool          // holds a decoder

	key   []byte // the last string, as written, if it may be a key
	colon bool   // the last token was a colon
	depth int    // of objects and arrays
}

func newScanner(ctx context.Context, s *Spool, files *Files, src io.Reader) *scanner {
	small, _ := smallBuffers.Get().(*[smallBuffer]byte)
	return &scanner{
		ctx: ctx, spool: s, files: files, src: src, out: new(bytes.Buffer),
		small: small, buf: small[:], key: make([]byte, 0, maxKey),
	}
}

// release gives the buffers and the decoder back.
func (s *scanner) release() {
	smallBuffers.Put(s.small)
	if s.large != nil {
		largeBuffers.Put(s.large)
	}
	if s.slot {
		<-s.spool.slots
	}
	s.buf = nil
}

// scan runs to the end of the text.
func (s *scanner) scan() error {
	for {
		if s.r == s.w {
			switch err := s.fill(); {
			case errors.Is(err, io.EOF) && s.depth > 0:
				return io.ErrUnexpectedEOF
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
		}
		if s.out.Len() > maxRest {
			return ErrAnswerTooLong
		}
		if err := s.token(); err != nil {
			return err
		}
	}
}

// token consumes the string or the single byte at the read position.
func (s *scanner) token() error {
	c := s.buf[s.r]
	s.r++
	if c == '"' {
		value := s.colon
		s.colon = false
		switch {
		case value && slices.Contains(s.spool.keys, string(s.key)):
			return s.image()
		case value && slices.Contains(s.spool.drop, string(s.key)):
			return s.dropped()
		}
		return s.text(true)
	}
	s.out.WriteByte(c)
	switch c {
	case ':':
		s.colon = true
	case '{', '[':
		s.depth++
		s.colon = false
	case '}', ']':
		s.depth--
		s.colon = false
	case ' ', '\n', '\r', '\t':
	default:
		s.colon = false
	}
	return nil
}

// text consumes a string after its opening quote, and copies it if asked.
func (s *scanner) text(keep bool) error {
	s.key = s.key[:0]
	if keep {
		s.out.WriteByte('"')
	}
	for {
		if s.r == s.w {
			if err := s.more(); err != nil {
				return err
			}
		}
		part, end := s.plain()
		s.key = append(s.key, part[:min(len(part), maxKey-len(s.key))]...)
		s.copy(len(part), keep)
		switch end {
		case '"':
			s.copy(1, keep)
			return nil
		case '\\':
			if err := s.need(2); err != nil {
				return err
			}
			s.key = append(s.key[:0], '\\') // no key of ours is ever escaped
			s.copy(2, keep)
		}
		if s.out.Len() > maxRest {
			return ErrAnswerTooLong
		}
	}
}

// copy consumes n buffered bytes, into out if asked.
func (s *scanner) copy(n int, keep bool) {
	if keep {
		s.out.Write(s.buf[s.r : s.r+n])
	}
	s.r += n
}

// plain is what is buffered up to the next quote or backslash, and which of the
// two ends it, or 0.
func (s *scanner) plain() (part []byte, end byte) {
	part = s.buf[s.r:s.w]
	if i := bytes.IndexByte(part, '\\'); i >= 0 {
		part, end = part[:i], '\\'
	}
	if i := bytes.IndexByte(part, '"'); i >= 0 {
		part, end = part[:i], '"'
	}
	return part, end
}

// short reports whether the string at the read position is too short to move.
func (s *scanner) short() (bool, error) {
	err := s.need(s.spool.minImage)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	head := s.buf[s.r:min(s.w, s.r+s.spool.minImage)]
	return err != nil || bytes.IndexByte(head, '"') >= 0, nil
}

// dropped consumes a string after its opening quote and leaves an empty one if
// it was long.
func (s *scanner) dropped() error {
	short, err := s.short()
	if err != nil {
		return err
	}
	if err := s.text(short); err != nil || short {
		return err
	}
	s.out.WriteString(`""`)
	return nil
}

// image consumes a base64 string after its opening quote and leaves a token if
// it was long.
func (s *scanner) image() error {
	short, err := s.short()
	if err != nil {
		return err
	}
	if short {
		return s.text(true)
	}
	if err := s.enlarge(); err != nil {
		return err
	}
	if len(s.made) == maxImages {
		return ErrTooManyImages
	}
	file, err := s.files.create(s.spool.maxBytes)
	if err != nil {
		return err
	}
	if err := s.decode(file); err != nil {
		file.abandon()
		return err
	}
	img, err := file.finish()
	if err != nil {
		return err
	}
	token := s.files.put(img)
	s.made = append(s.made, token)
	s.out.WriteString(quote(token))
	return nil
}

// enlarge takes a decoder and the large buffers, for the rest of the answer.
func (s *scanner) enlarge() (err error) {
	if s.large != nil {
		return nil
	}
	if s.slot, err = s.spool.acquire(s.ctx); err != nil {
		return fmt.Errorf("wait for a decoder: %w", err)
	}
	s.large, _ = largeBuffers.Get().(*imageBuffers)
	s.w = copy(s.large.text[:], s.buf[s.r:s.w])
	s.r, s.buf = 0, s.large.text[:]
	return nil
}

// decode streams the base64 up to the closing quote into file.
func (s *scanner) decode(file *imageFile) error {
	for turn := 0; ; turn ^= 1 {
		part, end := s.plain()
		n := len(part)
		if end != '"' {
			n &^= 3
		}
		if err := file.decode(part[:n], s.large.decoded[turn][:]); err != nil {
			return err
		}
		s.r += n
		var err error
		switch end {
		case '"':
			s.r++
			return nil
		case '\\':
			err = s.unescape(len(part) - n)
		default:
			err = s.more()
		}
		if err != nil {
			return err
		}
	}
}

// unescape replaces the escape that stands carry bytes after the read position
// by what it means, in place. In base64 that is a letter of its alphabet, mostly
// \/ or \u003d, or a line break, which is dropped.
func (s *scanner) unescape(carry int) error {
	if err := s.need(carry + 2); err != nil {
		return err
	}
	length, c := 2, s.buf[s.r+carry+1]
	switch c {
	case '/':
	case 'n', 'r':
		c = '\n'
	case 'u':
		length = 6
		if err := s.need(carry + length); err != nil {
			return err
		}
		v, err := strconv.ParseUint(string(s.buf[s.r+carry+2:s.r+carry+length]), 16, 16)
		if err != nil || v > 'z' || v == '"' || v == '\\' {
			return ErrInvalidBase64
		}
		c = byte(v)
	default:
		return ErrInvalidBase64
	}
	if c != '\n' && c != '\r' {
		length--
		s.buf[s.r+carry+length] = c
	}
	copy(s.buf[s.r+length:], s.buf[s.r:s.r+carry])
	s.r += length
	return nil
}

// need buffers at least n unconsumed bytes, n being less than any buffer. A text
// that ends before is an io.ErrUnexpectedEOF.
func (s *scanner) need(n int) error {
	for s.w-s.r < n {
		if err := s.more(); err != nil {
			return err
		}
	}
	return nil
}

// more is fill where the text must go on.
func (s *scanner) more() error {
	err := s.fill()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill buffers at least one more byte, or fails.
func (s *scanner) fill() error {
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	for {
		n, err := s.src.Read(s.buf[s.w:])
		s.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
