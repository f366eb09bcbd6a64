// Package s3 tests store/blobs against an S3 server inside the test process. It
// is a package of its own because that server changes the working directory.
package s3
