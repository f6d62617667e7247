package pull

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// want says that other nodes want a copy, for a minute.
func (b *bench) want(o *origin) (State, error) {
	return b.Want(o.hash, o.size(), b.clock.now().Add(time.Minute), o.open)
}

// wanted has a copy made for other nodes.
func (b *bench) wanted(o *origin) {
	b.t.Helper()
	state, err := b.want(o)
	require.NoError(b.t, err)
	require.Equal(b.t, Begun, state)
	b.idle()
	state, err = b.want(o)
	require.NoError(b.t, err)
	require.Equal(b.t, Whole, state)
}

// lends tells whether another node gets the right copy.
func (b *bench) lends(o *origin) bool {
	b.t.Helper()
	f, ok := b.Lend(o.hash)
	if !ok {
		return false
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	require.NoError(b.t, err)
	require.True(b.t, bytes.Equal(o.data, got))
	return true
}

func TestOneFetchForAllThatWantACopy(t *testing.T) {
	b := newBench(t, 64*unit, nil)
	o := newOrigin(t, 2*unit, 1)
	o.hold(0)
	for _, expected := range []State{Begun, Coming, Coming} {
		state, err := b.want(o)
		require.NoError(t, err)
		require.Equal(t, expected, state)
	}
	require.False(t, b.lends(o), "it is not whole yet")
	viewer, err := b.join(o)
	require.NoError(t, err, "viewers here wait for the same fetch")
	o.pass(o.size())
	_, err = io.Copy(io.Discard, viewer)
	require.NoError(t, err)
	require.NoError(t, viewer.Close())
	b.idle()
	require.True(t, b.lends(o))
	require.Equal(t, []int64{0}, o.asked())
	require.EqualValues(t, 1, b.Stats().Lent)
}

func TestWhatIsWantedIsBounded(t *testing.T) {
	b := newBench(t, 8*unit, nil)
	_, err := b.want(newOrigin(t, 9*unit, 1))
	require.ErrorIs(t, err, ErrFull)
	_, err = b.Want(newHash(t, 1), 0, b.clock.now(), nil)
	require.ErrorIs(t, err, errRange)
	var all []*origin
	for i := range defaultTuning().wanted {
		o := newOrigin(t, unit, uint64(10+i))
		o.hold(0)
		_, err := b.want(o)
		require.NoError(t, err)
		all = append(all, o)
	}
	other := newOrigin(t, unit, 2)
	_, err = b.want(other)
	require.ErrorIs(t, err, ErrBusy)
	viewer, err := b.join(other)
	require.NoError(t, err, "viewers here still get theirs")
	_, err = io.Copy(io.Discard, viewer)
	require.NoError(t, err)
	require.NoError(t, viewer.Close())
	for _, o := range all {
		o.pass(o.size())
	}
	b.idle()
	for _, o := range all {
		require.True(t, b.lends(o))
	}
	_, err = b.Want(all[0].hash, unit+1, b.clock.now(), nil)
	require.ErrorIs(t, err, errSize)

	_, err = b.index.Remove(t.Context(), all[0].hash)
	require.NoError(t, err)
	require.False(t, b.lends(all[0]), "removed")
	_, err = b.want(all[0])
	require.ErrorIs(t, err, ErrGone)
	b.faults.set(func() { b.faults.gone = true })
	_, err = b.want(newOrigin(t, unit, 3))
	require.ErrorIs(t, err, ErrOff)
}

// Room is made at once for what other nodes want. When they want it no more it
// goes first, but for what viewers here use.
func TestWhatCoolsGoesFirst(t *testing.T) {
	b := newBench(t, 4*unit, nil)
	old, used, cold, kept := newOrigin(t, unit, 1), newOrigin(t, unit, 2), newOrigin(t, unit, 3), newOrigin(t, unit, 4)
	b.fetch(old)
	b.clock.jump(time.Second)
	for _, o := range []*origin{used, cold, kept} {
		b.wanted(o)
		b.clock.jump(time.Second)
	}
	more := newOrigin(t, unit, 5)
	b.wanted(more) // without having been asked for before
	require.False(t, b.has(old), "the least recently used has given way")
	require.True(t, b.has(used), "a viewer here uses it")
	b.clock.jump(50 * time.Second)
	require.True(t, b.lends(kept))
	for _, o := range []*origin{kept, more} {
		_, err := b.want(o)
		require.NoError(t, err)
	}
	require.True(t, b.lends(cold), "it was used last")
	b.clock.jump(20 * time.Second)
	b.eventually("it has cooled", func() bool {
		fi, err := os.Stat(b.copyPath(cold))
		return err == nil && fi.ModTime().Equal(time.Unix(0, 0))
	})

	b.wanted(newOrigin(t, unit, 6))
	require.False(t, b.lends(cold), "it went before those used earlier")
	for _, o := range []*origin{used, kept, more} {
		require.True(t, b.lends(o))
	}
}
