package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestNeverStale: while records change and the cache loses and loads them, no
// reader sees less than what was acknowledged before it asked; nor do readers
// that keep what they made of records in a cache of their own.
func TestNeverStale(t *testing.T) {
	j := start(t, Options{CacheSize: 8})
	parsed := record.NewCache[int](8)
	defer j.Watch(record.Use, func(records []record.Record) {
		for _, r := range records {
			parsed.Invalidate(r.Key)
		}
	})()
	load := func(ctx context.Context, key string) (int, bool, error) {
		versions, err := j.Get(ctx, record.Use, key)
		if err != nil || len(versions) == 0 {
			return 0, false, err
		}
		var n int
		_, err = fmt.Sscan(string(versions[0].Value), &n)
		return n, true, err
	}
	const keys = 16
	var acknowledged [keys]atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				k := rand.IntN(keys)
				key := fmt.Sprint("k", k)
				least := int(acknowledged[k].Load())
				direct, _, err := load(context.Background(), key)
				cached, err2 := parsed.Get(context.Background(), key, load)
				if err != nil || err2 != nil || direct < least || cached < least {
					t.Errorf("got %d and %d where %d was acknowledged (%v, %v)", direct, cached, least, err, err2)
					return
				}
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range 60 {
				k := w*4 + i%4
				j.put(record.Use, fmt.Sprint("k", k), record.Change{Value: fmt.Append(nil, i)})
				acknowledged[k].Store(int64(i))
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

// TestLargeNotCached: the cache is bounded in bytes as well.
func TestLargeNotCached(t *testing.T) {
	j := start(t, Options{})
	j.put(record.User, "small", record.Change{Value: make([]byte, maxCached)})
	j.put(record.User, "large", record.Change{Value: make([]byte, maxCached+1)})
	for range 3 {
		require.Len(t, j.get(record.User, "small"), 1)
		require.Len(t, j.get(record.User, "large"), 1)
	}
	stats := j.Stats()
	require.EqualValues(t, 6, stats.Gets)
	require.EqualValues(t, 4, stats.Loads)
	require.Equal(t, 1, stats.Cached)
}
