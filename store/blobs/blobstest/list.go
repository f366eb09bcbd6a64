package blobstest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
)

func notFound(t *testing.T, store blobs.Store) {
	put(t, store, "a/b", content(1, 10))
	for _, key := range []string{"a", "a/c", "b", "a/b.png"} {
		if _, err := store.Stat(t.Context(), key); !errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("Stat(%s): want ErrNotFound, got %v", key, err)
		}
		if _, _, err := store.Open(t.Context(), key); !errors.Is(err, blobs.ErrNotFound) {
			t.Errorf("Open(%s): want ErrNotFound, got %v", key, err)
		}
	}
}

func deleteBlob(t *testing.T, store blobs.Store) {
	for _, key := range []string{"a/b", "a/c"} {
		put(t, store, key, content(1, 10))
	}
	for range 2 { // the second time there is nothing to delete
		if err := store.Delete(t.Context(), "a/b"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		if diff := cmp.Diff([]string{"a/c"}, keys(t, store, "")); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	}
	if _, err := store.Stat(t.Context(), "a/b"); !errors.Is(err, blobs.ErrNotFound) {
		t.Errorf("Stat: want ErrNotFound, got %v", err)
	}
	data := content(2, 20)
	put(t, store, "a/b", data)
	wantBytes(t, data, read(t, store, "a/b"))
}

func listInOrder(t *testing.T, store blobs.Store) {
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("org/p%d/image-%d.png", i%3, i))
	}
	want = append(want, "org-b/image.png", "org.b/image.png", "ORG/image.png", "org_b")
	var wg sync.WaitGroup
	for i, key := range want {
		source := sourceFile(t, content(1, i))
		wg.Go(func() {
			if err := store.Put(t.Context(), key, source, blobs.PutOptions{}); err != nil {
				t.Errorf("Put(%s): %v", key, err)
			}
		})
	}
	wg.Wait()
	slices.Sort(want)
	if diff := cmp.Diff(want, keys(t, store, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	err := store.List(t.Context(), "", func(listed blobs.Info) bool {
		stat, err := store.Stat(t.Context(), listed.Key)
		if err != nil {
			t.Errorf("Stat(%s): %v", listed.Key, err)
		}
		if stat.Bytes != listed.Bytes || !stat.ModifiedAt.Truncate(1e9).Equal(listed.ModifiedAt.Truncate(1e9)) {
			t.Errorf("listed %+v, Stat %+v", listed, stat)
		}
		return true
	})
	if err != nil {
		t.Errorf("List: %v", err)
	}
}

func listPrefix(t *testing.T, store blobs.Store) {
	for _, key := range []string{"a/b/1", "a/b/2", "a/bc/3", "a/d/4", "e"} {
		put(t, store, key, nil)
	}
	tests := map[string][]string{
		"":       {"a/b/1", "a/b/2", "a/bc/3", "a/d/4", "e"},
		"a":      {"a/b/1", "a/b/2", "a/bc/3", "a/d/4"},
		"a/":     {"a/b/1", "a/b/2", "a/bc/3", "a/d/4"},
		"a/b":    {"a/b/1", "a/b/2", "a/bc/3"},
		"a/b/":   {"a/b/1", "a/b/2"},
		"a/b/1":  {"a/b/1"},
		"a/b/1/": nil,
		"f":      nil,
	}
	for prefix, want := range tests {
		if diff := cmp.Diff(want, keys(t, store, prefix)); diff != "" {
			t.Errorf("keys below %q (-want +got):\n%s", prefix, diff)
		}
	}
}

func listStops(t *testing.T, store blobs.Store) {
	for i := range 12 {
		put(t, store, fmt.Sprintf("%02d", i), nil)
	}
	var got []string
	err := store.List(t.Context(), "", func(info blobs.Info) bool {
		got = append(got, info.Key)
		return len(got) < 8
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	want := []string{"00", "01", "02", "03", "04", "05", "06", "07"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func listBadPrefix(t *testing.T, store blobs.Store) {
	for _, prefix := range []string{"/", "..", "../", "/a", "a//", "a/../b", "ü"} {
		err := store.List(t.Context(), prefix, func(blobs.Info) bool { return true })
		if !errors.Is(err, blobs.ErrBadKey) {
			t.Errorf("List(%q): want ErrBadKey, got %v", prefix, err)
		}
	}
}
