package providers

import (
	"context"
	"os"
)

const (
	// writeBackStep is how many bytes of an image are written before the kernel
	// is asked to take them to the disk.
	writeBackStep = 256 << 10

	page = 4 << 10 // of the kernel's cache; larger ones are multiples
)

type writeBackKey struct{}

// WithWriteBack returns a context under which a Spool has the kernel write images
// to the disk while they arrive, without waiting for it. It is for images whose
// files are to be synced: the sync then finds little left to do. It promises no
// durability, and does nothing on systems other than Linux.
func WithWriteBack(ctx context.Context) context.Context {
	return context.WithValue(ctx, writeBackKey{}, true)
}

// WritesBack reports whether ctx comes from WithWriteBack.
func WritesBack(ctx context.Context) bool {
	on, _ := ctx.Value(writeBackKey{}).(bool)
	return on
}

// A writeBack has what is appended to a file written to the disk in steps. The
// zero value does nothing.
type writeBack struct {
	begin func(f *os.File, offset, n int64) error
	begun int64 // bytes of the file that are on their way
}

// reach begins what has not begun of a file's size bytes, if that is step bytes at
// least. It leaves out a last page in part, which the next bytes would have to
// wait for. Errors are left to the sync, whose they are.
func (b *writeBack) reach(f *os.File, size, step int64) {
	if n := (size - b.begun) &^ (page - 1); n >= step {
		b.start(f, n)
	}
}

// end begins what has not begun.
func (b *writeBack) end(f *os.File, size int64) {
	if n := size - b.begun; n > 0 {
		b.start(f, n)
	}
}

func (b *writeBack) start(f *os.File, n int64) {
	if b.begin != nil {
		_ = b.begin(f, b.begun, n)
	}
	b.begun += n
}
