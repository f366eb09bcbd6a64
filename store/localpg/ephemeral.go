package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// openEphemeral makes and locks a new directory for a throwaway server, after
// removing those of processes that were killed.
func (h *home) openEphemeral(ctx context.Context, opts Options, id identity) error {
	parent := opts.Dir
	if parent == "" {
		var err error
		if parent, err = scratchRoot(id, opts.Durable); err != nil {
			return err
		}
	} else if err := os.MkdirAll(parent, id.parentMode()); err != nil {
		return fmt.Errorf("make the local database's directory: %w", err)
	}
	parent, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", parent, err)
	}

	if blocked := blockedParent(parent); id.drop && blocked != "" {
		return fmt.Errorf("make the local database's directory: the account of the server cannot pass %s", blocked)
	}

	// Held until the new directory's own lock is, lest another process take
	// it for an abandoned one.
	guard, err := lockWait(ctx, filepath.Join(parent, "lock"), false)
	if err != nil {
		return err
	}
	defer unlock(guard)
	if err := sweep(ctx, parent); err != nil {
		opts.Logger.Warn("abandoned local databases stay", "dir", parent, "error", err)
	}
	if h.base, err = os.MkdirTemp(parent, "run-"); err != nil {
		return fmt.Errorf("make the local database's directory: %w", err)
	}
	if h.lock, err = lockNow(filepath.Join(h.base, "lock")); err != nil {
		return errors.Join(err, os.RemoveAll(h.base))
	}
	return nil
}

// discard removes the directory of a throwaway server. Under its new name a
// sweep by another process does not recreate the lock in it.
func discard(base string) error {
	gone := filepath.Join(filepath.Dir(base), "gone-"+filepath.Base(base))
	if err := os.Rename(base, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// scratchRoot returns the private directory of this account that holds its
// throwaway servers and cached clusters: in memory if there is room, unless
// onDisk, else in the temporary directory.
func scratchRoot(id identity, onDisk bool) (string, error) {
	candidates := []string{memoryDir(), os.TempDir(), "/var/tmp"}
	if onDisk {
		candidates = []string{os.TempDir(), "/var/tmp"}
		if inMemory(os.TempDir()) {
			candidates = []string{"/var/tmp", os.TempDir()}
		}
	}
	name := "nanobanana-" + strconv.Itoa(os.Geteuid())
	var errs []error
	for _, dir := range candidates {
		if dir == "" || id.drop && blockedParent(dir) != "" {
			continue
		}
		dir = filepath.Join(dir, name)
		err := privateDir(dir, id.parentMode())
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a temporary directory for the local database: %w", errors.Join(errs...))
}

// sweep removes the directories in parent whose process has ended, and stops
// their servers. The caller holds the lock of parent.
func sweep(ctx context.Context, parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, "run-*"))
	if err != nil {
		return fmt.Errorf("list local databases: %w", err)
	}
	discarded, err := filepath.Glob(filepath.Join(parent, "gone-run-*"))
	if err != nil {
		return fmt.Errorf("list local databases: %w", err)
	}
	var errs []error
	for _, dir := range discarded {
		errs = append(errs, os.RemoveAll(dir))
	}
	for _, dir := range dirs {
		lock, err := lockNow(filepath.Join(dir, "lock"))
		if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		h := home{base: dir, seat: dir, lock: lock, ephemeral: true}
		if socket, err := socketDir(dir); err == nil {
			h.socket = socket
		}
		clusters, _ := filepath.Glob(filepath.Join(dir, "pg*"))
		for _, data := range clusters {
			errs = append(errs, stopOrphans(ctx, data, orphanStop[1:]))
		}
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}
