package blobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600

	tempDir = "tmp"

	// leftoverAge is how long an unchanged temporary file is taken to be
	// somebody's work in progress.
	leftoverAge = 24 * time.Hour

	// copyChunk is how much is copied between two looks at the context.
	copyChunk = 8 << 20
)

var _ Store = (*Dir)(nil)

// A Dir is a Store in a directory of a local filesystem. Any number of
// processes on one machine may use the same directory at once.
//
// Everything in it is readable by its owner only, and is reached through
// os.Root, so that a symbolic link planted inside never leads outside. The
// filesystem must have hard links. The content type of a blob is that of its
// key's extension; PutOptions.ContentType is not kept.
type Dir struct {
	root *os.Root
	path string // absolute
}

// OpenDir opens the store at path, and makes it with the parents it lacks. It
// removes temporary files that have been left alone for a day.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open blob directory %s: %w", path, err)
	}
	if err := mkdirAllSynced(abs); err != nil {
		return nil, fmt.Errorf("open blob directory %s: %w", path, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open blob directory %s: %w", path, err)
	}
	d := &Dir{root: root, path: abs}
	if err := errors.Join(d.makeLayout(), d.removeLeftovers()); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob directory %s: %w", path, err), root.Close())
	}
	return d, nil
}

// Close releases the directory. Readers from Open stay usable.
func (d *Dir) Close() error { return d.root.Close() }

// TempDir is the absolute path of a directory for files that will be put. What
// stays in it for a day is removed by the next OpenDir.
func (d *Dir) TempDir() string { return filepath.Join(d.path, tempDir) }

// Put stores the file at source under key.
//
// No bytes are copied if source is on the store's filesystem with mode 0600, as
// os.CreateTemp makes files in TempDir: the blob is then another name of the
// same file, so the caller may remove source but must not write to it again.
// Any other file is copied.
func (d *Dir) Put(ctx context.Context, key, source string, _ PutOptions) error {
	name, err := blobName(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	temp, err := d.adopt(ctx, source)
	if err == nil {
		err = d.publish(ctx, temp, name)
		// A name that stays is removed as a leftover.
		_ = d.root.Remove(temp)
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	return nil
}

// Open returns a reader on the file, an *os.File.
func (d *Dir) Open(ctx context.Context, key string) (io.ReadSeekCloser, Info, error) {
	want, err := d.lstat(ctx, key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	name, err := blobName(key)
	if err != nil {
		return nil, Info{}, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, Info{}, fmt.Errorf("open blob %s: %w", key, notFound(err))
	}
	got, err := f.Stat()
	if err == nil && !os.SameFile(want, got) {
		err = errors.New("the file was replaced while it was opened")
	}
	if err != nil {
		return nil, Info{}, errors.Join(fmt.Errorf("open blob %s: %w", key, err), f.Close())
	}
	return f, dirInfo(key, got), nil
}

// Stat returns what is known of the blob.
func (d *Dir) Stat(ctx context.Context, key string) (Info, error) {
	info, err := d.lstat(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("stat blob %s: %w", key, err)
	}
	return dirInfo(key, info), nil
}

// Delete removes the blob. A deletion may be undone by a crash of the machine
// in the seconds after it.
func (d *Dir) Delete(ctx context.Context, key string) error {
	name, err := blobName(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	return nil
}

// Check writes and removes a small file.
func (d *Dir) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check blob directory %s: %w", d.path, err)
	}
	name := path.Join(tempDir, "check-"+rand.Text())
	err := d.root.WriteFile(name, []byte("ok"), fileMode)
	if removeErr := d.root.Remove(name); err == nil {
		err = removeErr
	}
	if err != nil {
		return fmt.Errorf("check blob directory %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) lstat(ctx context.Context, key string) (fs.FileInfo, error) {
	name, err := blobName(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, notFound(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return info, nil
}

func dirInfo(key string, info fs.FileInfo) Info {
	return Info{
		Key:         key,
		Bytes:       info.Size(),
		ContentType: contentTypeOf(key),
		ModifiedAt:  info.ModTime(),
	}
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}
