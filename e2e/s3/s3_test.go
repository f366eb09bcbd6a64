package s3_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/blobs/blobstest"
)

func TestS3(t *testing.T) {
	t.Parallel()
	gateway := startGateway(t)

	t.Run("HTTP", func(t *testing.T) {
		t.Parallel()
		blobstest.Run(t, func(t *testing.T) blobs.Store {
			return openS3(t, gateway.options(gateway.transport))
		})
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		proxy := httptest.NewTLSServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
				r.Out.Host = r.In.Host // it is signed
			},
			Transport: gateway.transport,
		})
		t.Cleanup(proxy.Close)
		opts := gateway.options(proxy.Client().Transport)
		opts.Endpoint = proxy.URL
		blobstest.Run(t, func(t *testing.T) blobs.Store { return openS3(t, opts) })
	})
	t.Run("AnswerLost", func(t *testing.T) {
		t.Parallel()
		testAnswerLost(t, gateway)
	})
	t.Run("AnswerLostToAnother", func(t *testing.T) {
		t.Parallel()
		testAnswerLostToAnother(t, gateway)
	})
	t.Run("Replaced", func(t *testing.T) {
		t.Parallel()
		testReplaced(t, gateway)
	})
	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		testRequests(t, gateway)
	})
	t.Run("ForeignObjects", func(t *testing.T) {
		t.Parallel()
		testForeignObjects(t, gateway)
	})
	t.Run("BucketMissing", func(t *testing.T) {
		t.Parallel()
		testBucketMissing(t, gateway)
	})
}

// TestR2 runs where R2_TEST_BUCKET and its companions name a real bucket. It
// writes below a prefix of its own, and deletes that.
func TestR2(t *testing.T) {
	t.Parallel()
	opts := blobs.S3Options{
		Bucket:          os.Getenv("R2_TEST_BUCKET"),
		Endpoint:        os.Getenv("R2_TEST_ENDPOINT"),
		AccessKeyID:     os.Getenv("R2_TEST_ACCESS_KEY_ID"),
		SecretAccessKey: os.Getenv("R2_TEST_SECRET_ACCESS_KEY"),
		PageSize:        7,
	}
	if opts.Bucket == "" {
		t.Log("R2_TEST_BUCKET is not set: only the S3 server of TestS3 was tried")
		return
	}
	blobstest.Run(t, func(t *testing.T) blobs.Store { return openS3(t, opts) })
}

// openS3 returns a store below a prefix that nobody else uses, unless opts has
// one. Prefixes share no parent: the gateway's posix backend makes and removes
// parents as directories, and a Put may meet the removal.
func openS3(t *testing.T, opts blobs.S3Options) *blobs.S3 {
	t.Helper()
	if opts.Prefix == "" {
		opts.Prefix = "e2e-" + rand.Text()
	}
	store, err := blobs.OpenS3(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		var keys []string
		err := store.List(ctx, "", func(info blobs.Info) bool {
			keys = append(keys, info.Key)
			return true
		})
		for _, key := range keys {
			err = errors.Join(err, store.Delete(ctx, key))
		}
		if err != nil {
			t.Errorf("empty the store: %v", err)
		}
	})
	return store
}

