package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is the longest socket path used, in bytes. The limit of the
// system is 108 on Linux (unix(7)) and 104 on macOS.
const maxSocketPath = 100

// socketLife is how long an empty socket directory is left alone.
const socketLife = time.Hour

// port only names the socket file; every server has a directory of its own.
const port = "5432"

// passable lets other accounts pass a directory without letting them list it.
const passable fs.FileMode = 0o011

// home is the directory tree of one server, locked for this process.
type home struct {
	base      string
	seat      string // holds the data: base, or elsewhere if the server cannot reach base
	socket    string // directory of the socket
	log       string
	lock      *os.File
	ephemeral bool
}

// openHome makes and locks the directories that opts ask for.
func openHome(ctx context.Context, opts Options, id identity) (_ *home, err error) {
	h := &home{ephemeral: opts.Ephemeral}
	if opts.Ephemeral {
		err = h.openEphemeral(ctx, opts, id)
	} else {
		err = h.openPersistent(opts, id)
	}
	if err != nil {
		return nil, err
	}
	if err := h.layOut(opts, id); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *home) openPersistent(opts Options, id identity) error {
	if err := os.MkdirAll(opts.Dir, id.parentMode()); err != nil {
		return fmt.Errorf("make the local database's directory: %w", err)
	}
	// The system reports working directories without symbolic links.
	base, err := filepath.EvalSymlinks(opts.Dir)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", opts.Dir, err)
	}
	h.base = base
	path := filepath.Join(base, "lock")
	h.lock, err = lockNow(path)
	if errors.Is(err, ErrLocked) {
		holder, _ := os.ReadFile(path)
		return fmt.Errorf("%w: process %s runs a server in %s; stop it, or use another directory",
			ErrLocked, strings.TrimSpace(string(holder)), base)
	}
	return err
}

// layOut chooses and makes the directories inside a locked home.
func (h *home) layOut(opts Options, id identity) error {
	h.seat, h.log = h.base, filepath.Join(h.base, "postgres.log")
	if id.drop {
		if err := openToOthers(h.base); err != nil {
			return err
		}
		if parent := blockedParent(h.base); parent != "" {
			seat := fallbackDir(h.base)
			if err := privateDir(seat, id.parentMode()); err != nil {
				return fmt.Errorf("the account of the server cannot pass %s: %w", parent, err)
			}
			opts.Logger.Warn("local database kept elsewhere: its account cannot pass a directory",
				"blocked", parent, "dir", seat)
			h.seat = seat
		}
	}
	socket, err := socketDir(h.seat)
	if err != nil {
		return err
	}
	h.socket = socket
	if filepath.Dir(h.socket) != h.seat {
		sweepSockets(filepath.Dir(h.socket))
	}
	return h.makeSocketDir(id)
}

// close removes what must not stay and gives up the lock.
func (h *home) close() error {
	var errs []error
	if h.socket != "" && filepath.Dir(h.socket) != h.seat {
		errs = append(errs, os.RemoveAll(h.socket))
	}
	if h.ephemeral {
		clusters, _ := filepath.Glob(filepath.Join(h.base, "pg*"))
		for _, data := range clusters {
			errs = append(errs, freeSharedMemory(data))
		}
		errs = append(errs, discard(h.base))
	}
	// Last, so that no other process takes a directory that is going away.
	errs = append(errs, h.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up the local database: %w", err)
	}
	return nil
}

// makeSocketDir makes the socket directory anew. A killed server may have left
// files there, whose process number a new one would trust although it may be
// taken over, and whose owner may be another account.
func (h *home) makeSocketDir(id identity) error {
	socket := filepath.Join(h.socket, ".s.PGSQL."+port)
	for _, path := range []string{socket, socket + ".lock", h.socket} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale socket: %w", err)
		}
	}
	if err := os.Mkdir(h.socket, 0o700); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	return id.own(h.socket)
}

// sweepSockets removes the socket directories in a temporary directory that
// killed processes left. That of a running server is not empty, and that of a
// starting one not old, so neither goes.
func sweepSockets(tmp string) {
	dirs, _ := filepath.Glob(filepath.Join(tmp, "nb-????????????"))
	for _, dir := range dirs {
		if info, err := os.Lstat(dir); err == nil && time.Since(info.ModTime()) > socketLife {
			_ = syscall.Rmdir(dir) // See above.
		}
	}
}

// socketDir returns the socket directory of a server whose data is in seat:
// inside it, or in a temporary directory where the path would be too long or
// hold a comma, which separates hosts in a connection string.
func socketDir(seat string) (string, error) {
	for _, dir := range []string{
		filepath.Join(seat, "s"),
		filepath.Join(os.TempDir(), "nb-"+hash(seat)),
		filepath.Join("/tmp", "nb-"+hash(seat)),
	} {
		if len(filepath.Join(dir, ".s.PGSQL."+port)) <= maxSocketPath && !strings.Contains(dir, ",") {
			return dir, nil
		}
	}
	return "", fmt.Errorf("choose a socket directory: every path is longer than %d bytes", maxSocketPath)
}

// privateDir makes path, or checks that it is a directory that no other
// account can have prepared, and gives it mode. Where others may already pass it
// they go on to: a server of another process may need that.
func privateDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make private directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("inspect private directory: %w", err)
	}
	uid, known := ownerOf(info)
	if !info.IsDir() || !known || uid != os.Geteuid() {
		return fmt.Errorf("use %s: it belongs to another account", path)
	}
	if mode |= info.Mode().Perm() & passable; info.Mode().Perm() == mode {
		return nil
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("protect private directory: %w", err)
	}
	return nil
}

// trusted reports whether dir exists and belongs to this account or to root,
// so that its programs may be run.
func trusted(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	uid, known := ownerOf(info)
	return known && (uid == 0 || uid == os.Geteuid())
}

// blockedParent returns the directory at or above path that other accounts
// cannot pass, or "".
func blockedParent(path string) string {
	for ; ; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o001 == 0 {
			return path
		}
		if path == filepath.Dir(path) {
			return ""
		}
	}
}

// openToOthers lets other accounts pass dir without letting them list it.
func openToOthers(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", dir, err)
	}
	if err := os.Chmod(dir, info.Mode().Perm()|passable); err != nil {
		return fmt.Errorf("open %s to the server's account: %w", dir, err)
	}
	return nil
}

// fallbackDir returns the directory that stands in for path, which the account
// of the server cannot reach.
func fallbackDir(path string) string {
	return filepath.Join("/var/tmp", "nanobanana-"+hash(path))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(os.Geteuid()) + "\x00" + s))
	return hex.EncodeToString(sum[:6])
}
