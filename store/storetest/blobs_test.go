package storetest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// Tests that run at the same time see different blobs; whoever comes after another
// finds nothing of theirs.
func TestBlobs(t *testing.T) {
	t.Parallel()
	var first string
	for range 3 {
		t.Run("one after another", func(t *testing.T) {
			dir, other := storetest.Blobs(t), storetest.Blobs(t)
			if dir.TempDir() == other.TempDir() {
				t.Error("two have the same directory")
			}
			if first == "" {
				first = other.TempDir()
			} else if first != dir.TempDir() && first != other.TempDir() {
				t.Error("the directory is not used again")
			}
			for _, dir := range []*blobs.Dir{dir, other} {
				err := dir.List(t.Context(), "", func(left blobs.Info) bool {
					t.Errorf("of another test: %v", left)
					return true
				})
				if err != nil {
					t.Error(err)
				}
				file := filepath.Join(t.TempDir(), "x.png")
				if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := dir.Put(t.Context(), "a/x.png", file, blobs.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
