package storetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nanobanana/nanobanana/store/blobs"
)

// Blobs returns an empty store of blobs in a directory, that no other running test
// sees. To make its 257 directories costs more than many a test: the store is emptied
// for the next one when the test ends, after the test's own cleanups.
func Blobs(t testing.TB) *blobs.Dir {
	t.Helper()
	dir, err := directories.take()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	t.Cleanup(func() {
		if err := directories.giveBack(dir); err != nil {
			t.Errorf("storetest: %v", err)
		}
	})
	return dir
}

// directories are this process's stores of blobs; they go with the server.
var directories shelf

type shelf struct {
	mu   sync.Mutex
	free []*blobs.Dir
}

func (s *shelf) take() (*blobs.Dir, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		dir := s.free[n-1]
		s.free = s.free[:n-1]
		return dir, nil
	}
	path, err := servers.dir()
	if err != nil {
		return nil, fmt.Errorf("make a directory for blobs: %w", err)
	}
	return blobs.OpenDir(path)
}

func (s *shelf) giveBack(dir *blobs.Dir) error {
	if err := empty(filepath.Dir(dir.TempDir())); err != nil {
		return fmt.Errorf("empty the blobs: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, dir)
	return nil
}

// empty removes the files below path.
func empty(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return root.Remove(name)
	})
	return errors.Join(err, root.Close())
}
