package blobs_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store/blobs"
)

// BenchmarkDirPut puts new 1 MiB files. It reports the median of the time that
// one Put takes, without the writing of the file.
func BenchmarkDirPut(b *testing.B) {
	data := []byte(strings.Repeat("x", 1<<20))
	for _, concurrent := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("Concurrent%d", concurrent), func(b *testing.B) {
			dir, err := blobs.OpenDir(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = dir.Close() }()
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.SetBytes(int64(len(data)))
			for range concurrent {
				wg.Go(func() {
					for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
						source := fmt.Sprintf("%s/%d", dir.TempDir(), i)
						if err := os.WriteFile(source, data, 0o600); err != nil {
							b.Error(err)
							return
						}
						start := time.Now()
						key := fmt.Sprintf("org/project/generation%d/0.png", i)
						if err := dir.Put(b.Context(), key, source, blobs.PutOptions{}); err != nil {
							b.Error(err)
						}
						took[i] = time.Since(start)
						_ = os.Remove(source)
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(took[b.N/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