// testAnswerLost cuts the connection after the server has stored the object.
func testAnswerLost(t *testing.T, gateway *gateway) {
	lossy := &lossyTransport{next: gateway.transport}
	lossy.left.Store(1)
	opts := gateway.options(lossy)
	opts.Attempts = 2
	store := openS3(t, opts)
	if err := store.Put(t.Context(), "a", sourceFile(t, "mine"), blobs.PutOptions{}); err != nil {
		t.Errorf("Put whose first answer is lost: %v", err)
	}

	lossy.left.Store(100)
	if err := store.Put(t.Context(), "b", sourceFile(t, "mine"), blobs.PutOptions{}); err != nil {
		t.Errorf("Put whose every answer is lost: %v", err)
	}
	for _, key := range []string{"a", "b"} {
		if diff := cmp.Diff("mine", read(t, store, key)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

// testAnswerLostToAnother loses the refusals too: equal bytes are no proof that
// the object is ours.
func testAnswerLostToAnother(t *testing.T, gateway *gateway) {
	lossy := &lossyTransport{next: gateway.transport}
	opts := gateway.options(lossy)
	opts.Attempts = 2
	store := openS3(t, opts)
	if err := store.Put(t.Context(), "a", sourceFile(t, "same"), blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []int32{1, 100} {
		lossy.left.Store(lost)
		err := store.Put(t.Context(), "a", sourceFile(t, "same"), blobs.PutOptions{})
		if !errors.Is(err, blobs.ErrExists) {
			t.Errorf("%d answers lost: want ErrExists, got %v", lost, err)
		}
	}
}

func testReplaced(t *testing.T, gateway *gateway) {
	store := openS3(t, gateway.options(gateway.transport))
	if err := store.Put(t.Context(), "a", sourceFile(t, "before"), blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r, _, err := store.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, blobs.ErrNotFound) {
		t.Errorf("read what was deleted: want ErrNotFound, got %v", err)
	}
	if err := store.Put(t.Context(), "a", sourceFile(t, "after!"), blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("read what was replaced: want an error that says so, got %v", err)
	}
}

// testRequests holds requests to what R2 implements.
func testRequests(t *testing.T, gateway *gateway) {
	recorder := &recordingTransport{next: gateway.transport}
	store := openS3(t, gateway.options(recorder))
	data := strings.Repeat("x", 3<<20) // above the SDK's threshold for 100-continue
	if err := store.Put(t.Context(), "a", sourceFile(t, data), blobs.PutOptions{ContentType: "image/png"}); err != nil {
		t.Fatal(err)
	}
	sent := recorder.first.Load()
	if diff := cmp.Diff(int64(len(data)), sent.ContentLength); diff != "" {
		t.Errorf("content length (-want +got):\n%s", diff)
	}
	want := map[string]string{"If-None-Match": "*", "Content-Type": "image/png", "Expect": "", "Content-Encoding": ""}
	got := map[string]string{}
	for name := range want {
		got[name] = sent.Header.Get(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	for name := range sent.Header {
		for _, refused := range []string{"X-Amz-Checksum", "X-Amz-Sdk-Checksum", "X-Amz-Trailer", "X-Amz-Acl", "X-Amz-Tagging"} {
			if strings.HasPrefix(name, refused) {
				t.Errorf("header %s was sent", name)
			}
		}
	}
	if auth := sent.Header.Get("Authorization"); !strings.Contains(auth, "/auto/s3/") {
		t.Errorf("signed for another region than auto: %s", auth)
	}
}

// testForeignObjects lists past objects that others have put beside ours.
func testForeignObjects(t *testing.T, gateway *gateway) {
	opts := gateway.options(gateway.transport)
	opts.Prefix = "/foreign/" // slashes around it mean nothing
	store := openS3(t, opts)
	if err := store.Put(t.Context(), "b", sourceFile(t, "ours"), blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"foreign/a b", "foreign/folder/", "foreigner"} {
		gateway.put(t, key)
	}
	var keys []string
	err := store.List(t.Context(), "", func(info blobs.Info) bool {
		keys = append(keys, info.Key)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// testBucketMissing wants a missing bucket to look like the misconfiguration it
// is, not like missing blobs.
func testBucketMissing(t *testing.T, gateway *gateway) {
	opts := gateway.options(gateway.transport)
	opts.Bucket = "no-such-bucket"
	store, err := blobs.OpenS3(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]error{
		"Check":  store.Check(t.Context()),
		"Put":    store.Put(t.Context(), "a", sourceFile(t, ""), blobs.PutOptions{}),
		"Delete": store.Delete(t.Context(), "a"),
		"List":   store.List(t.Context(), "", func(blobs.Info) bool { return true }),
	}
	for name, err := range errs {
		if err == nil || name != "Check" && errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("%s: want an error that is not ErrNotFound, got %v", name, err)
		}
	}
}
