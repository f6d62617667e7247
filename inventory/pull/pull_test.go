package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unit is what sizes are multiples of here, in bytes.
const unit = 256 << 10

func TestOneFetchForAllWhoWait(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, 6*unit+123, 1)
	o.hold(0)
	var readers sync.WaitGroup
	for i := range 32 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 2))
			offset := rnd.Int64N(4 * unit)
			end := offset + 1 + rnd.Int64N(o.size()-offset)
			r, err := b.Join(t.Context(), o.hash, o.size(), offset, end, o.open)
			if err != nil {
				t.Errorf("joining at %d: %v", offset, err)
				return
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(o.data[offset:end], got) {
				t.Errorf("%d to %d: %d bytes, %v", offset, end, len(got), err)
			}
		})
	}
	b.eventually("all have joined", func() bool { return b.Stats().Joined == 32 })
	require.False(t, b.has(o), "it is not whole yet")
	o.pass(o.size())
	readers.Wait()
	b.idle()
	require.True(t, b.has(o))
	require.Equal(t, []int64{0}, o.asked())
	stats := b.Stats()
	require.Equal(t, Stats{Max: 64 * unit, Bytes: charge(o.size()), Files: 1, Hits: 1, Joined: 32, Misses: 1, Fetched: 1}, stats)
	b.requireNothingHalf()

	r, err := b.Join(t.Context(), o.hash, o.size(), 100, 200, nil)
	require.NoError(t, err)
	require.IsType(t, (*os.File)(nil), r.(interface{ File() *os.File }).File(), "it can be sent as a file")
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, o.data[100:200], got)
	require.NoError(t, r.Close())
}

func TestBytesComeWhileTheFetchGoesOn(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, 4*unit, 1)
	o.hold(unit)
	r, err := b.join(o)
	require.NoError(t, err)
	defer r.Close()
	got := make([]byte, unit)
	_, err = io.ReadFull(r, got)
	require.NoError(t, err)
	require.Equal(t, o.data[:unit], got)
	late, err := b.Join(t.Context(), o.hash, o.size(), 1000, 2000, nil)
	require.NoError(t, err)
	defer late.Close()
	got, err = io.ReadAll(late)
	require.NoError(t, err)
	require.Equal(t, o.data[1000:2000], got, "what has come is there for who comes later")

	o.pass(o.size())
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(o.data[unit:], rest))
}

func TestWhoLeavesDoesNotStopTheFetch(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, 2*unit, 1)
	o.hold(1000)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := b.Join(ctx, o.hash, o.size(), 0, o.size(), o.open)
	require.NoError(t, err)
	left := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r)
		left <- err
	}()
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "twice is no matter")
	o.pass(o.size())
	b.idle()
	require.True(t, b.has(o))
}

func TestAWrongCopyIsNeverWhole(t *testing.T) {
	for _, size := range []int{1, 1000, unit / 4, 2 * unit} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := newBench(t, 64*unit, nil)
			o := newOrigin(t, size, 1)
			right := bytes.Clone(o.data)
			o.data[size/2] ^= 1
			r, err := b.join(o)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			if len(got) > 0 {
				require.ErrorIs(t, err, ErrCorrupt)
			} else {
				require.ErrorIs(t, err, ErrGone, "it can go on elsewhere")
			}
			require.NoError(t, r.Close())
			require.Len(t, got, max(0, size-int(b.tune.holdBack)), "its end was held back, and a short one altogether")
			b.idle()
			_, ok := b.File(o.hash)
			require.False(t, ok)
			require.Empty(t, b.files("cache"))
			b.requireNothingHalf()
			require.Zero(t, b.Stats().Bytes)

			_, err = b.join(o)
			require.ErrorIs(t, err, ErrGone, "not at once again")
			b.clock.jump(time.Hour)
			o.data = right
			b.fetch(o)
		})
	}
}

func TestASourceThatIsTooShort(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, unit, 1)
	o.body = func(int, io.Reader) io.Reader { return bytes.NewReader(nil) }
	r, err := b.join(o)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, r.Close())
}

func TestGoesOnFromThatByteWithTheNextSource(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, 4*unit, 1)
	o.open1 = func(call int, _ int64) error {
		if call == 2 || call == 3 {
			return errBroken
		}
		return nil
	}
	o.body = func(call int, r io.Reader) io.Reader {
		if call < 6 {
			return breakAfter(r, 100_000)
		}
		return r
	}
	b.fetch(o)
	require.Equal(t, []int64{0, 100_000, 100_000, 100_000, 200_000, 300_000}, o.asked())
}

