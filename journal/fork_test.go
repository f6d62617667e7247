package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// leapTo says how far the next write leaps.
func (r *running) leapTo(to uint64) { r.committed.pending = leap{r.Head(), to} }

// far is a revision behind a leap.
func far(n int) uint64 { return 1<<32 + uint64(n) }

// partial has c take a stream of a source without the last bytes.
func partial(t *testing.T, c, from *running, source string, cut int) {
	t.Helper()
	s := wire(t, from, source, 0)
	require.Error(t, c.Follow(t.Context(), source, "relay", bytes.NewReader(s[:len(s)-cut]), nil))
}

// tryReopen reads the database again, as the next start does.
func (r *running) tryReopen() (*running, error) {
	r.stop()
	j, err := Open(r.opts)
	if err != nil {
		return nil, err
	}
	_ = j.Close()
	return start(r.tb, r.opts), nil
}

// TestSplitOfACopyRestoredTwice: a copy is restored twice, and one that was catching up meets both.
func TestSplitOfACopyRestoredTwice(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a := start(t, options("a"))
	c := start(t, options("c"))
	writing(a, 1, 10, "0")
	snapshot(t, a.opts.Dir, filepath.Join(base, "one"))
	snapshot(t, a.opts.Dir, filepath.Join(base, "two"))
	a.stop()
	a = start(t, options("one"))
	source := a.Source()
	a.leapTo(far(1000))
	writing(a, 11, 13, "1")
	partial(t, c, a, source, 4) // all but the mark
	a.stop()
	a = start(t, options("two"))
	a.leapTo(far(5000))
	writing(a, 11, 13, "2")
	l := c.follow(a, source)
	require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.err != nil }, 30*time.Second, time.Millisecond)
	c, err := c.tryReopen()
	require.NoError(t, err, "C can't open its database any more")
	syncAll(t, a, c)
	same(t, a, c)
}

// TestLeapsOfTwoContinuations: one that learned no more than a leap meets a continuation with another.
func TestLeapsOfTwoContinuations(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a := start(t, options("a"))
	c := start(t, options("c"))
	source := a.Source()
	writing(a, 1, 10, strings.Repeat("0", 32<<10))
	snapshot(t, a.opts.Dir, filepath.Join(base, "one"))
	writing(a, 11, 20, "0")
	a = a.reopen()
	a.leapTo(far(1000))
	writing(a, 21, 30, "0")
	s := wire(t, a, source, 0)
	// up to the first records frame
	n := firstFrames(s, 2)
	require.Error(t, c.Follow(t.Context(), source, source, bytes.NewReader(s[:n]), nil))
	a.stop()
	b := start(t, options("one"))
	b.leapTo(far(5000))
	writing(b, 11, 13, "1")
	l := c.follow(b, source)
	require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.err != nil || c.Claims()[source] > 10 }, 30*time.Second, time.Millisecond)
	l.cut()
	_, err := c.tryReopen()
	require.NoError(t, err, "C can't open its database any more")
}

// firstFrames returns how long a stream is up to some of its frames.
func firstFrames(s []byte, frames int) int {
	n := len(streamMagic) + 2
	for range frames {
		n += 4 + int(uint32(s[n])<<24|uint32(s[n+1])<<16|uint32(s[n+2])<<8|uint32(s[n+3])) + 4
	}
	return n
}

// TestImportOverALeap: a single record that a known leap left out comes by import, and its holder goes.
func TestImportOverALeap(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, c, d := start(t, options("a")), start(t, options("c")), start(t, options("d"))
	source := a.Source()
	writing(a, 1, 10, "0")
	snapshot(t, a.opts.Dir, filepath.Join(base, "one"))
	writing(a, 11, 20, "0")
	a.put(record.Purchase, "token", record.Change{Value: []byte("1"), Final: true})
	lost := a.get(record.Purchase, "token")
	a.stop()
	b := start(t, options("one"))
	writing(b, 31, 33, "1")
	partial(t, c, b, source, 4)
	require.NoError(t, c.Import(t.Context(), lost))
	l := d.follow(b, source)
	d.reaches(source, b.Head())
	l.cut()
	bs := wire(t, b, source, c.Since(source, source))
	require.Error(t, c.Follow(t.Context(), source, source, bytes.NewReader(bs), nil))
	b.stop()
	syncAll(t, c, d)
	require.NotEmpty(t, d.get(record.Purchase, "token"), "a record that one node has never comes to the others")
	same(t, c, d)
}

// TestImportBehindAnUnknownLeap: what comes by import from behind a leap that is not known drops nothing of another branch.
func TestImportBehindAnUnknownLeap(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, c, d := start(t, options("a")), start(t, options("c")), start(t, options("d"))
	source := a.Source()
	writing(a, 1, 9, "0")
	a.put(record.Purchase, "token", record.Change{Value: []byte("0")})
	snapshot(t, a.opts.Dir, filepath.Join(base, "one"))
	snapshot(t, a.opts.Dir, filepath.Join(base, "two"))
	writing(a, 11, 20, "0")
	l := c.follow(a, source)
	c.reaches(source, 20)
	l.cut()
	a.stop()
	a = start(t, options("one"))
	a.leapTo(far(1000))
	writing(a, 31, 33, "1")
	meeting(t, a, c)
	a.put(record.Purchase, "token", record.Change{Value: []byte("1"), Final: true})
	everything(t, a, c, d)
	same(t, a, c)
	p, _ := record.Merge(record.Purchase, c.get(record.Purchase, "token"))
	require.True(t, p.Final)
	a.stop()
	b := start(t, options("two")) // and set back again, to before it was split
	b.leapTo(far(5000))
	writing(b, 31, 33, "2")
	b.put(record.Purchase, "token", record.Change{Value: []byte("2")})
	require.NoError(t, c.Import(t.Context(), b.get(record.Purchase, "token")))
	p, _ = record.Merge(record.Purchase, c.get(record.Purchase, "token"))
	require.True(t, p.Final, "revoked, and works again")
}

