package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

const someHash = "a03f181dc7dedcfb577511149b8844711efdb04f"

// BenchmarkPurchases makes purchases that are durable when they are answered:
// on the disk of one node, on those of two, and in Redis, which syncs its log
// every second or before each answer.
//
//	go test -run '^$' -bench Purchases -benchtime 3s ./bench
func BenchmarkPurchases(b *testing.B) {
	for _, clients := range []int{1, 64} {
		name := fmt.Sprint("/clients=", clients)
		b.Run("badger/nodes=1"+name, func(b *testing.B) {
			m, _ := onBadger(b, b.TempDir())
			makePurchases(b, m, clients, 1)
		})
		b.Run("badger/nodes=2"+name, func(b *testing.B) {
			m, _ := pair(b)
			makePurchases(b, m, clients, 2)
		})
		for _, fsync := range []string{"everysec", "always"} {
			b.Run("redis/appendfsync="+fsync+name, func(b *testing.B) {
				makePurchases(b, onRedis(b, redistest.Start(b, "--appendfsync", fsync).URL(), "one"), clients, 1)
			})
		}
	}
}

// makePurchases has so many clients make purchases, each confirmed by so many
// nodes.
func makePurchases(b *testing.B, m *member, clients, copies int) {
	hash, err := content.ParseHash(someHash)
	require.NoError(b, err)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				_, ack, err := m.book.Make(context.Background(), purchase.Spec{Hash: hash, Ext: "mp4", Life: 2 * time.Hour})
				if err == nil && copies > 1 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					ack = m.Confirm(ctx, ack)
					cancel()
				}
				if err != nil || ack.Copies < copies {
					b.Error(ack.Copies, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "purchases/s")
}

// BenchmarkLag has one node write 1,000 changes a second. The lag is from the
// moment at which a change is asked for until the other node's watchers know it.
//
//	go test -run '^$' -bench Lag -benchtime 10000x ./bench
func BenchmarkLag(b *testing.B) {
	b.Run("badger", func(b *testing.B) {
		first, second := pair(b)
		lag(b, first, second)
	})
	b.Run("redis", func(b *testing.B) {
		url := redistest.Start(b).URL()
		lag(b, onRedis(b, url, "one"), onRedis(b, url, "two"))
	})
}

func lag(b *testing.B, writer, watcher *member) {
	var mu sync.Mutex
	asked := make(map[string]time.Time)
	var lags []time.Duration
	all := make(chan struct{})
	// Switches are read by all nodes whatever they keep in memory.
	defer watcher.Watch(record.Switch, func(records []record.Record) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		for _, r := range records {
			if at, ok := asked[r.Key]; ok {
				lags = append(lags, now.Sub(at))
				delete(asked, r.Key)
			}
		}
		if len(lags) == b.N {
			close(all)
		}
	})()
	b.ResetTimer()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	var wg sync.WaitGroup
	for i := range b.N {
		<-ticker.C
		wg.Go(func() {
			key := fmt.Sprintf("a20261120%011x", i)
			mu.Lock()
			asked[key] = time.Now()
			mu.Unlock()
			if _, err := writer.Update(context.Background(), record.Switch, key, record.Condition{}, record.Change{Value: []byte(`{"n":1}`)}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	<-all
	b.StopTimer()
	slices.Sort(lags)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(float64(lags[len(lags)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "ms-p99")
}