func TestSourcesThatGiveNothingAreGivenUp(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, unit, 1)
	o.body = func(call int, r io.Reader) io.Reader {
		if call == 1 {
			return breakAfter(r, 1000)
		}
		return &failing{errBroken}
	}
	r, err := b.join(o)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, o.data[:1000], got, "what came is given, for the reader to go on elsewhere")
	require.NoError(t, r.Close())
	require.Len(t, o.asked(), 1+b.tune.tries)
	b.idle()
	b.requireNothingHalf()

	o = newOrigin(t, unit, 2)
	o.body = func(_ int, r io.Reader) io.Reader { return breakAfter(r, 10) }
	r, err = b.join(o)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, errBroken)
	require.NoError(t, r.Close())
	require.Len(t, o.asked(), b.tune.calls, "nor for ever a few bytes at a time")
}

func TestReadersFarAhead(t *testing.T) {
	b := newBench(t, 64*unit, func(t *tuning) { t.ahead = unit })
	small, large := newOrigin(t, 8*unit, 1), newOrigin(t, 20*unit, 2)
	small.hold(0)
	large.hold(0)

	_, err := b.Join(t.Context(), large.hash, large.size(), 10*unit, 11*unit, large.open)
	require.ErrorIs(t, err, ErrAhead)
	require.Zero(t, b.Stats().Fetches, "not worth it")

	_, err = b.Join(t.Context(), small.hash, small.size(), 4*unit, 5*unit, small.open)
	require.ErrorIs(t, err, ErrAhead)
	require.EqualValues(t, 1, b.Stats().Fetches, "but the next one finds it")
	near, err := b.Join(t.Context(), small.hash, small.size(), unit, 2*unit, small.open)
	require.NoError(t, err)
	small.pass(small.size())
	got, err := io.ReadAll(near)
	require.NoError(t, err)
	require.True(t, bytes.Equal(small.data[unit:2*unit], got))
	require.NoError(t, near.Close())
	b.idle()
	require.True(t, b.has(small))
}

func TestPatienceEnds(t *testing.T) {
	b := newBench(t, 64*unit, func(t *tuning) { t.patience, t.stall = 20*time.Millisecond, 40*time.Millisecond })
	o := newOrigin(t, 4*unit, 1)
	o.hold(1000)
	ahead, err := b.Join(t.Context(), o.hash, o.size(), 2*unit, 3*unit, o.open)
	require.NoError(t, err)
	defer ahead.Close()
	first, err := b.join(o)
	require.NoError(t, err)
	defer first.Close()
	_, err = ahead.Read(make([]byte, 10))
	require.ErrorIs(t, err, ErrAhead)
	got, err := io.ReadAll(first)
	require.ErrorIs(t, err, ErrStalled)
	require.Equal(t, o.data[:1000], got)
	o.pass(o.size())
	b.idle()
	require.True(t, b.has(o), "the fetch itself went on")
}

