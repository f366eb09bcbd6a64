package providers

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"

	simd "github.com/segmentio/asm/base64"
)

type filesKey struct{}

// Files are the images of one call, and how the upstream answered it. It is safe
// for concurrent use.
type Files struct {
	dir string

	mu        sync.Mutex
	images    map[string]Image // by token
	tokens    int
	discarded bool
	status    int
	header    http.Header
}

// WithSpool returns a context under which a Spool writes images into dir, which
// must exist. The caller takes the images it wants and discards the rest.
func WithSpool(ctx context.Context, dir string) (context.Context, *Files) {
	f := &Files{dir: dir, images: map[string]Image{}}
	return context.WithValue(ctx, filesKey{}, f), f
}

// Take hands over the image behind a token: the base64-decoded value that stands
// in the answer where the image stood. It is false for anything else, such as a
// small image that stayed in the answer. The file then belongs to the caller.
func (f *Files) Take(token string) (Image, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	img, ok := f.images[token]
	delete(f.images, token)
	return img, ok
}

// Add writes an image that stayed in the answer to a file of the caller's.
func (f *Files) Add(data []byte) (Image, error) {
	file, err := f.create(int64(len(data)))
	if err != nil {
		return Image{}, err
	}
	if err := file.write(data); err != nil {
		file.abandon()
		return Image{}, err
	}
	return file.finish()
}

// Discard removes the files that were not taken, and any that would still come.
// A file that cannot be removed is left to whoever clears the directory.
func (f *Files) Discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.discarded = true
	for token, img := range f.images {
		_ = os.Remove(img.Path)
		delete(f.images, token)
	}
}

// Response is the status and the headers of the last answer, and 0 and nil if
// none came.
func (f *Files) Response() (status int, header http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.header
}

func (f *Files) note(resp *http.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.header = resp.StatusCode, resp.Header.Clone()
}

// put keeps a finished image and returns its token.
func (f *Files) put(img Image) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens++
	token := "spool:" + strconv.Itoa(f.tokens)
	if f.discarded {
		_ = os.Remove(img.Path)
		return token
	}
	f.images[token] = img
	return token
}

func (f *Files) remove(tokens []string) {
	for _, token := range tokens {
		if img, ok := f.Take(token); ok {
			_ = os.Remove(img.Path)
		}
	}
}

// spooledBody is an answer without its images. Closed before its end, it takes
// the files with it: nobody can know the tokens.
type spooledBody struct {
	rest  *bytes.Buffer
	files *Files
	made  []string
}

func (b *spooledBody) Read(p []byte) (int, error) { return b.rest.Read(p) }

func (b *spooledBody) Close() error {
	if b.rest.Len() > 0 {
		b.files.remove(b.made)
	}
	return nil
}

// imageFile writes one image and learns what it is on the way.
type imageFile struct {
	file   *os.File
	left   int64 // bytes still allowed
	size   int64
	sum    *digest
	head   []byte // first 12 bytes
	padded bool   // the last chunk of base64 ended it
}

func (f *Files) create(maxBytes int64) (*imageFile, error) {
	file, err := os.CreateTemp(f.dir, "image-*")
	if err != nil {
		return nil, fmt.Errorf("create image file: %w", err)
	}
	return &imageFile{file: file, left: maxBytes, sum: newDigest(), head: make([]byte, 0, 12)}, nil
}

// decode appends a chunk of base64, of which every one but the last must hold
// whole groups of four. scratch must have room for the decoded bytes.
func (f *imageFile) decode(chunk, scratch []byte) error {
	if len(chunk) == 0 {
		return nil
	}
	if f.padded {
		return ErrInvalidBase64
	}
	f.padded = chunk[len(chunk)-1] == '='
	n, err := simd.StdEncoding.Decode(scratch, chunk)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidBase64, err)
	}
	return f.write(scratch[:n])
}

func (f *imageFile) write(p []byte) error {
	f.left -= int64(len(p))
	if f.left < 0 {
		return ErrImageTooLarge
	}
	f.size += int64(len(p))
	f.head = append(f.head, p[:min(len(p), cap(f.head)-len(f.head))]...)
	f.sum.add(p)
	if _, err := f.file.Write(p); err != nil {
		return fmt.Errorf("write image file: %w", err)
	}
	return nil
}

// finish closes the file. If that fails, the file is gone.
func (f *imageFile) finish() (Image, error) {
	img := Image{Path: f.file.Name(), MediaType: mediaType(f.head), Bytes: f.size}
	f.sum.end(img.SHA256[:0])
	if err := f.file.Close(); err != nil {
		_ = os.Remove(img.Path)
		return Image{}, fmt.Errorf("close image file: %w", err)
	}
	return img, nil
}

func (f *imageFile) abandon() {
	f.sum.wait()
	_ = f.file.Close()
	_ = os.Remove(f.file.Name())
}

// mediaType tells an image by its first 12 bytes. It is "" for anything but PNG,
// JPEG and WebP.
func mediaType(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WEBP":
		return "image/webp"
	}
	return ""
}

// quote is the token as it stands in the answer.
func quote(token string) string {
	return `"` + base64.StdEncoding.EncodeToString([]byte(token)) + `"`
}

var _ io.ReadCloser = (*spooledBody)(nil)
