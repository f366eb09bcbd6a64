package gemini

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// peakHeap runs f and returns how far the heap grew meanwhile, in bytes.
func peakHeap(f func()) uint64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	peak := before.HeapAlloc
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return peak - before.HeapAlloc
		case <-tick.C:
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	}
}

// TestTiming_MemoryStaysFlat has 200 images of 1 MiB arrive at once. The heap
// includes the server that sends them.
func TestTiming_MemoryStaysFlat(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	const calls, limit = 200, 40 << 20
	body := []byte(stop(inline("image/jpeg", jpeg(1<<20))))
	var waiting sync.WaitGroup
	waiting.Add(calls)
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		waiting.Done()
		waiting.Wait()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	grown := peakHeap(func() {
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				if _, err := b.generate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Logf("the heap grew by %.1f MiB", float64(grown)/(1<<20))
	if grown > limit {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, limit)
	}
	if n := len(b.files(t)); n != calls {
		t.Errorf("%d files, want %d", n, calls)
	}
}

// BenchmarkGenerate takes a 1 MiB image through the SDK. cpu-ms/op is user and
// system time of the whole process, the sending server included.
func BenchmarkGenerate(b *testing.B) {
	image := base64.StdEncoding.EncodeToString(jpeg(1 << 20))
	body := []byte(stop(`{"inlineData":{"mimeType":"image/jpeg","data":"` + image + `"}}`))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}))
	b.Cleanup(srv.Close)
	bundle := connect(b, Options{BaseURL: srv.URL})
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime(b)
	for b.Loop() {
		got, err := bundle.generate(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(got.Image.Path); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpuTime(b)-start).Seconds()*1000/float64(b.N), "cpu-ms/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
