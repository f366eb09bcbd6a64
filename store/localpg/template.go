package localpg

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// templateLife is how long an unused cached cluster is kept.
const templateLife = 7 * 24 * time.Hour

// copyTemplate makes data a copy of a cached empty cluster, which the first
// process to need it makes.
func copyTemplate(ctx context.Context, bin binaries, id identity, data string) error {
	root, err := scratchRoot(id, false)
	if err != nil {
		return err
	}
	template := filepath.Join(root, fmt.Sprintf("cluster-%d-%s", bin.major, bin.fingerprint(id)))
	lock, err := lockTemplate(ctx, template, bin, id)
	if err != nil {
		return err
	}
	defer unlock(lock)
	if err := copyTree(ctx, template, data, id); err != nil {
		return fmt.Errorf("copy the cached cluster: %w", err)
	}
	return nil
}

// lockTemplate returns a shared lock on the cached cluster, making the cluster
// if it is missing.
func lockTemplate(ctx context.Context, template string, bin binaries, id identity) (*os.File, error) {
	path := template + ".lock"
	for {
		lock, err := lockWait(ctx, path, true)
		if err != nil || exists(template) {
			return lock, err
		}
		unlock(lock)
		if lock, err = lockWait(ctx, path, false); err != nil {
			return nil, err
		}
		if !exists(template) {
			pruneTemplates(filepath.Dir(template))
			err = initCluster(ctx, bin, id, template, false)
		}
		unlock(lock)
		if err != nil {
			return nil, err
		}
	}
}

// pruneTemplates removes cached clusters that were last used long ago, of
// programs since replaced. What cannot be removed stays for the next time.
func pruneTemplates(root string) {
	locks, err := filepath.Glob(filepath.Join(root, "cluster-*.lock"))
	if err != nil {
		return
	}
	for _, path := range locks {
		template := path[:len(path)-len(".lock")]
		info, err := os.Stat(template)
		if err != nil || time.Since(info.ModTime()) < templateLife {
			continue
		}
		lock, err := openLock(path)
		if err != nil {
			continue
		}
		if ok, err := tryLock(lock, false); ok && err == nil {
			_ = os.RemoveAll(template) // See above.
		}
		unlock(lock)
	}
}

// copyTree copies the directories and regular files of a cluster, and marks
// the source as used now.
func copyTree(ctx context.Context, from, to string, id identity) error {
	if err := os.Chtimes(from, time.Time{}, time.Now()); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		target := to + path[len(from):]
		if entry.IsDir() {
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return id.own(target)
		}
		group.Go(func() error { return copyFile(path, target, id) })
		return nil
	})
	if waitErr := group.Wait(); waitErr != nil {
		return waitErr
	}
	return err
}

func copyFile(from, to string, id identity) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // It was only read.
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := dst.Close(); err == nil {
			err = closeErr
		}
	}()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return id.own(to)
}
