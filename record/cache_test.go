package record

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestCache(t *testing.T) {
	ctx := t.Context()
	c := NewCache[int](100)
	loads := 0
	load := func(context.Context, string) (int, bool, error) { loads++; return loads, true, nil }
	get := func(key string) int {
		v, err := c.Get(ctx, key, load)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, 1, get("a"))
	require.Equal(t, 1, get("a"), "in memory")
	v, ok := c.Peek("a")
	require.True(t, ok)
	require.Equal(t, 1, v)
	_, ok = c.Peek("b")
	require.False(t, ok)
	c.Invalidate("a")
	require.Equal(t, 2, get("a"))
	require.Equal(t, 3, get("b"))
	require.Equal(t, 2, c.Len())
	require.Equal(t, 2, c.Clear())
	require.Equal(t, 4, get("a"))

	broken := errors.New("broken")
	_, err := c.Get(ctx, "c", func(context.Context, string) (int, bool, error) { return 0, true, broken })
	require.ErrorIs(t, err, broken)
	_, ok = c.Peek("c")
	require.False(t, ok, "an error is not kept")
	v, err = c.Get(ctx, "c", func(context.Context, string) (int, bool, error) { return 7, false, nil })
	require.NoError(t, err)
	require.Equal(t, 7, v)
	_, ok = c.Peek("c")
	require.False(t, ok, "nor what its reader does not want kept")
}

// TestCacheKeepsNoMoreThanTheKey: a key that is a part of a longer text must not
// keep all of that in memory.
func TestCacheKeepsNoMoreThanTheKey(t *testing.T) {
	c := NewCache[string](10)
	url := "/key/" + strings.Repeat("x", 1000)
	key := url[1:4]
	kept, err := c.Get(t.Context(), key, func(_ context.Context, key string) (string, bool, error) { return key, true, nil })
	require.NoError(t, err)
	require.Equal(t, key, kept)
	require.NotSame(t, unsafe.StringData(key), unsafe.StringData(kept))
	for kept := range c.values.All() {
		require.NotSame(t, unsafe.StringData(key), unsafe.StringData(kept))
	}
}

// TestCacheOvertaken: what was read before a change does not enter after it.
func TestCacheOvertaken(t *testing.T) {
	for name, change := range map[string]func(*Cache[string]){
		"invalidate": func(c *Cache[string]) { c.Invalidate("a") },
		"clear":      func(c *Cache[string]) { c.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCache[string](10)
			v, err := c.Get(t.Context(), "a", func(context.Context, string) (string, bool, error) {
				change(c) // while the read is under way
				return "old", true, nil
			})
			require.NoError(t, err)
			require.Equal(t, "old", v)
			_, ok := c.Peek("a")
			require.False(t, ok)
		})
	}
}

func TestCacheBounded(t *testing.T) {
	c := NewCache[int](50)
	for i := range 5000 {
		_, err := c.Get(t.Context(), fmt.Sprint(i), func(context.Context, string) (int, bool, error) { return i, true, nil })
		require.NoError(t, err)
	}
	require.LessOrEqual(t, c.Len(), 60)
}

// TestCacheNeverStale changes values under readers: nobody sees less than what
// was there before it asked.
func TestCacheNeverStale(t *testing.T) {
	const keys = 8
	c := NewCache[int64](4)
	var truth, told [keys]atomic.Int64
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k := rand.IntN(keys)
				least := told[k].Load()
				v, err := c.Get(context.Background(), fmt.Sprint(k), func(context.Context, string) (int64, bool, error) {
					return truth[k].Load(), true, nil
				})
				if err != nil || v < least {
					t.Errorf("got %d, %d was told before", v, least)
					return
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for i := range 2000 {
				k := w*keys/2 + i%(keys/2)
				n := truth[k].Add(1)
				c.Invalidate(fmt.Sprint(k))
				told[k].Store(n)
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func BenchmarkCacheHit(b *testing.B) {
	c := NewCache[int](1000)
	load := func(context.Context, string) (int, bool, error) { return 1, true, nil }
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Get(context.Background(), "key", load); err != nil {
				b.Error(err)
			}
		}
	})
}
