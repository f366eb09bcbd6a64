package limit_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// BenchmarkTake measures takes of 64 clients at a time, of two buckets each.
func BenchmarkTake(b *testing.B) {
	db := storetest.New(b)
	shared := limit.NewSharedPostgres(db)
	defer shared.Close()
	redis, err := limit.OpenRedis(limittest.StartRedis(b).URL)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = redis.Close() }()
	for _, keeper := range []struct {
		name string
		limit.Limiter
	}{{"Postgres", limit.NewPostgres(db)}, {"shared Postgres", shared}, {"Redis", redis}} {
		for _, orgs := range []int{1, 4000} {
			b.Run(fmt.Sprintf("%s/%d", keeper.name, orgs), func(b *testing.B) {
				var n atomic.Int64
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						org := fmt.Sprintf("org_%d", n.Add(1)%int64(orgs))
						r, err := keeper.Take(context.Background(), []limit.Bucket{hourly(org+"/org", 1_000_000), hourly(org+"/key", 1_000_000)})
						if err != nil || !r.Allowed {
							b.Errorf("got %+v, %v", r, err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "takes/s")
			})
		}
	}
}
