package blobs_test

import (
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/store/blobs"
)

// What an S3 does is tested against a server, in the module e2e.

func TestOpenS3(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	tests := []struct {
		name string
		opts blobs.S3Options
		want string // part of the error; empty for none
	}{
		{"BucketMissing", blobs.S3Options{Endpoint: "http://r2.test"}, "the bucket is missing"},
		{"HalfAKey", blobs.S3Options{Bucket: "b", Region: "auto", AccessKeyID: "id"}, "go together"},
		{"BadPrefix", blobs.S3Options{Bucket: "b", Region: "auto", Prefix: "a/../b"}, `"a/../b"`},
		{"RegionMissing", blobs.S3Options{Bucket: "b"}, "the region is missing"},
		{"RegionOfR2", blobs.S3Options{Bucket: "b", Endpoint: "http://r2.test"}, ""},
		{"Amazon", blobs.S3Options{Bucket: "b", Region: "eu-central-1", Prefix: "/a/b/"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store, err := blobs.OpenS3(t.Context(), test.opts)
			switch {
			case test.want == "" && (err != nil || store == nil):
				t.Errorf("want a store, got %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}
