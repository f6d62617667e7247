package demand

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

func hash(t testing.TB, n uint64) content.Hash {
	h, err := content.HashOf(content.SHA1, binary.BigEndian.AppendUint64(make([]byte, 12), n))
	require.NoError(t, err)
	return h
}

// per runs a counter for some seconds, with so many requests for each content in
// each of them, and returns the rates at the end.
func per(c *Counter, seconds int, requests map[content.Hash]int) map[content.Hash]float64 {
	var last []Rate
	for range seconds {
		for h, n := range requests {
			for range n {
				c.Add(h)
			}
		}
		last = c.Turn(time.Second, 20, 2)
	}
	rates := map[content.Hash]float64{}
	for _, r := range last {
		rates[r.Hash] = r.PerSecond
	}
	return rates
}

func TestRates(t *testing.T) {
	c := NewCounter()
	hot, warm, cold := hash(t, 1), hash(t, 2), hash(t, 3)
	require.Empty(t, per(c, 1, map[content.Hash]int{hot: 1000}), "nothing is counted before the first period")

	rates := per(c, 2, map[content.Hash]int{hot: 1000, warm: 30, cold: 5})
	require.Greater(t, rates[hot], 100.0, "what is asked for very often is known at once")
	require.Less(t, rates[warm], 20.0)
	require.NotContains(t, rates, cold)

	rates = per(c, 60, map[content.Hash]int{hot: 1000, warm: 30, cold: 5})
	require.InDelta(t, 1000, rates[hot], 1)
	require.InDelta(t, 30, rates[warm], 1)
	require.NotContains(t, rates, cold)

	rates = per(c, 5, nil)
	require.InDelta(t, 500, rates[hot], 1, "half of it is forgotten")
	require.InDelta(t, 15, rates[warm], 1)
	rates = per(c, 15, nil)
	require.NotContains(t, rates, warm)
	require.Empty(t, per(c, 60, nil))
	require.Empty(t, *c.watched.Load())
}

// Periods may be of any length.
func TestRatesOfOddPeriods(t *testing.T) {
	c := NewCounter()
	h := hash(t, 1)
	c.Turn(time.Second, 20, 2)
	var rates []Rate
	for i := range 400 {
		ms := 50 + i*37%1500
		for range ms / 10 {
			c.Add(h)
		}
		rates = c.Turn(time.Duration(ms)*time.Millisecond, 20, 2)
	}
	require.Len(t, rates, 1)
	require.InDelta(t, 100, rates[0].PerSecond, 5)
	require.Empty(t, c.Turn(0, 0, 2))
	require.Zero(t, testing.AllocsPerRun(100, func() { c.Add(h) }))
	require.Empty(t, c.Turn(time.Second, 20, 2), "nothing was counted while it was off")
}

// Many contents that are hardly asked for do not hide the one that is, nor does
// any number of them take memory.
func TestBoundedMemory(t *testing.T) {
	c := NewCounter()
	hot := hash(t, 1)
	c.Turn(time.Second, 20, 2)
	for second := range uint64(20) {
		for i := range uint64(2000) {
			c.Add(hash(t, 10+second*2000+i))
			if i%20 == 0 {
				c.Add(hot)
			}
		}
		require.LessOrEqual(t, len(c.Turn(time.Second, 20, 2)), maxWatched)
	}
	rates := c.Turn(time.Second, 20, 2)
	require.Len(t, rates, 1)
	require.Equal(t, hot, rates[0].Hash)

	for i := range uint64(3 * maxWatched) {
		for range 40 {
			c.Add(hash(t, 1e6+i))
		}
		if i%maxFound == 0 {
			require.LessOrEqual(t, len(c.Turn(time.Millisecond, 20, 0)), maxWatched)
		}
	}
	require.Equal(t, maxWatched, len(c.Turn(time.Millisecond, 20, 0)))
}

func TestCountedByMany(t *testing.T) {
	c := NewCounter()
	h := hash(t, 1)
	c.Turn(time.Second, 20, 2)
	for range 100 {
		c.Add(h)
	}
	c.Turn(time.Second, 20, 2)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10_000 {
				c.Add(h)
			}
		})
	}
	group.Wait()
	const before = 5
	got := c.Turn(5*time.Second, 20, 2)
	require.InDelta(t, before/2.+80_000/5/2., got[0].PerSecond, 0.01, "none is lost")
}

func TestAddAllocatesNothing(t *testing.T) {
	c := NewCounter()
	hot, cold := hash(t, 1), hash(t, 2)
	c.Turn(time.Second, 20, 2)
	for range 100 {
		c.Add(hot)
	}
	c.Turn(time.Second, 20, 2)
	require.Zero(t, testing.AllocsPerRun(1000, func() { c.Add(hot); c.Add(cold) }))
}

// The figures: what a request pays, for a content that is watched and for one
// of many that are not; run with -cpu 1,2,4. BenchmarkBaseline is one counter
// that all share, as those of metrics are.
func BenchmarkAdd(b *testing.B) {
	for name, watched := range map[string]bool{"watched": true, "others": false} {
		b.Run(name, func(b *testing.B) {
			c := NewCounter()
			all := make([]content.Hash, 1024)
			for i := range all {
				all[i] = hash(b, uint64(i))
			}
			c.Turn(time.Second, 20, 2)
			if watched {
				all = all[:1]
				for range 100 {
					c.Add(all[0])
				}
			}
			c.Turn(time.Second, 1e9, 0)
			var begun atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := int(begun.Add(1)) * 97
				for ; pb.Next(); i++ {
					c.Add(all[i%len(all)])
				}
			})
		})
	}
}

func BenchmarkBaseline(b *testing.B) {
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.Add(1)
		}
	})
}
