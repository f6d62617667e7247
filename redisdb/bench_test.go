package redisdb

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// benches runs a benchmark on one server that syncs every second, and on one
// that syncs every write.
func benches(b *testing.B, f func(b *testing.B, n *node)) {
	for name, fsync := range map[string]string{"everysec": "everysec", "always": "always"} {
		b.Run(name, func(b *testing.B) {
			n := open(b, redistest.Start(b, "--appendfsync", fsync).URL(), "me").ready(b)
			b.ResetTimer()
			f(b, n)
		})
	}
}

func BenchmarkGetHot(b *testing.B) {
	n := open(b, redistest.Start(b).URL(), "me").ready(b)
	put(b, n, record.Purchase, "token", "1")
	get(b, n, record.Purchase, "token")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.Get(context.Background(), record.Purchase, "token"); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGetMiss(b *testing.B) {
	n := open(b, redistest.Start(b).URL(), "me").ready(b)
	for i := range 1000 {
		put(b, n, record.Purchase, fmt.Sprint(i), "1")
	}
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprint(next.Add(1) % 1000)
			n.cache.Invalidate(groupKey(record.Purchase, key))
			if _, err := n.Get(context.Background(), record.Purchase, key); err != nil {
				b.Error(err)
			}
		}
	})
}

// value64 is about what a purchase is.
var purchaseValue = []byte(`{"hash":"a03f181dc7dedcfb577511149b8844711efdb04f","ext":"mp4","made":"117636710400000000","expires":1795007200000}`)

func makePurchases(b *testing.B, n *node, clients int) {
	var next atomic.Int64
	expires := time.Now().Add(2 * time.Hour).UnixMilli()
	b.SetParallelism(clients) // times GOMAXPROCS; the loop below counts clients itself
	tickets := make(chan struct{}, clients)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tickets <- struct{}{}
			_, err := n.Update(context.Background(), record.Purchase, fmt.Sprint("a20261120", next.Add(1)), record.IfAbsent(),
				record.Change{Value: purchaseValue, Expires: expires})
			<-tickets
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "purchases/s")
}

func BenchmarkPurchases1(b *testing.B) {
	benches(b, func(b *testing.B, n *node) { makePurchases(b, n, 1) })
}

func BenchmarkPurchases64(b *testing.B) {
	benches(b, func(b *testing.B, n *node) { makePurchases(b, n, 64) })
}

// BenchmarkUpdate64 counts up 64 keys.
func BenchmarkUpdate64(b *testing.B) {
	benches(b, func(b *testing.B, n *node) {
		var next atomic.Int64
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			key := fmt.Sprint("key", next.Add(1)%64)
			for pb.Next() {
				if _, err := n.Update(context.Background(), record.Use, key, record.Condition{}, record.Change{Value: []byte("1")}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkConfirmed64 makes purchases that a replica has before the answer.
func BenchmarkConfirmed64(b *testing.B) {
	n := open(b, redistest.StartSentinel(b).URL(), "me").ready(b)
	redistest.Await(b, func() error {
		if n.Stats().Replicas < 2 {
			return errAway
		}
		return nil
	})
	var next, once atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ack, err := n.Update(context.Background(), record.Purchase, fmt.Sprint("a20261120", next.Add(1)), record.IfAbsent(), record.Change{Value: purchaseValue})
			if err != nil {
				b.Error(err)
			}
			if n.Confirm(context.Background(), ack).Copies < 2 {
				once.Add(1)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "purchases/s")
	b.ReportMetric(float64(once.Load()), "unconfirmed")
}

// BenchmarkLag is how long another node takes to be told of a change.
func BenchmarkLag(b *testing.B) {
	for name, url := range map[string]string{"single": redistest.Start(b).URL(), "cluster": redistest.StartCluster(b).URL()} {
		b.Run(name, func(b *testing.B) {
			a, other := open(b, url, "a").ready(b), open(b, url, "b").ready(b)
			told := make(chan struct{}, 1)
			defer other.Watch(record.Use, func(records []record.Record) { told <- struct{}{} })()
			b.ResetTimer()
			for i := range b.N {
				put(b, a, record.Use, fmt.Sprint(i%100), "1")
				<-told
			}
		})
	}
}

// BenchmarkMemory is what a purchase takes of Redis' memory.
func BenchmarkMemory(b *testing.B) {
	s := redistest.Start(b)
	n := open(b, s.URL(), "me").ready(b)
	used := func() (bytes int64) {
		fmt.Sscan(s.Info("memory", "used_memory"), &bytes)
		return bytes
	}
	before := used()
	const many = 20000
	for range b.N {
		for i := 0; i < many; i += 500 {
			done := make(chan error, 500)
			for k := range 500 {
				go func() {
					_, err := n.Update(context.Background(), record.Purchase, fmt.Sprintf("a20261120%011d", i+k), record.Condition{},
						record.Change{Value: purchaseValue, Expires: time.Now().Add(time.Hour).UnixMilli()})
					done <- err
				}()
			}
			for range 500 {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for tag := range tags { // it has an end, the purchases have none
		s.Do("xtrim", n.layout.changes(tag), "maxlen", 1)
	}
	b.ReportMetric(float64(used()-before)/many, "bytes/purchase")
}
