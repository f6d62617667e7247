package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// purchaseValue is about what a purchase's JSON is.
const purchaseValue = `{"hash":"a82d7d7fb2f5ad0dd3e6fbd4a8a1ed03ac9f5b60","ext":"mp4","referrer":["^https://example.org/"],"ip":["2001:db8::1"],"count":0,"made":"117648654336000001","life":7200000}`

func benchStart(b *testing.B) *running {
	return start(b, Options{Logger: zap.NewNop()})
}

// BenchmarkUpdate makes purchases that are on the disk when they are answered.
func BenchmarkUpdate(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			j := benchStart(b)
			expires := time.Now().Add(2 * time.Hour).UnixMilli()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						token := fmt.Sprintf("a20261120%011x", rand.Uint64()>>20)
						_, err := j.Update(context.Background(), record.Purchase, token, record.IfAbsent(),
							record.Change{Value: []byte(purchaseValue), Expires: expires})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			b.ReportMetric(float64(b.N)/float64(j.Stats().Commits), "updates/commit")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	j := benchStart(b)
	const n = 100_000
	key := func(i int) string { return fmt.Sprintf("a20261120%011x", i*7919) }
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				j.put(record.Purchase, key(i), record.Change{Value: []byte(purchaseValue), Expires: time.Now().Add(time.Hour).UnixMilli()})
			}
		})
	}
	wg.Wait()
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(i)
	}
	for name, among := range map[string]int{"hot": 1000, "cold": n} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					versions, err := j.Get(context.Background(), record.Purchase, keys[rand.IntN(among)])
					if err != nil || len(versions) != 1 {
						b.Error(len(versions), err)
						return
					}
				}
			})
		})
	}
	b.Run("none", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, err := j.Get(context.Background(), record.Purchase, fmt.Sprintf("a20261121%011x", i))
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		seen := 0
		for b.Loop() {
			for _, err := range j.List(context.Background(), record.Purchase, record.ByKey, "", "") {
				require.NoError(b, err)
				seen++
			}
		}
		b.ReportMetric(float64(seen)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkSize tells what a purchase takes on the disk when tables are merged.
func BenchmarkSize(b *testing.B) {
	for b.Loop() {
		j := benchStart(b)
		const n = 100_000
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range n / 64 {
					token := fmt.Sprintf("a20261120%011x", rand.Uint64()>>20)
					j.put(record.Purchase, token, record.Change{Value: []byte(purchaseValue), Expires: time.Now().Add(time.Hour).UnixMilli()})
				}
			})
		}
		wg.Wait()
		require.NoError(b, j.Compact(b.Context()))
		j.measure()
		b.ReportMetric(float64(j.space.size.Load())/float64(j.Stats().Records[record.Purchase]), "bytes/record")
	}
}
