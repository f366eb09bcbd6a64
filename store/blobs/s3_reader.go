package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// An s3Reader reads one object, of which it never holds more than the network's
// buffers.
type s3Reader struct {
	ctx  context.Context // of Open; io.Reader has no room for one
	s3   *S3
	key  string
	etag *string
	size int64

	offset int64         // where the next Read reads
	body   io.ReadCloser // the object from offset on; nil until it is needed
	closed bool
}

func (r *s3Reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fmt.Errorf("read blob %s: %w", r.key, errClosed)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.offset >= r.size {
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.get(); err != nil {
			return 0, fmt.Errorf("read blob %s: %w", r.key, err)
		}
	}
	n, err := r.body.Read(p)
	r.offset += int64(n)
	if errors.Is(err, io.EOF) {
		if r.offset >= r.size {
			return n, io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("read blob %s: %w", r.key, err), r.closeBody())
	}
	return n, err
}

// Seek sends nothing. Seeking to where the reader stands keeps what is under
// way.
func (r *s3Reader) Seek(offset int64, whence int) (int64, error) {
	if r.closed {
		return 0, fmt.Errorf("seek blob %s: %w", r.key, errClosed)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, fmt.Errorf("seek blob %s: whence %d is unknown", r.key, whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek blob %s: offset %d is negative", r.key, offset)
	}
	if offset == r.offset {
		return offset, nil
	}
	r.offset = offset
	return offset, r.closeBody()
}

func (r *s3Reader) Close() error {
	r.closed = true
	return r.closeBody()
}

func (r *s3Reader) get() error {
	input := &s3.GetObjectInput{Bucket: &r.s3.bucket, Key: r.s3.objectKey(r.key), IfMatch: r.etag}
	if r.offset > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", r.offset))
	}
	out, err := r.s3.client.GetObject(r.ctx, input)
	if httpStatus(err) == http.StatusPreconditionFailed {
		return errors.New("the object was replaced while it was read")
	}
	if err != nil {
		return s3Error(err)
	}
	r.body = out.Body
	return nil
}

func (r *s3Reader) closeBody() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}
