package simulator

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// An answer is a body in pieces: text, and pictures that become base64 only on
// the wire.
type answer []segment

// A segment is text, or a picture where pic is set.
type segment struct {
	text []byte
	pic  *picture
}

// pictureHere stands in a JSON document for a picture's data.
const pictureHere = "@picture"

// picturePlace finds a place of a picture by its key: "data" in Gemini's format,
// "b64_json" in OpenAI's. No string value can contain it with these unescaped
// quotes, so that it is found for certain.
var picturePlace = regexp.MustCompile(`"(?:data|b64_json)": ?"` + pictureHere)

// appendJSON appends v as JSON; each value "@picture" of such a key becomes the
// next of pics.
func (a answer) appendJSON(v any, indent bool, pics ...*picture) (answer, error) {
	marshal := json.Marshal
	if indent {
		marshal = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
	}
	b, err := marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	for _, pic := range pics {
		place := picturePlace.FindIndex(b)
		if place == nil {
			return nil, fmt.Errorf("encode answer: no place for a picture of type %s", pic.mime)
		}
		i := place[1] - len(pictureHere)
		a = append(a, segment{text: b[:i]}, segment{pic: pic})
		b = b[place[1]:]
	}
	return append(a, segment{text: b}), nil
}

func (a answer) appendText(text string) answer { return append(a, segment{text: []byte(text)}) }

// size is the length of the body in bytes.
func (a answer) size() (n int64) {
	for _, seg := range a {
		if seg.pic != nil {
			n += int64(seg.pic.base64Len())
		} else {
			n += int64(len(seg.text))
		}
	}
	return n
}

// middle is an offset in the middle of the last picture, or of the body if it
// has none.
func (a answer) middle() int64 {
	var at, middle int64
	for _, seg := range a {
		if seg.pic != nil {
			middle = at + int64(seg.pic.base64Len())/2
		}
		at += answer{seg}.size()
	}
	if middle == 0 {
		return at / 2
	}
	return middle
}

// write writes the whole body.
func (a answer) write(w io.Writer, ws *writers) error {
	buf := ws.base64Buffer()
	defer ws.base64.Put(buf)
	for _, seg := range a {
		if seg.pic != nil {
			if err := seg.pic.writeBase64(w, *buf); err != nil {
				return err
			}
		} else if _, err := w.Write(seg.text); err != nil {
			return err
		}
	}
	return nil
}

// gzipBelow is the size from which the real API sends bodies uncompressed.
const gzipBelow = 1 << 20

// send answers with a and the headers already set.
func (s *Server) send(w http.ResponseWriter, r *http.Request, status int, a answer) error {
	if s.opts.NoGzip || a.size() >= gzipBelow || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		return a.write(w, &s.writers)
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	return s.sendGzip(w, a)
}

func (s *Server) sendGzip(w io.Writer, a answer) error {
	z, ok := s.writers.gzip.Get().(*gzip.Writer)
	if !ok {
		z, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	}
	defer s.writers.gzip.Put(z)
	z.Reset(w)
	if err := a.write(z, &s.writers); err != nil {
		return err
	}
	return z.Close()
}
