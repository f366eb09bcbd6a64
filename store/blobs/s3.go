package blobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// putIDKey is the metadata entry with the random id of the Put that stored an
// object.
const putIDKey = "put-id"

var _ Store = (*S3)(nil)

// An S3 is a Store in a bucket of Cloudflare R2, Amazon S3 or any server that
// speaks their protocol and honours If-None-Match on PutObject.
type S3 struct {
	client   *s3.Client
	bucket   string
	prefix   string // empty, or ends in "/"
	pageSize int32
}

// Put uploads the file in one request. It tries again after network errors, and
// knows an object that an attempt without an answer has left for its own.
func (s *S3) Put(ctx context.Context, key, path string, opts PutOptions) error {
	if err := checkKey(key); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	id := rand.Text()
	input := &s3.PutObjectInput{
		Bucket:        &s.bucket,
		Key:           s.objectKey(key),
		Body:          f,
		ContentLength: aws.Int64(info.Size()),
		IfNoneMatch:   aws.String("*"),
		Metadata:      map[string]string{putIDKey: id},
	}
	if opts.ContentType != "" {
		input.ContentType = &opts.ContentType
	}
	if _, err := s.client.PutObject(ctx, input); err != nil {
		if err := s.resolvePut(ctx, key, id, err); err != nil {
			return fmt.Errorf("put blob %s: %w", key, err)
		}
	}
	return nil
}

// resolvePut turns the error of a PutObject into the outcome of the Put. An
// attempt may have stored the object although its answer was lost: the next one
// is then refused, as if somebody else had been first, or there is none.
func (s *S3) resolvePut(ctx context.Context, key, id string, putErr error) error {
	status := httpStatus(putErr)
	if status != 0 && status != http.StatusPreconditionFailed {
		return putErr
	}
	head, err := s.head(ctx, key)
	switch {
	case err == nil && head.Metadata[putIDKey] == id:
		return nil
	case err == nil || status == http.StatusPreconditionFailed:
		return ErrExists
	}
	return putErr
}

// Open asks for the blob's size at once and for its bytes with the first Read
// after each Seek. The context governs the reads too. A blob that is replaced
// between two requests is an error of Read, not a mixture.
func (s *S3) Open(ctx context.Context, key string) (io.ReadSeekCloser, Info, error) {
	if err := checkKey(key); err != nil {
		return nil, Info{}, err
	}
	head, err := s.head(ctx, key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	info := headInfo(key, head)
	r := &s3Reader{
		ctx:  ctx,
		s3:   s,
		key:  key,
		etag: head.ETag,
		size: info.Bytes,
	}
	return r, info, nil
}

// Stat returns what is known of the blob.
func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	head, err := s.head(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("stat blob %s: %w", key, err)
	}
	return headInfo(key, head), nil
}

// Delete removes the blob.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	input := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.objectKey(key)}
	_, err := s.client.DeleteObject(ctx, input)
	if err = s3Error(err); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	return nil
}

// List passes over objects whose keys are not those of blobs. It tells no
// content types.
func (s *S3) List(ctx context.Context, prefix string, fn func(Info) bool) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	input := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: s.objectKey(prefix)}
	if s.pageSize > 0 {
		input.MaxKeys = &s.pageSize
	}
	pages := s3.NewListObjectsV2Paginator(s.client, input)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list blobs below %q: %w", prefix, s3Error(err))
		}
		for _, object := range page.Contents {
			key := strings.TrimPrefix(aws.ToString(object.Key), s.prefix)
			if checkKey(key) != nil {
				continue
			}
			info := Info{
				Key:        key,
				Bytes:      aws.ToInt64(object.Size),
				ModifiedAt: aws.ToTime(object.LastModified),
			}
			if !fn(info) {
				return nil
			}
		}
	}
	return nil
}

// Check asks for the bucket.
func (s *S3) Check(ctx context.Context) error {
	if _, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket}); err != nil {
		return fmt.Errorf("check bucket %s: %w", s.bucket, s3Error(err))
	}
	return nil
}

func (s *S3) objectKey(key string) *string { return aws.String(s.prefix + key) }

func (s *S3) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.objectKey(key)})
	return head, s3Error(err)
}

func headInfo(key string, head *s3.HeadObjectOutput) Info {
	return Info{
		Key:         key,
		Bytes:       aws.ToInt64(head.ContentLength),
		ContentType: aws.ToString(head.ContentType),
		ModifiedAt:  aws.ToTime(head.LastModified),
	}
}

// httpStatus returns the status of the response that err tells of, or 0 if
// there was none.
func httpStatus(err error) int {
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}
