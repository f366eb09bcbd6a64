// Package blobstest checks that a blobs.Store keeps its promises.
package blobstest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
)

const pngType = "image/png"

// Run runs the suite as parallel subtests of t. Open returns an empty store for
// each of them, and cleans up after it.
func Run(t *testing.T, open func(t *testing.T) blobs.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, store blobs.Store)
	}{
		{"Put/EmptyFile", func(t *testing.T, s blobs.Store) { roundTrip(t, s, 0) }},
		{"Put/OneByte", func(t *testing.T, s blobs.Store) { roundTrip(t, s, 1) }},
		{"Put/FiveMiB", func(t *testing.T, s blobs.Store) { roundTrip(t, s, 5<<20) }},
		{"Put/LeavesTheSource", putLeavesTheSource},
		{"Put/Exists", putExists},
		{"Put/OneWinnerOfSixteen", putOneWinner},
		{"Put/SourceMissing", putSourceMissing},
		{"Put/SourceIsADirectory", putSourceIsADirectory},
		{"Put/Cancelled", putCancelled},
		{"Keys/Bad", badKeys},
		{"Keys/Good", goodKeys},
		{"Open/ReadsAndSeeks", openReadsAndSeeks},
		{"Open/BadSeeks", openBadSeeks},
		{"Open/ServesRanges", openServesRanges},
		{"Open/ConcurrentReaders", openConcurrentReaders},
		{"Open/ReplacedMeanwhile", openReplacedMeanwhile},
		{"Open/ContextCancelled", openCancelled},
		{"NotFound", notFound},
		{"Delete", deleteBlob},
		{"List/InOrder", listInOrder},
		{"List/Prefix", listPrefix},
		{"List/Stops", listStops},
		{"List/BadPrefix", listBadPrefix},
		{"Check", check},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func check(t *testing.T, store blobs.Store) {
	if err := store.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	if diff := cmp.Diff([]string(nil), keys(t, store, "")); diff != "" {
		t.Errorf("keys after Check (-want +got):\n%s", diff)
	}
}

// content returns n bytes that look random and depend on seed only.
func content(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// sourceFile returns the path of a new file with the bytes.
func sourceFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func put(t *testing.T, store blobs.Store, key string, data []byte) {
	t.Helper()
	err := store.Put(t.Context(), key, sourceFile(t, data), blobs.PutOptions{ContentType: pngType})
	if err != nil {
		t.Fatalf("Put(%s): %v", key, err)
	}
}

func open(ctx context.Context, t *testing.T, store blobs.Store, key string) io.ReadSeekCloser {
	t.Helper()
	r, _, err := store.Open(ctx, key)
	if err != nil {
		t.Fatalf("Open(%s): %v", key, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func read(t *testing.T, store blobs.Store, key string) []byte {
	t.Helper()
	data, err := io.ReadAll(open(t.Context(), t, store, key))
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data
}

func wantBytes(t *testing.T, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Errorf("got %d other bytes than the %d put", len(got), len(want))
	}
}

func keys(t *testing.T, store blobs.Store, prefix string) []string {
	t.Helper()
	var keys []string
	err := store.List(t.Context(), prefix, func(info blobs.Info) bool {
		keys = append(keys, info.Key)
		return true
	})
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	return keys
}
