package pull

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkFile opens one whole copy, as all requests for a popular content do.
func BenchmarkFile(b *testing.B) {
	c := newBench(b, 64*unit, nil)
	o := newOrigin(b, unit, 1)
	c.fetch(o)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f, ok := c.File(o.hash)
			if !ok {
				b.Error("it is gone")
				return
			}
			_ = f.Close()
		}
	})
}

// BenchmarkMiss looks for what is not there.
func BenchmarkMiss(b *testing.B) {
	c := newBench(b, 64*unit, nil)
	h := newHash(b, 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.File(h)
		}
	})
}

// BenchmarkFetch fetches contents of 64 MiB with one reader each.
func BenchmarkFetch(b *testing.B) {
	c := newBench(b, 200<<20, nil)
	o := newOrigin(b, 64<<20, 1)
	buf := make([]byte, 256<<10)
	b.SetBytes(o.size())
	b.ReportAllocs()
	for b.Loop() {
		r, err := c.Join(b.Context(), o.hash, o.size(), 0, o.size(), o.open)
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
		require.NoError(b, err)
		require.NoError(b, r.Close())
		c.idle()
		c.Clear()
	}
}