// TestImportOfBothContinuations: of two versions under one name that may be of two continuations, the final one stays.
func TestImportOfBothContinuations(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, c := start(t, options("a")), start(t, options("c"))
	a.put(record.Purchase, "token", record.Change{Value: []byte("0")})
	snapshot(t, a.opts.Dir, filepath.Join(base, "one"))
	a.put(record.Purchase, "token", record.Change{Value: []byte("0"), Final: true})
	require.NoError(t, c.Import(t.Context(), a.get(record.Purchase, "token")))
	a.stop()
	b := start(t, options("one"))
	b.put(record.Purchase, "token", record.Change{Value: []byte("1")})
	require.NoError(t, c.Import(t.Context(), b.get(record.Purchase, "token")))
	p, _ := record.Merge(record.Purchase, c.get(record.Purchase, "token"))
	require.True(t, p.Final, "revoked, and works again")
}

// syncAll has all follow all of one another, in order, until nothing changes.
func syncAll(t *testing.T, nodes ...*running) {
	t.Helper()
	for range 6 {
		meeting(t, nodes...)
		for _, a := range nodes {
			for _, b := range nodes {
				for _, s := range b.Catalogue() {
					if a == b || s.Source == a.Source() {
						continue
					}
					since := a.Since(s.Source, b.Source())
					if s.Own && b.Ahead(since) {
						continue
					}
					if st := b.state(s.Source); func() bool { _, in := st.leapt(s.Source, since); return in }() {
						continue
					}
					stream := wire(t, b, s.Source, since)
					err := a.Follow(t.Context(), s.Source, b.Source(), bytes.NewReader(stream), nil)
					if !errors.Is(err, io.EOF) {
						require.ErrorIs(t, err, ErrForked)
					}
				}
			}
		}
	}
}

// TestTwoSplitsBroken: the process ends in the midst of two splits.
func TestTwoSplitsBroken(t *testing.T) {
	base := t.TempDir()
	var sources []string
	c := start(t, Options{Dir: filepath.Join(base, "c"), Cluster: true})
	for i := range 2 {
		a := start(t, Options{Dir: filepath.Join(base, fmt.Sprint(i)), Cluster: true})
		writing(a, 1, 10, "0")
		a = a.reopen()
		writing(a, 11, 20, "1")
		syncAll(t, a, c)
		sources = append(sources, a.Source())
		a.stop()
	}
	// both begin, and end in the midst (by a disk that is full)
	full := false
	c.stop()
	j, err := Open(c.opts)
	require.NoError(t, err)
	n := 0
	j.space.free = func(string) (int64, error) {
		if full {
			return 0, nil
		}
		return 1 << 40, nil
	}
	j.sync = func(txn *badger.Txn) error { n++; full = n%2 == 1; return txn.Commit() }
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	for _, s := range sources {
		full, n = false, 0
		require.Error(t, j.Part(t.Context(), []SourceState{{Source: s, Claim: 15}}))
	}
	full = false
	require.NoError(t, j.Close())
	<-done
	j, err = Open(c.opts)
	require.NoError(t, err)
	defer j.Close()
	require.Len(t, j.committed.moving, 4)
}

// TestStreamWhileATombstoneGoes: who reads while a tombstone is dropped is told that it was there.
func TestStreamWhileATombstoneGoes(t *testing.T) {
	base := t.TempDir()
	wall := newWallClock()
	a := start(t, Options{Dir: filepath.Join(base, "a"), Clock: record.NewClock(wall.time)})
	b := start(t, Options{Dir: filepath.Join(base, "b"), Clock: record.NewClock(wall.time)})
	source := a.Source()
	a.put(record.Peer, "p", record.Change{Value: []byte("1")})
	require.ErrorIs(t, b.Follow(t.Context(), source, source, bytes.NewReader(wire(t, a, source, 0)), nil), io.EOF)
	require.EqualValues(t, 1, b.Claims()[source])
	a.put(record.Peer, "p", record.Change{Delete: true})
	wall.advance(8 * 24 * time.Hour)
	var stream []byte
	commit := a.sync
	a.sync = func(txn *badger.Txn) error {
		err := commit(txn)
		if stream == nil {
			stream = wire(t, a, source, b.Since(source, source))
		}
		return err
	}
	require.Equal(t, 1, a.sweep())
	require.ErrorIs(t, b.Follow(t.Context(), source, source, bytes.NewReader(stream), nil), io.EOF)
	require.EqualValues(t, 2, b.Claims()[source])
	require.ErrorIs(t, b.Follow(t.Context(), source, source, bytes.NewReader(wire(t, a, source, b.Since(source, source))), nil), io.EOF)
	_, live := record.Merge(record.Peer, b.get(record.Peer, "p"))
	require.False(t, live, "what was removed stays, with a claim above it")
}

// TestLeapToTheEnd: a leap that leaves no revision behind it is garbage.
func TestLeapToTheEnd(t *testing.T) {
	a, b := start(t, Options{Cluster: true}), start(t, Options{Cluster: true})
	writing(a, 1, 10, "0")
	source := a.Source()
	syncAll(t, a, b)
	w := begin{source: source, since: 10, head: 10, claim: 10, leaps: leaps{{5, math.MaxUint64}}}
	require.ErrorIs(t, b.Follow(t.Context(), source, "x", bytes.NewReader(w.appendTo(appendPreface(nil))), nil), ErrStream)
	require.Len(t, bySource(b.walk())[source], 10)
}
