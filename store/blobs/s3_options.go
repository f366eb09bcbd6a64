package blobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

const (
	defaultAttempts = 5

	// idleConns is how many connections are kept for the next requests. A
	// worker has some hundred uploads in flight; the SDK would keep ten.
	idleConns = 256
)

var errClosed = fs.ErrClosed

// S3Options say where the bucket is and who may use it.
type S3Options struct {
	// Bucket is required, and must exist.
	Bucket string

	// Prefix comes before all keys, with a "/" between. Empty for none.
	Prefix string

	// Endpoint is the server's URL, for R2
	// "https://ACCOUNT.r2.cloudflarestorage.com". Empty for Amazon's, or for
	// what AWS_ENDPOINT_URL_S3 says.
	Endpoint string

	// Region is what AWS_REGION or the shared configuration says if it is
	// empty, or else "auto", as R2 wants it, where the endpoint is not Amazon's.
	Region string

	// AccessKeyID and SecretAccessKey are found as all programs of Amazon find
	// them if both are empty: AWS_ACCESS_KEY_ID, shared configuration, roles.
	AccessKeyID     string
	SecretAccessKey string

	// PathStyle puts the bucket into the path of URLs instead of the host name.
	PathStyle bool

	// PageSize is how many keys List asks for in one request, at most 1,000.
	// The server decides if it is 0.
	PageSize int32

	// Attempts is how often a request that fails for want of a network or of a
	// server that works is sent; 0 is 5, with up to 15 seconds between them all.
	Attempts int

	// HTTPClient sends the requests. One of our own is used if it is nil.
	HTTPClient *http.Client
}

func (o S3Options) validate() error {
	var errs []error
	if o.Bucket == "" {
		errs = append(errs, errors.New("the bucket is missing"))
	}
	if (o.AccessKeyID == "") != (o.SecretAccessKey == "") {
		errs = append(errs, errors.New("access key id and secret access key go together"))
	}
	if prefix := strings.Trim(o.Prefix, "/"); checkPrefix(prefix) != nil {
		errs = append(errs, fmt.Errorf("the prefix %q is not one for keys", o.Prefix))
	}
	return errors.Join(errs...)
}

// OpenS3 returns a store in the bucket. It sends nothing: call Check to learn
// whether the bucket is there.
func OpenS3(ctx context.Context, opts S3Options) (*S3, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", opts.Bucket, err)
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts.load)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: load configuration: %w", opts.Bucket, err)
	}
	client := s3.NewFromConfig(cfg, opts.configure)
	if client.Options().Region == "" {
		return nil, fmt.Errorf("open bucket %s: the region is missing", opts.Bucket)
	}
	prefix := strings.Trim(opts.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &S3{client: client, bucket: opts.Bucket, prefix: prefix, pageSize: opts.PageSize}, nil
}

func (o S3Options) load(load *config.LoadOptions) error {
	load.Region = o.Region
	if o.AccessKeyID != "" {
		load.Credentials = credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, "")
	}
	load.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = idleConns
		t.MaxIdleConnsPerHost = idleConns
	})
	return nil
}

// configure keeps to what R2 implements of S3
// (https://developers.cloudflare.com/r2/api/s3/api/): no checksum trailers and
// no 100-continue, for which an upload would wait a second in vain.
func (o S3Options) configure(c *s3.Options) {
	if o.HTTPClient != nil {
		c.HTTPClient = o.HTTPClient
	}
	if o.Endpoint != "" {
		c.BaseEndpoint = aws.String(o.Endpoint)
	}
	if c.Region == "" && c.BaseEndpoint != nil {
		c.Region = "auto"
	}
	c.UsePathStyle = o.PathStyle
	c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	c.ContinueHeaderThresholdBytes = -1
	// R2: one write a second for each key. Amazon: two conditional writes at
	// once (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
	standard := retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = cmp.Or(o.Attempts, defaultAttempts)
	})
	c.Retryer = retry.AddWithErrorCodes(standard, "TooManyRequests", "ConditionalRequestConflict")
	if c.BaseEndpoint == nil || strings.HasPrefix(*c.BaseEndpoint, "https://") {
		// TLS keeps the bytes whole; a signature over them would read each file
		// twice.
		c.APIOptions = append(c.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

// s3Error returns ErrNotFound in place of the errors that mean it. A missing
// bucket, which has the same status, is not one of them.
func s3Error(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "NoSuchKey", "NotFound":
			return ErrNotFound
		}
	}
	return err
}
