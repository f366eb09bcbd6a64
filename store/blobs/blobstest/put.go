package blobstest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store/blobs"
)

func roundTrip(t *testing.T, store blobs.Store, size int) {
	key, data := "org/project/image.png", content(1, size)
	put(t, store, key, data)
	wantBytes(t, data, read(t, store, key))

	want := blobs.Info{Key: key, Bytes: int64(size), ContentType: pngType, ModifiedAt: time.Now()}
	// Another machine's clock, which may count whole seconds.
	roughly := cmpopts.EquateApproxTime(time.Minute)
	info, err := store.Stat(t.Context(), key)
	if err != nil {
		t.Fatalf("Stat: %v", err)
	}
	if diff := cmp.Diff(want, info, roughly); diff != "" {
		t.Errorf("Stat (-want +got):\n%s", diff)
	}
	r, info, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if diff := cmp.Diff(want, info, roughly); diff != "" {
		t.Errorf("Open (-want +got):\n%s", diff)
	}
}

func putLeavesTheSource(t *testing.T, store blobs.Store) {
	data := content(1, 1000)
	source := sourceFile(t, data)
	if err := store.Put(t.Context(), "a", source, blobs.PutOptions{}); err != nil {
		t.Fatalf("Put: %v", err)
	}
	left, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, data, left)
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, data, read(t, store, "a"))
}

func putExists(t *testing.T, store blobs.Store) {
	first := content(1, 1000)
	put(t, store, "a", first)
	for _, second := range [][]byte{content(2, 2000), first} {
		err := store.Put(t.Context(), "a", sourceFile(t, second), blobs.PutOptions{})
		if !errors.Is(err, blobs.ErrExists) {
			t.Errorf("Put of %d bytes again: want ErrExists, got %v", len(second), err)
		}
	}
	wantBytes(t, first, read(t, store, "a"))
}

func putOneWinner(t *testing.T, store blobs.Store) {
	const racers, size = 16, 200 << 10
	errs := make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		source := sourceFile(t, content(uint64(i), size+i))
		wg.Go(func() {
			<-start
			errs[i] = store.Put(t.Context(), "org/project/image.png", source, blobs.PutOptions{})
		})
	}
	close(start)
	wg.Wait()

	var winners []int
	for i, err := range errs {
		if err == nil {
			winners = append(winners, i)
		} else if !errors.Is(err, blobs.ErrExists) {
			t.Errorf("racer %d: want ErrExists, got %v", i, err)
		}
	}
	if len(winners) != 1 {
		t.Fatalf("want one winner, got %v", winners)
	}
	wantBytes(t, content(uint64(winners[0]), size+winners[0]), read(t, store, "org/project/image.png"))
}

func putSourceMissing(t *testing.T, store blobs.Store) {
	err := store.Put(t.Context(), "a", filepath.Join(t.TempDir(), "none"), blobs.PutOptions{})
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, blobs.ErrNotFound) {
		t.Errorf("want fs.ErrNotExist, got %v", err)
	}
	wantNothing(t, store)
}

func putSourceIsADirectory(t *testing.T, store blobs.Store) {
	if err := store.Put(t.Context(), "a", t.TempDir(), blobs.PutOptions{}); err == nil {
		t.Error("want an error, got none")
	}
	wantNothing(t, store)
}

func putCancelled(t *testing.T, store blobs.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := store.Put(ctx, "a", sourceFile(t, content(1, 1000)), blobs.PutOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("want context.Canceled, got %v", err)
	}
	wantNothing(t, store)
}

func badKeys(t *testing.T, store blobs.Store) {
	bad := []string{
		"", "/", ".", "..", "../a", "a/..", "a/../b", "a/./b", "/a", "a/", "a//b", ".a", "a/.b",
		"a b", "a\\b", "a\x00b", "a\nb", "a,b", "a+b", "a%2fb", "a:b", "~", "ü", "a/日本", "a\xffb",
		strings.Repeat("a", 513), "1/2/3/4/5/6/7/8/9/10/11",
	}
	source := sourceFile(t, content(1, 10))
	for _, key := range bad {
		_, statErr := store.Stat(t.Context(), key)
		_, _, openErr := store.Open(t.Context(), key)
		errs := map[string]error{
			"Put":    store.Put(t.Context(), key, source, blobs.PutOptions{}),
			"Stat":   statErr,
			"Open":   openErr,
			"Delete": store.Delete(t.Context(), key),
		}
		for name, err := range errs {
			if !errors.Is(err, blobs.ErrBadKey) {
				t.Errorf("%s(%q): want ErrBadKey, got %v", name, key, err)
			}
		}
	}
	wantNothing(t, store)
}

func goodKeys(t *testing.T, store blobs.Store) {
	good := []string{
		"b", "-", "_", "c.", "d..e", "1/2/3/4/5/6/7/8/9/10", "E/F-g_h.i",
		strings.Repeat(strings.Repeat("x", 170)+"/", 2) + strings.Repeat("y", 170),
	}
	for i, key := range good {
		data := content(uint64(i), 100)
		put(t, store, key, data)
		wantBytes(t, data, read(t, store, key))
	}
}

func wantNothing(t *testing.T, store blobs.Store) {
	t.Helper()
	if diff := cmp.Diff([]string(nil), keys(t, store, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
