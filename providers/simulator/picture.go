package simulator

import (
	"io"
	"sync"

	"github.com/segmentio/asm/base64"
)

// A picture is an encoded image on its way into a JSON answer.
type picture struct {
	mime string
	raw  []byte // encoded to base64 while it is written
	// tail is what follows raw, already in base64. If there is one, the length
	// of raw is a multiple of three.
	tail []byte
}

// base64Len is how many characters writeBase64 writes.
func (p *picture) base64Len() int {
	return base64.StdEncoding.EncodedLen(len(p.raw)) + len(p.tail)
}

// base64Chunk is how many bytes are encoded at a time: a multiple of three that
// makes writes of 128 KiB.
const base64Chunk = 96 << 10

// writeBase64 writes the picture in base64, in large pieces and without holding
// the whole.
func (p *picture) writeBase64(w io.Writer, buf []byte) error {
	for raw := p.raw; len(raw) > 0; {
		n := min(len(raw), base64Chunk)
		out := buf[:base64.StdEncoding.EncodedLen(n)]
		base64.StdEncoding.Encode(out, raw[:n])
		if _, err := w.Write(out); err != nil {
			return err
		}
		raw = raw[n:]
	}
	if len(p.tail) == 0 {
		return nil
	}
	_, err := w.Write(p.tail)
	return err
}

// writers keeps the buffers that answers are written with.
type writers struct {
	base64 sync.Pool // of *[]byte, base64Chunk encoded
	gzip   sync.Pool // of *gzip.Writer
}

func (ws *writers) base64Buffer() *[]byte {
	if buf, ok := ws.base64.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, base64.StdEncoding.EncodedLen(base64Chunk))
	return &buf
}
