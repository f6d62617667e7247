package journal

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// away makes three nodes of which one was away while another removed things
// and dropped the tombstones: b and c follow a, c until something.
func away(t *testing.T) (wall *wallClock, a, b, c *running) {
	wall = newWallClock()
	clock := func() Options { return Options{Clock: record.NewClock(wall.time)} }
	a, b, c = start(t, clock()), start(t, clock()), start(t, clock())
	a.putMany(record.Inventory, 1200, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Value: []byte("1")}
	})
	b.follow(a, a.Source())
	link := c.follow(a, a.Source())
	b.reaches(a.Source(), 1200)
	c.reaches(a.Source(), 1200)
	link.cut()
	a.putMany(record.Inventory, 700, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Delete: true}
	})
	b.reaches(a.Source(), 1900)
	wall.advance(record.KeepTombstone + time.Minute)
	require.Equal(t, 700, a.sweep())
	last := a.put(record.Inventory, "new", record.Change{Member: "s", Value: []byte("1")})
	b.reaches(a.Source(), last.Revision)
	return wall, a, b, c
}

// TestStartOver: who was away for so long that it can't be told what was
// removed is told everything that is left, and drops the rest.
func TestStartOver(t *testing.T) {
	_, a, _, c := away(t)
	mine := c.put(record.Inventory, "h1", record.Change{Member: "s", Value: []byte("mine")})
	var told seen
	defer c.Watch(record.Inventory, told.add)()
	require.NoError(t, c.Import(t.Context(), []record.Record{{
		Topic: record.Inventory, Key: "ahead", Member: "s", Source: a.Source(), Time: mine.Time, Revision: 5000, Value: []byte("1"),
	}}))
	told.take()
	c.follow(a, a.Source())
	c.reaches(a.Source(), 1901)
	require.Len(t, c.get(record.Inventory, "h1"), 1, "what others wrote stays")
	require.Empty(t, c.get(record.Inventory, "h2"))
	require.Len(t, c.get(record.Inventory, "h1000"), 1)
	require.Len(t, c.get(record.Inventory, "ahead"), 1, "what is newer than the mark stays")
	require.Equal(t, a.state(a.Source()).dropped, c.state(a.Source()).dropped)
	gone := 0
	for _, r := range told.take() {
		if r.Deleted {
			gone++
			require.Empty(t, r.Value)
		}
	}
	require.Equal(t, 700, gone, "watchers are told")
	require.EqualValues(t, 503, c.Stats().Records[record.Inventory])
	require.Len(t, c.keys("m"), 503)
	require.Len(t, c.keys("v"), 503)
}

// TestStartOverWhileRelaying: one that started over has its own followers do
// the same, those that are on the line included.
func TestStartOverWhileRelaying(t *testing.T) {
	wall, a, b, c := away(t)
	d := start(t, Options{Clock: record.NewClock(wall.time)})
	d.follow(c, a.Source())
	d.reaches(a.Source(), 1200)
	c.follow(a, a.Source())
	d.reaches(a.Source(), 1901)
	require.EqualValues(t, 501, d.Stats().Records[record.Inventory])
	require.Equal(t, c.state(a.Source()), d.state(a.Source()))
	same(t, c, d)
	require.Equal(t, a.Digests(), d.Digests())

	// One that still has its tombstones can tell who is behind.
	e := start(t, Options{Clock: record.NewClock(wall.time)})
	e.follow(b, a.Source())
	e.reaches(a.Source(), 1901)
	require.Equal(t, a.Digests(), e.Digests())
}

// TestStartOverBroken: one that is broken off anywhere begins anew.
func TestStartOverBroken(t *testing.T) {
	_, a, _, c := away(t)
	stream := wire(t, a, a.Source(), 1200)
	for _, part := range []int{10, 60, len(stream) / 2, len(stream) - 5} {
		require.Error(t, c.Follow(t.Context(), a.Source(), "a", bytes.NewReader(stream[:part]), nil))
		require.EqualValues(t, 1200, c.Claims()[a.Source()])
		require.EqualValues(t, 1200, c.Since(a.Source(), "a"))
		require.GreaterOrEqual(t, c.Stats().Records[record.Inventory], int64(1200))
	}
	// Broken off in the midst of dropping.
	ctx, cancel := context.WithCancel(t.Context())
	defer c.Watch(record.Inventory, func(records []record.Record) {
		if records[0].Deleted {
			cancel()
		}
	})()
	require.ErrorIs(t, c.Follow(ctx, a.Source(), "a", bytes.NewReader(stream), nil), context.Canceled)
	left := c.Stats().Records[record.Inventory]
	require.Less(t, left, int64(1200))
	require.EqualValues(t, 1200, c.Claims()[a.Source()])
	// Nor does one who lags bring back what is dropped already.
	lagging := a.walk()[0]
	lagging.Key, lagging.Revision = "h3", 4
	require.NoError(t, c.Import(t.Context(), []record.Record{lagging}))
	require.Empty(t, c.get(record.Inventory, "h3"))
	c = c.reopen()
	require.ErrorContains(t, c.Follow(t.Context(), a.Source(), "a", bytes.NewReader(stream), nil), "EOF")
	require.Equal(t, a.Digests(), c.Digests())
	require.EqualValues(t, 1901, c.Claims()[a.Source()])
}

// TestDroppedWhileRead: tombstones that go while a stream is under way are not
// missed by who reads it.
func TestDroppedWhileRead(t *testing.T) {
	wall := newWallClock()
	a := start(t, Options{Clock: record.NewClock(wall.time)})
	b := start(t, Options{Clock: record.NewClock(wall.time)})
	a.putMany(record.Inventory, 3000, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Value: []byte("1")}
	})
	require.ErrorContains(t, b.Follow(t.Context(), a.Source(), "a", bytes.NewReader(wire(t, a, a.Source(), 0)), nil), "EOF")
	a.putMany(record.Inventory, 2000, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Delete: true}
	})
	wall.advance(record.KeepTombstone + time.Minute)
	var stream []byte
	swept := false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	marks := 0
	err := a.Stream(ctx, a.Source(), 3000, writerFunc(func(p []byte) (int, error) {
		stream = append(stream, p...)
		if len(stream) > 10_000 && !swept {
			swept = true
			require.Equal(t, 2000, a.sweep())
		}
		return len(p), nil
	}), func() error { marks++; return errCut })
	require.ErrorIs(t, err, errCut)
	require.True(t, swept)
	require.ErrorContains(t, b.Follow(t.Context(), a.Source(), "a", bytes.NewReader(stream), nil), "EOF")
	require.Equal(t, a.Digests(), b.Digests())
	require.EqualValues(t, 5000, b.Claims()[a.Source()])
	require.EqualValues(t, 5000, b.state(a.Source()).dropped)
}
