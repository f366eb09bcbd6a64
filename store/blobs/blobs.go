// Package blobs keeps image bytes, on a disk or in an S3-compatible bucket.
package blobs

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrNotFound reports that no blob has the key.
	ErrNotFound = errors.New("blob not found")
	// ErrExists reports that a blob already has the key. Blobs are never
	// overwritten: whoever stored first wins.
	ErrExists = errors.New("blob exists")
	// ErrBadKey reports a key that is not one to ten segments of
	// [A-Za-z0-9._-] joined by "/", at most 512 bytes, none of them starting with ".".
	ErrBadKey = errors.New("bad blob key")
)

// A Store keeps blobs under keys. Implementations are safe for concurrent use.
type Store interface {
	// Put stores the file at path under key, whole or not at all, and durable
	// when it returns. It consumes nothing: the file stays the caller's.
	// It returns ErrExists if the key is taken.
	Put(ctx context.Context, key, path string, opts PutOptions) error

	// Open returns a reader of the blob that seeks without reading, for
	// http.ServeContent. It returns ErrNotFound if there is none.
	Open(ctx context.Context, key string) (io.ReadSeekCloser, Info, error)

	// Stat returns what is known of the blob without its bytes.
	Stat(ctx context.Context, key string) (Info, error)

	// Delete removes the blob. Deleting what is not there is no error.
	Delete(ctx context.Context, key string) error

	// List calls fn for each blob whose key begins with prefix, in the order of
	// the keys' bytes, until fn returns false. Of blobs that are put or deleted
	// meanwhile it may tell or not.
	List(ctx context.Context, prefix string, fn func(Info) bool) error

	// Check reports whether the store can be reached and used.
	Check(ctx context.Context) error
}

// PutOptions describe the bytes to store.
type PutOptions struct {
	ContentType string
}

// Info describes a stored blob.
type Info struct {
	Key         string
	Bytes       int64
	ContentType string // empty where the store does not keep it
	ModifiedAt  time.Time
}