func TestWhatIsAdmitted(t *testing.T) {
	b := newBench(t, 10*unit, func(t *tuning) { t.fetches = 2 })
	huge := newOrigin(t, 11*unit, 1)
	_, err := b.join(huge)
	require.ErrorIs(t, err, ErrFull)

	b.fetch(newOrigin(t, 5*unit, 2))
	b.fetch(newOrigin(t, 4*unit, 3))
	once := newOrigin(t, 2*unit, 4)
	_, err = b.join(once)
	require.ErrorIs(t, err, ErrOnce, "watched once, it pushes nothing out")
	b.fetch(once)
	require.EqualValues(t, 1, b.Stats().Evicted)
	require.LessOrEqual(t, b.Stats().Bytes, b.max)

	one, two, three := newOrigin(t, unit, 5), newOrigin(t, unit, 6), newOrigin(t, unit, 7)
	one.hold(0)
	two.hold(0)
	for _, o := range []*origin{one, two} {
		r, err := b.join(o)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	_, err = b.join(three)
	require.ErrorIs(t, err, ErrBusy)
	one.pass(unit)
	two.pass(unit)
	b.idle()

	for _, bad := range [][3]int64{{10, -1, 5}, {10, 5, 5}, {10, 0, 11}, {0, 0, 0}} {
		_, err = b.Join(t.Context(), three.hash, bad[0], bad[1], bad[2], three.open)
		require.ErrorIs(t, err, errRange)
	}
	_, err = b.Join(t.Context(), one.hash, 5, 0, 5, one.open)
	require.ErrorIs(t, err, errSize)
}

func TestTheDoorkeeperForgets(t *testing.T) {
	d, now := newDoorkeeper(), time.Now()
	h := newOrigin(t, 1, 1).hash
	require.False(t, d.again(h, now, time.Hour))
	require.True(t, d.again(h, now.Add(time.Minute), time.Hour))
	require.True(t, d.again(h, now.Add(time.Hour+time.Minute), time.Hour))
	require.False(t, d.again(h, now.Add(4*time.Hour), time.Hour))
	for i := range 3 * maxAsked {
		d.again(newHash(t, uint64(i)), now, time.Hour)
	}
	require.LessOrEqual(t, len(d.now)+len(d.then), 2*maxAsked)
}

func TestTheLeastRecentlyUsedGoesFirst(t *testing.T) {
	b := newBench(t, 4*unit, nil)
	var all []*origin
	for i := range 4 {
		o := newOrigin(t, unit, uint64(i))
		b.fetch(o)
		b.clock.jump(time.Second)
		all = append(all, o)
	}
	require.True(t, b.has(all[0])) // now the latest
	b.clock.jump(time.Second)
	for i := range 3 {
		o := newOrigin(t, unit, uint64(10+i))
		_, err := b.join(o)
		require.ErrorIs(t, err, ErrOnce)
		b.fetch(o)
		b.clock.jump(time.Second)
		require.LessOrEqual(t, b.Stats().Bytes, b.max)
	}
	require.Len(t, b.files("cache"), 4)
	require.True(t, b.has(all[0]))
	for _, o := range all[1:] {
		require.False(t, b.has(o))
	}
	b.SetMax(unit)
	b.eventually("the rest has given way", func() bool { return len(b.files("cache")) == 1 })
	require.True(t, b.has(all[0]))
}

func TestCopiesSurviveARestart(t *testing.T) {
	b := newBench(t, 4*unit, func(t *tuning) { t.touchEvery = time.Minute })
	old, used, cut, gone := newOrigin(t, unit, 1), newOrigin(t, unit, 2), newOrigin(t, unit, 3), newOrigin(t, unit, 4)
	for _, o := range []*origin{used, old, cut, gone} {
		b.fetch(o)
	}
	b.clock.jump(2 * time.Minute)
	require.True(t, b.has(used))
	b.eventually("its use is noted on the disk", func() bool {
		fi, err := os.Stat(b.copyPath(used))
		return err == nil && fi.ModTime().After(time.Now().Add(time.Minute))
	})
	half := newOrigin(t, unit, 5)
	b.close()
	require.NoError(t, os.Truncate(b.copyPath(cut), 100))
	require.NoError(t, os.WriteFile(b.root+"/cache/readme", nil, 0o644))
	_, err := b.index.Remove(t.Context(), gone.hash)
	require.NoError(t, err)
	b.open()

	require.True(t, b.has(old))
	require.True(t, b.has(used))
	require.False(t, b.has(cut))
	require.False(t, b.has(gone), "removed while nobody looked")
	b.eventually("what is not whole is gone", func() bool { return len(b.files("cache")) == 3 })
	require.EqualValues(t, 2*unit, b.Stats().Bytes)
	require.Equal(t, "readme", b.files("cache")[2], "what is not ours stays")
	b.fetch(cut)
	b.fetch(half)

	// The order of use has survived.
	b.close()
	b.age(old, time.Now().Add(-time.Hour))
	b.open()
	b.SetMax(3 * unit)
	b.eventually("one has given way", func() bool { return b.Stats().Files == 3 })
	require.False(t, b.has(old))
}

func TestHalfCopiesGoWithTheNextStart(t *testing.T) {
	b := newBench(t, 4*unit, nil)
	o := newOrigin(t, unit, 1)
	o.hold(1000)
	r, err := b.join(o)
	require.NoError(t, err)
	_, err = r.Read(make([]byte, 10))
	require.NoError(t, err)
	require.Len(t, b.files("tmp"), 1, "where the next one who takes the root sweeps")
	require.Empty(t, b.files("cache"))
	b.close()
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, ErrOff)
	require.NoError(t, r.Close())
	b.requireNothingHalf()
	_, err = b.join(o)
	require.ErrorIs(t, err, ErrOff)
	_, ok := b.File(o.hash)
	require.False(t, ok)
	require.Equal(t, offClosed, b.Stats().Disabled)
}

func TestRemovalsAndBlocksAreObeyed(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	whole, half := newOrigin(t, unit, 1), newOrigin(t, unit, 2)
	b.fetch(whole)
	half.hold(1000)
	r, err := b.join(half)
	require.NoError(t, err)
	for _, o := range []*origin{whole, half} {
		_, err := b.index.Remove(t.Context(), o.hash)
		require.NoError(t, err)
	}
	_, ok := b.File(whole.hash)
	require.False(t, ok)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, ErrGone)
	require.NoError(t, r.Close())
	b.idle()
	b.eventually("nothing is left", func() bool { return len(b.files("cache")) == 0 })
	b.requireNothingHalf()
	_, err = b.join(whole)
	require.ErrorIs(t, err, ErrGone)

	// Later a fetch that should never have begun comes to nothing.
	b.clock.jump(time.Minute)
	r, err = b.join(whole)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.True(t, err == nil || errors.Is(err, ErrGone))
	require.NoError(t, r.Close())
	b.idle()
	require.Empty(t, b.files("cache"))
}

func TestClear(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	o := newOrigin(t, unit, 1)
	b.fetch(o)
	require.Equal(t, 1, b.Clear())
	require.False(t, b.has(o))
	b.eventually("the file is gone", func() bool { return len(b.files("cache")) == 0 })
	require.Zero(t, b.Stats().Bytes)
	b.fetch(o)
}
