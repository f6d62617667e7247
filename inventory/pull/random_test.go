package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plan is what one viewer does.
type plan struct {
	content, chunk     int
	offset, end, leave int64 // leave: how many bytes it wants before it goes, -1: all
	cut                bool  // it goes in the middle of a read
	drop               bool
}

// TestEveryByteIsTheContents has viewers come and go at any offset while
// sources break off, copies give way and contents are dropped: whatever a
// reader gets is the content's, and who goes on at the source after an error
// has it all.
func TestEveryByteIsTheContents(t *testing.T) {
	b := newBench(t, 1<<20, func(t *tuning) {
		t.holdBack, t.ahead, t.buffer, t.fetches = 10_000, 50_000, 7_000, 4
		t.patience, t.stall, t.refuseGone = 2*time.Millisecond, 10*time.Second, time.Millisecond
	})
	var origins []*origin
	for i := range 10 {
		o := newOrigin(t, 1+i*i*4_000, uint64(i))
		o.body = func(call int, r io.Reader) io.Reader {
			if call%3 == 0 {
				return r
			}
			return breakAfter(r, int64(1+call*37_000%90_000))
		}
		o.open1 = func(call int, _ int64) error {
			if call%7 == 6 {
				return errBroken
			}
			return nil
		}
		origins = append(origins, o)
	}
	rapid.Check(t, func(rt *rapid.T) {
		plans := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) plan {
			p := plan{content: rapid.IntRange(0, len(origins)-1).Draw(rt, "content"), chunk: rapid.IntRange(1, 40_000).Draw(rt, "chunk")}
			size := origins[p.content].size()
			p.offset = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, size-1)).Draw(rt, "offset")
			p.end = rapid.OneOf(rapid.Just(size), rapid.Int64Range(p.offset+1, size)).Draw(rt, "end")
			p.leave = rapid.OneOf(rapid.Just(int64(-1)), rapid.Int64Range(0, size)).Draw(rt, "leave")
			p.cut, p.drop = rapid.Bool().Draw(rt, "cut"), rapid.IntRange(0, 20).Draw(rt, "drop") == 0
			return p
		}), 1, 12).Draw(rt, "viewers")
		var viewers sync.WaitGroup
		errs := make([]error, len(plans))
		for i, p := range plans {
			viewers.Go(func() { errs[i] = b.watch(origins[p.content], p) })
		}
		viewers.Wait()
		if err := errors.Join(errs...); err != nil {
			rt.Fatalf("%v", err)
		}
		// A fetch that was let in makes its room before it writes anything.
		require.Eventually(rt, func() bool { return b.Stats().Bytes <= b.max }, 30*time.Second, time.Millisecond)
		require.GreaterOrEqual(rt, b.Stats().Bytes, int64(0))
	})
	b.idle()
	for _, o := range origins {
		b.has(o)
	}
	b.requireNothingHalf()
	stats := b.Stats()
	require.Positive(t, stats.Joined)
	require.Positive(t, stats.Fetched)
	require.Positive(t, stats.Evicted)
	b.Clear()
	b.eventually("nothing is left", func() bool { return len(b.files("cache")) == 0 })
	require.Zero(t, b.Stats().Bytes)
}

// watch is one viewer: it goes on at the source where the cache has no more.
func (b *bench) watch(o *origin, p plan) error {
	if p.drop {
		b.Drop(o.hash)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	want := o.data[p.offset:p.end]
	r, err := b.Join(ctx, o.hash, o.size(), p.offset, p.end, o.open)
	if err != nil {
		return known(err)
	}
	defer r.Close()
	buf := make([]byte, p.chunk)
	for got := int64(0); ; {
		n, err := r.Read(buf)
		if int64(n) > int64(len(want))-got || !bytes.Equal(buf[:n], want[got:got+int64(n)]) {
			return fmt.Errorf("%d bytes at %d are not the content's", n, p.offset+got)
		}
		got += int64(n)
		switch {
		case err == io.EOF && got != int64(len(want)):
			return fmt.Errorf("it ended %d bytes early", int64(len(want))-got)
		case err == io.EOF:
			return nil
		case err != nil:
			return known(err)
		case p.leave >= 0 && got >= p.leave && p.cut:
			cancel()
		case p.leave >= 0 && got >= p.leave:
			return nil
		}
	}
}

// known lets pass what a reader may end with here.
func known(err error) error {
	for _, e := range []error{ErrAhead, ErrBusy, ErrFull, ErrOnce, ErrGone, errBroken, context.Canceled} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
