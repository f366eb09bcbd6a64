package providers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSpool_StalledDecodersDoNotBlock has one call hold the only decoder and
// never end, and another one that must come through nevertheless.
func TestSpool_StalledDecodersDoNotBlock(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	raw := picture(300_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text := `{"data":"` + b64(raw) + `"}`
		if r.URL.Path == "/stalled" {
			_, _ = io.WriteString(w, text[:100_000])
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-release
			text = text[100_000:]
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	spool := NewSpool(SpoolOptions{Decoders: 1})
	spool.patience = 10 * time.Millisecond
	client := &http.Client{Transport: spool}
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, files := WithSpool(t.Context(), t.TempDir())
		if _, err := get(ctx, client, srv.URL+"/stalled"); err != nil {
			t.Error(err)
		}
		take(t, files, "spool:1")
	})
	<-begun
	ctx, files := WithSpool(t.Context(), t.TempDir())
	if _, err := get(ctx, client, srv.URL); err != nil {
		t.Error(err)
	}
	take(t, files, "spool:1")
	close(release)
	wg.Wait()
	if n := len(spool.slots); n != 0 {
		t.Errorf("%d decoders are still held, want none", n)
	}
}

func TestSpool_CanceledWhileWaitingForDecoder(t *testing.T) {
	t.Parallel()
	spool := NewSpool(SpoolOptions{Decoders: 1})
	spool.patience = time.Hour
	spool.slots <- struct{}{}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ctx, files := WithSpool(ctx, dir)
	sc := newScanner(ctx, spool, files, strings.NewReader(`{"data":"`+b64(picture(5_000))+`"}`))
	defer sc.release()
	cancel()
	if err := sc.scan(); !errors.Is(err, context.Canceled) || fileCount(t, dir) != 0 {
		t.Errorf("error %v and %d files, want canceled and none", err, fileCount(t, dir))
	}
}
