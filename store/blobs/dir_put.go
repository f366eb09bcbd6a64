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

// adopt makes a private, durable name for the bytes of source and returns it.
// Only with a name that nobody else knows can what is published be the file
// that was synced, whatever becomes of source meanwhile.
func (d *Dir) adopt(ctx context.Context, source string) (temp string, err error) {
	src, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", source)
	}
	temp = path.Join(tempDir, "put-"+rand.Text())
	if d.linkTemp(source, info, temp) {
		err = d.touchAndSync(src, temp)
	} else {
		err = d.copyTemp(ctx, src, temp)
	}
	if err != nil {
		_ = d.root.Remove(temp)
		return "", err
	}
	return temp, nil
}

// linkTemp links source, which is the file described by info, to temp. It
// reports whether it could.
func (d *Dir) linkTemp(source string, info fs.FileInfo, temp string) bool {
	if info.Mode().Perm() != fileMode {
		return false
	}
	if err := os.Link(source, filepath.Join(d.path, temp)); err != nil {
		return false // another filesystem, or one that forbids it
	}
	linked, err := d.root.Lstat(temp)
	if err == nil && os.SameFile(info, linked) {
		return true
	}
	// Source is a symbolic link, or was replaced since it was opened.
	_ = d.root.Remove(temp)
	return false
}

// touchAndSync makes the file durable. Its time becomes now: ModifiedAt tells
// when a blob was put, not when its bytes were written.
func (d *Dir) touchAndSync(src *os.File, temp string) error {
	now := time.Now()
	if err := d.root.Chtimes(temp, now, now); err != nil {
		return err
	}
	return src.Sync()
}

func (d *Dir) copyTemp(ctx context.Context, src *os.File, temp string) error {
	dst, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(dst, src, copyChunk)
		}
	}
	if errors.Is(err, io.EOF) {
		err = dst.Sync()
	}
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	return err
}

// publish gives temp the blob's name, unless it is taken, and returns when the
// name is durable.
func (d *Dir) publish(ctx context.Context, temp, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := d.link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		// Whoever made it may not have synced it yet, and may still die.
		if err := d.syncParents(name); err != nil {
			return err
		}
		return ErrExists
	}
	if err != nil {
		return err
	}
	if err := d.syncParents(name); err != nil {
		return errors.Join(err, d.root.Remove(name))
	}
	return nil
}

func (d *Dir) link(temp, name string) error {
	err := d.root.Link(temp, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.root.MkdirAll(path.Dir(name), dirMode); err != nil {
		return err
	}
	return d.root.Link(temp, name)
}

func (d *Dir) syncParents(name string) error {
	for dir := path.Dir(name); dir != blobsDir; dir = path.Dir(dir) {
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the names in a directory durable. Concurrent calls need no
// grouping: the filesystem's journal commits them together.
func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
