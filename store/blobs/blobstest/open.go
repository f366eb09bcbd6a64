package blobstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store/blobs"
)

func openReadsAndSeeks(t *testing.T, store blobs.Store) {
	data := content(1, 3000)
	put(t, store, "a.png", data)
	if err := iotest.TestReader(open(t.Context(), t, store, "a.png"), data); err != nil {
		t.Error(err)
	}
}

func openBadSeeks(t *testing.T, store blobs.Store) {
	put(t, store, "a.png", content(1, 10))
	r := open(t.Context(), t, store, "a.png")
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek before the start: want an error, got none")
	}
	if _, err := r.Seek(0, 9); err == nil {
		t.Error("seek from nowhere: want an error, got none")
	}
	if n, err := r.Seek(5, io.SeekEnd); n != 15 || err != nil {
		t.Errorf("seek behind the end: want 15, got %d, %v", n, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read behind the end: want EOF, got %d, %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after Close: want fs.ErrClosed, got %v", err)
	}
	if _, err := r.Seek(0, io.SeekStart); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("seek after Close: want fs.ErrClosed, got %v", err)
	}
}

func openServesRanges(t *testing.T, store blobs.Store) {
	data := content(1, 100_000)
	put(t, store, "a.png", data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r, info, err := store.Open(req.Context(), "a.png")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = r.Close() }()
		w.Header().Set("Content-Type", info.ContentType)
		http.ServeContent(w, req, "", info.ModifiedAt, r)
	}))
	t.Cleanup(server.Close)

	tests := []struct {
		ranges string
		status int
		body   []byte
	}{
		{"", http.StatusOK, data},
		{"bytes=0-0", http.StatusPartialContent, data[:1]},
		{"bytes=100-199", http.StatusPartialContent, data[100:200]},
		{"bytes=99990-", http.StatusPartialContent, data[99_990:]},
		{"bytes=-7", http.StatusPartialContent, data[99_993:]},
		{"bytes=100000-", http.StatusRequestedRangeNotSatisfiable, nil},
	}
	for _, test := range tests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", test.ranges)
		status, body := do(t, server.Client(), req)
		if diff := cmp.Diff(test.status, status); diff != "" {
			t.Errorf("%q: status (-want +got):\n%s", test.ranges, diff)
		}
		if test.body != nil {
			wantBytes(t, test.body, body)
		}
	}
}

func do(t *testing.T, client *http.Client, req *http.Request) (status int, body []byte) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func openConcurrentReaders(t *testing.T, store blobs.Store) {
	data := content(1, 1<<20)
	put(t, store, "a.png", data)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := readFrom(t.Context(), store, data, int64(i)*50_000); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func readFrom(ctx context.Context, store blobs.Store, want []byte, offset int64) error {
	r, _, err := store.Open(ctx, "a.png")
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(want[offset:], got) {
		err = fmt.Errorf("got %d other bytes", len(got))
	}
	return err
}

func openReplacedMeanwhile(t *testing.T, store blobs.Store) {
	before := content(1, 100_000)
	put(t, store, "a.png", before)
	r := open(t.Context(), t, store, "a.png")
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "a.png"); err != nil {
		t.Fatal(err)
	}
	put(t, store, "a.png", content(2, 100_000))
	if _, err := r.Seek(50_000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	after, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(before[50_000:], after) {
		t.Error("want the bytes of the blob that was opened or an error, got others")
	}
}

func openCancelled(t *testing.T, store blobs.Store) {
	put(t, store, "a.png", content(1, 10))
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, _, err := store.Open(ctx, "a.png"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: want context.DeadlineExceeded, got %v", err)
	}
	if _, err := store.Stat(ctx, "a.png"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stat: want context.DeadlineExceeded, got %v", err)
	}
	if err := store.Delete(ctx, "a.png"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Delete: want context.DeadlineExceeded, got %v", err)
	}
	err := store.List(ctx, "", func(blobs.Info) bool { return true })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("List: want context.DeadlineExceeded, got %v", err)
	}
	if err := store.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Check: want context.DeadlineExceeded, got %v", err)
	}
}
