package s3_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/nanobanana/nanobanana/store/blobs"
)

const (
	gatewayBucket = "images"
	gatewayKey    = "test"
	gatewaySecret = "testsecret"
)

// A gateway is an S3 server on a Unix socket. There can be one in a process.
type gateway struct {
	transport *http.Transport
	client    *s3.Client
}

// startGateway returns a gateway with a bucket. It stops with the test.
func startGateway(t *testing.T) *gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "s3-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, data := filepath.Join(dir, "s"), filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	backend, err := posix.New(data, meta.XattrMeta{}, posix.PosixOpts{CopyObjectThreshold: 5 << 30})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	stopped := make(chan error, 1)
	go func() {
		stopped <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess:    gatewayKey,
			RootUserSecret:    gatewaySecret,
			Region:            "auto",
			Ports:             []string{socket},
			MaxConnections:    1000,
			MaxRequests:       1000,
			MultipartMaxParts: 10_000,
			KeepAlive:         true,
			Quiet:             true,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("gateway: %v", err)
		}
	})
	g := &gateway{transport: &http.Transport{
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	g.client = s3.New(s3.Options{
		BaseEndpoint: aws.String("http://gateway.test"),
		Region:       "auto",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(gatewayKey, gatewaySecret, ""),
		HTTPClient:   &http.Client{Transport: g.transport},
	})
	g.makeBucket(t)
	return g
}

// makeBucket tries until the gateway listens.
func (g *gateway) makeBucket(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := g.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(gatewayBucket)})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("make a bucket: %v", err)
		}
	}
}

// options open a store in the gateway's bucket.
func (g *gateway) options(transport http.RoundTripper) blobs.S3Options {
	return blobs.S3Options{
		Bucket:          gatewayBucket,
		Endpoint:        "http://gateway.test",
		AccessKeyID:     gatewayKey,
		SecretAccessKey: gatewaySecret,
		PathStyle:       true,
		PageSize:        7,
		HTTPClient:      &http.Client{Transport: transport},
	}
}

// put stores an empty object past our code.
func (g *gateway) put(t *testing.T, key string) {
	t.Helper()
	_, err := g.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(gatewayBucket), Key: &key})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// A lossyTransport has PUT requests served and then loses their answers.
type lossyTransport struct {
	next http.RoundTripper
	left atomic.Int32 // answers still to lose
}

func (l *lossyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodPut || l.left.Add(-1) < 0 {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
}

// A recordingTransport keeps the first request.
type recordingTransport struct {
	next  http.RoundTripper
	first atomic.Pointer[http.Request]
}

func (r *recordingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	r.first.CompareAndSwap(nil, req.Clone(req.Context()))
	return r.next.RoundTrip(req)
}

func sourceFile(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, store blobs.Store, key string) string {
	t.Helper()
	r, _, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var data strings.Builder
	if _, err := io.Copy(&data, r); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data.String()
}
