package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

var errDisk = errors.New("injected")

func TestAFailingDiskDisablesTheCache(t *testing.T) {
	for name, fail := range map[string]func(*faultyDisk){
		"create": func(d *faultyDisk) { d.create = errDisk },
		"write":  func(d *faultyDisk) { d.write = errDisk },
		"full":   func(d *faultyDisk) { d.write = inventory.ErrFull },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 8*unit, nil)
			o := newOrigin(t, unit, 1)
			b.faults.set(func() { fail(b.faults) })
			r, err := b.join(o)
			if err == nil {
				_, err = io.ReadAll(r)
				require.NoError(t, r.Close())
			}
			require.Error(t, err)
			b.idle()
			require.NotEmpty(t, b.Stats().Disabled)
			_, err = b.join(o)
			require.ErrorIs(t, err, ErrOff)
			require.Len(t, o.asked(), min(len(o.asked()), 1), "the sources are not to blame")
			b.requireNothingHalf()

			b.faults.set(func() { b.faults.create, b.faults.write = nil, nil })
			b.clock.jump(time.Hour)
			b.fetch(o)
		})
	}
}

func TestReadersFinishWhereTheCopyCannotBeKept(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	o := newOrigin(t, unit, 1)
	b.faults.set(func() { b.faults.keep = errDisk })
	r, err := b.join(o)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(o.data, got))
	require.NoError(t, r.Close())
	b.idle()
	require.False(t, b.has(o))
	require.NotEmpty(t, b.Stats().Disabled)
	b.requireNothingHalf()
}

func TestNoRoomOnTheDisk(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	old, o := newOrigin(t, unit, 1), newOrigin(t, 2*unit, 2)
	b.fetch(old)
	room := int64(unit / 2)
	b.faults.set(func() { b.faults.room = &room })
	b.eventually("known", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.free == room
	})
	_, err := b.join(o)
	require.ErrorIs(t, err, ErrOnce, "something would have to give way")
	_, err = b.join(o)
	require.ErrorIs(t, err, ErrFull)
	b.idle()
	require.Empty(t, b.Stats().Disabled, "something smaller may fit")

	require.Empty(t, b.files("cache"), "what there was did give way")
}

func TestCopiesKeepOutOfTheReserve(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	for i := range 3 {
		b.fetch(newOrigin(t, unit, uint64(i)))
	}
	short := int64(-unit - 1)
	b.faults.set(func() { b.faults.room = &short })
	b.eventually("copies give way to what needs the reserve", func() bool { return b.Stats().Files == 0 })
	b.eventually("files too", func() bool { return len(b.files("cache")) == 0 })
}

func TestADiskThatHangs(t *testing.T) {
	b := newBench(t, 8*unit, func(t *tuning) { t.stall = 30 * time.Millisecond })
	o := newOrigin(t, unit, 1)
	hang := make(chan struct{})
	b.faults.set(func() { b.faults.hang = hang })
	r, err := b.join(o)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, ErrStalled, "who waits goes on elsewhere")
	require.NoError(t, r.Close())

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Cache.Close(ctx), context.DeadlineExceeded, "closing does not wait for ever")
	close(hang)
	b.idle()
}

func TestADiskThatIsSlowToBegin(t *testing.T) {
	b := newBench(t, 8*unit, func(t *tuning) { t.ready = 20 * time.Millisecond })
	o := newOrigin(t, unit, 1)
	slow := make(chan struct{})
	b.faults.set(func() { b.faults.slow = slow })
	for range 2 {
		_, err := b.join(o)
		require.ErrorIs(t, err, ErrBusy, "nobody waits long for a copy")
	}
	close(slow)
	b.idle()
	require.True(t, b.has(o), "which is made all the same")
}

func TestAFileThatIsGoneOrCutShort(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	o := newOrigin(t, unit, 1)
	b.fetch(o)
	require.NoError(t, os.Remove(b.copyPath(o)))
	require.False(t, b.has(o))
	require.Zero(t, b.Stats().Bytes)
	b.fetch(o)
	require.NoError(t, os.Truncate(b.copyPath(o), 10))
	require.False(t, b.has(o))
	b.eventually("it is removed", func() bool { return len(b.files("cache")) == 0 })
	b.fetch(o)
}

func TestWhatCannotBeRemovedIsTriedAgain(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	o := newOrigin(t, unit, 1)
	b.fetch(o)
	b.faults.set(func() { b.faults.remove = errDisk })
	b.Drop(o.hash)
	require.False(t, b.has(o))
	require.Len(t, b.files("cache"), 1)
	b.faults.set(func() { b.faults.remove = nil })
	b.eventually("it is removed", func() bool { return len(b.files("cache")) == 0 })
}

func TestAMediumThatGoesAndComes(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	o := newOrigin(t, unit, 1)
	b.fetch(o)
	b.faults.set(func() { b.faults.gone = true })
	require.False(t, b.has(o))
	_, err := b.join(o)
	require.ErrorIs(t, err, ErrOff)
	require.Equal(t, offMedium, b.Stats().Disabled)
	b.faults.set(func() { b.faults.gone = false })
	require.True(t, b.has(o), "the same medium again")

	// The volume lets go of it, and takes it again.
	b.volume.Lost("claimed elsewhere")
	require.False(t, b.has(o))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.volume.Run(ctx) }()
	b.eventually("listed anew", func() bool { return b.Stats().Disabled == "" })
	require.True(t, b.has(o))
	cancel()
	require.NoError(t, <-done)
}

func TestClonesComeFirst(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	for i := range 4 {
		b.fetch(newOrigin(t, unit, uint64(i)))
	}
	require.True(t, b.give(unit+1))
	require.EqualValues(t, 2, b.Stats().Files)
	require.Len(t, b.files("cache"), 2)
	require.True(t, b.give(100*unit))
	require.False(t, b.give(1), "there is nothing left to give")
}

func FuzzParseName(f *testing.F) {
	f.Add("a9/a9993e364706816aba3e25717850c26c9cd0d89d.3")
	f.Add("a9/a9993e364706816aba3e25717850c26c9cd0d89d.03")
	f.Add("a9/../a9/x.1")
	f.Fuzz(func(t *testing.T, name string) {
		h, size, ok := parseName(name)
		if !ok {
			return
		}
		require.False(t, h.IsZero())
		require.Positive(t, size)
		require.Equal(t, name, nameOf(h, size))
	})
}

func newHash(t testing.TB, seed uint64) content.Hash {
	t.Helper()
	sum := make([]byte, 20)
	fill(sum, seed)
	h, err := content.HashOf(content.SHA1, sum)
	require.NoError(t, err)
	return h
}
