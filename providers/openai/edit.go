package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strconv"

	"github.com/nanobanana/nanobanana/providers"
)

// What the API takes, so that nobody uploads what it will refuse
// (developers.openai.com/api/reference/resources/images/methods/edit).
const (
	maxReferences     = 16
	maxReferenceBytes = 50_000_000 // of each
	maxMaskBytes      = 4_000_000
)

// extensions are the formats that the API takes, and the names it knows them by.
var extensions = map[string]string{"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

// A form is a multipart body whose files are read while it is sent.
type form struct {
	contentType string
	parts       []part
	tail        []byte
	length      int64
}

// part is the bytes between two files, and the file after them.
type part struct {
	head []byte
	path string
	size int64
}

// edit is the HTTP request for an image made from others.
func (p *Provider) edit(ctx context.Context, req providers.Request) (*http.Request, *providers.Error) {
	f, err := newForm(req)
	var disk *os.PathError
	switch {
	case errors.As(err, &disk):
		return nil, &providers.Error{Kind: providers.KindLocal, Provider: p.name, Message: "a reference can not be read", Err: err}
	case err != nil:
		return nil, p.unusable(err)
	}
	body, err := f.open()
	if err != nil {
		return nil, &providers.Error{Kind: providers.KindLocal, Provider: p.name, Message: "a reference can not be read", Err: err}
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base.JoinPath("v1/images/edits").String(), body)
	if err != nil {
		_ = body.Close() // nothing was read
		return nil, p.unusable(fmt.Errorf("make request: %w", err))
	}
	call.ContentLength, call.GetBody = f.length, f.open
	call.Header.Set("Content-Type", f.contentType)
	p.sign(call)
	return call, nil
}

// newForm lays the body out. It looks at the files but does not read them. It
// has no moderation field, which the API knows for generations only.
func newForm(req providers.Request) (*form, error) {
	if len(req.References) == 0 || len(req.References) > maxReferences {
		return nil, fmt.Errorf("%d references; an edit takes 1 to %d", len(req.References), maxReferences)
	}
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	f := &form{contentType: w.FormDataContentType()}
	fields := [][2]string{
		{"model", req.Model}, {"prompt", req.Text()}, {"n", "1"}, {"size", size(req)}, {"quality", quality(req)},
		{"background", req.Background}, {"output_format", outputFormat},
	}
	for _, field := range fields {
		if field[1] == "" {
			continue
		}
		if err := w.WriteField(field[0], field[1]); err != nil {
			return nil, fmt.Errorf("write field %s: %w", field[0], err)
		}
	}
	for i, ref := range req.References {
		if err := f.add(w, &text, "image[]", "image-"+strconv.Itoa(i+1), ref, maxReferenceBytes); err != nil {
			return nil, err
		}
	}
	if req.Mask != nil {
		if err := f.add(w, &text, "mask", "mask", *req.Mask, maxMaskBytes); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close form: %w", err)
	}
	f.tail = bytes.Clone(text.Bytes())
	f.length += int64(len(f.tail))
	return f, nil
}

// add ends the text so far with a file's headers, and notes the file.
func (f *form) add(w *multipart.Writer, text *bytes.Buffer, field, name string, file providers.File, limit int64) error {
	extension, ok := extensions[file.MediaType]
	if !ok || field == "mask" && file.MediaType != "image/png" {
		return fmt.Errorf("%s is %q; an edit takes PNG, JPEG and WebP, and as a mask PNG", name, file.MediaType)
	}
	info, err := os.Stat(file.Path)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if info.Size() >= limit {
		return fmt.Errorf("%s has %d bytes; an edit takes less than %d", name, info.Size(), limit)
	}
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", fmt.Sprintf(`form-data; name="%s"; filename="%s%s"`, field, name, extension))
	header.Set("Content-Type", file.MediaType)
	if _, err := w.CreatePart(header); err != nil {
		return fmt.Errorf("write part %s: %w", name, err)
	}
	head := bytes.Clone(text.Bytes())
	text.Reset()
	f.parts = append(f.parts, part{head: head, path: file.Path, size: info.Size()})
	f.length += int64(len(head)) + info.Size()
	return nil
}

// open returns the body from its beginning.
func (f *form) open() (io.ReadCloser, error) {
	var readers []io.Reader
	body := &openForm{}
	for _, p := range f.parts {
		file, err := os.Open(p.path)
		if err != nil {
			_ = body.Close() // files that were only opened
			return nil, fmt.Errorf("open reference: %w", err)
		}
		body.files = append(body.files, file)
		readers = append(readers, bytes.NewReader(p.head), &wholeFile{file: file, left: p.size})
	}
	body.Reader = io.MultiReader(append(readers, bytes.NewReader(f.tail))...)
	return body, nil
}

// openForm is a body with its files open.
type openForm struct {
	io.Reader
	files []*os.File
}

// Close implements io.Closer.
func (f *openForm) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// wholeFile reads as many bytes of a file as were announced, and fails with an
// *os.PathError if there are fewer.
type wholeFile struct {
	file *os.File
	left int64
}

// Read implements io.Reader.
func (r *wholeFile) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = &os.PathError{Op: "read", Path: r.file.Name(), Err: io.ErrUnexpectedEOF}
	}
	return n, err
}
