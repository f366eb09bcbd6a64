package localpg

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
)

// overflowID is the account number of nobody on Linux.
const overflowID = 65534

// identity is the account that the programs of PostgreSQL run under.
type identity struct {
	// uid and gid own the files of the server, seen from this process.
	uid, gid int

	// namespace runs the programs in a new user namespace in which uid
	// appears as inside, so that root's directories stay reachable and an
	// account without a passwd entry has one.
	namespace bool
	inside    int

	// drop gives up root for uid before running a program.
	drop bool
}

// chooseIdentity decides how to satisfy PostgreSQL, which refuses to run as
// root and as an account that has no name.
func chooseIdentity(ctx context.Context, runAs string) (identity, error) {
	id := identity{uid: os.Geteuid(), gid: os.Getegid(), inside: nobodyID()}
	if id.uid != 0 {
		if _, err := user.LookupId(strconv.Itoa(id.uid)); err != nil {
			id.namespace = canNamespace(ctx, id)
		}
		return id, nil
	}
	if runAs == "" && canNamespace(ctx, id) {
		id.namespace = true
		return id, nil
	}
	names := []string{"postgres", "nobody"}
	if runAs != "" {
		names = []string{runAs}
	}
	for _, name := range names {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(account.Uid)
		gid, errGID := strconv.Atoi(account.Gid)
		if errUID == nil && errGID == nil && uid != 0 {
			return identity{uid: uid, gid: gid, drop: true}, nil
		}
	}
	return identity{}, fmt.Errorf("choose an account for PostgreSQL, which refuses to run as root: none of %q is an unprivileged account here", names)
}

// nobodyID returns the number of an unprivileged account that has a name.
func nobodyID() int {
	if account, err := user.Lookup("nobody"); err == nil {
		if uid, err := strconv.Atoi(account.Uid); err == nil && uid > 0 {
			return uid
		}
	}
	return overflowID
}

// own gives path, which this process made, to the account of the server.
func (id identity) own(path string) error {
	if !id.drop {
		return nil
	}
	if err := os.Lchown(path, id.uid, id.gid); err != nil {
		return fmt.Errorf("give %s to the server's account: %w", path, err)
	}
	return nil
}

// ownTree gives a data directory to the account of the server when an earlier
// start, under other circumstances, used another account. Only root can.
func (id identity) ownTree(root string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(root)
	if err != nil {
		return fmt.Errorf("inspect data directory: %w", err)
	}
	if uid, ok := ownerOf(info); !ok || uid == id.uid {
		return nil
	}
	// The old account may have put symbolic links in the way.
	tree, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	defer func() { _ = tree.Close() }() // It was only read.
	return fs.WalkDir(tree.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("walk data directory: %w", err)
		}
		return tree.Lchown(path, id.uid, id.gid)
	})
}

// parentMode is the mode of directories that hold the server's own ones: the
// server's account must be able to pass through them.
func (id identity) parentMode() os.FileMode {
	if id.drop {
		return 0o711
	}
	return 0o700
}
