package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// snapshot copies the database of a journal that writes nothing at the moment,
// as it would be after a crash. The files have large holes.
func snapshot(tb testing.TB, from, to string) {
	tb.Helper()
	require.NoError(tb, os.MkdirAll(to, 0o700))
	entries, err := os.ReadDir(from)
	require.NoError(tb, err)
	for _, e := range entries {
		if e.Name() == "LOCK" || e.Name() == ballastName {
			continue
		}
		require.NoError(tb, copyHoles(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
}

func copyHoles(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	b, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := in.ReadAt(b, at)
		if n > 0 && !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF {
			return out.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// TestRenew: a database restored from an old copy goes on as a new source.
// What it wrote before it noticed is kept, and what it had written once before
// comes back from others.
func TestRenew(t *testing.T) {
	base := t.TempDir()
	wall := newWallClock()
	options := func(dir string) Options {
		return Options{Dir: filepath.Join(base, dir), Clock: record.NewClock(wall.time), Cluster: true}
	}
	a, b := start(t, options("a")), start(t, options("b"))
	l := b.follow(a, a.Source())
	for i := range 50 {
		a.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("before")})
	}
	a.Acknowledge("b", map[string]uint64{a.Source(): 50})
	a.put(record.User, "u49", record.Change{Value: []byte("before")})
	b.reaches(a.Source(), 51)
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	a.putMany(record.User, 800, func(i int) (string, record.Change) {
		return fmt.Sprint("u", 25+i), record.Change{Value: []byte("lost")}
	})
	b.reaches(a.Source(), 851)
	l.cut()
	a.stop()
	wall.advance(time.Hour)

	a = start(t, options("old"))
	old := a.Source()
	require.EqualValues(t, 51, a.Head())
	a = a.reopen() // nor do restarts in which it met nobody change what it may have to move
	var last record.Time
	for i := range 700 {
		last = a.put(record.User, fmt.Sprint("u", 40+i), record.Change{Value: []byte("after")}).Time
	}
	a = a.reopen()
	require.ErrorIs(t, a.Stream(t.Context(), old, b.Since(old, old), io.Discard, nil), ErrAhead)
	f := follow(b.Journal, a.Journal, old, nil)
	streamed := make(chan error, 1)
	go func() { streamed <- a.Stream(t.Context(), old, 0, io.Discard, nil) }()
	f.cut()
	require.Eventually(t, func() bool { return a.Stats().Streams == 1 }, 10*time.Second, time.Millisecond)

	wall.advance(-30 * time.Minute)
	require.NoError(t, a.Renew(t.Context()))
	require.ErrorIs(t, <-streamed, record.ErrUnavailable, "who reads the old source must ask again")
	require.NotEqual(t, old, a.Source())
	require.EqualValues(t, 700, a.Head())
	require.Zero(t, a.Claims()[old])
	ack := a.put(record.User, "u41", record.Change{Value: []byte("mine")})
	require.Greater(t, ack.Time, last, "the clock does not fall behind")
	require.EqualValues(t, 701, ack.Revision)

	a.follow(b, old)
	b.follow(a, a.Source())
	a.reaches(old, 851)
	b.reaches(a.Source(), 701)
	same(t, a, b)
	for i, want := range map[int]string{3: "before", 30: "lost", 39: "lost", 40: "after", 41: "mine", 739: "after", 740: "lost", 824: "lost"} {
		r, ok := record.Merge(record.User, a.get(record.User, fmt.Sprint("u", i)))
		require.True(t, ok)
		require.Equal(t, want, string(r.Value), i)
	}
	a = a.reopen()
	require.EqualValues(t, 701, a.Head())
	same(t, a, b)
}

// TestRenewBroken: where the process ends in the midst of it, the next start
// does the rest.
func TestRenewBroken(t *testing.T) {
	a := start(t, Options{})
	for i := range 100 {
		a.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("1")})
	}
	a = a.reopen()
	a.putMany(record.User, 1200, func(i int) (string, record.Change) {
		return fmt.Sprint("v", i), record.Change{Value: []byte("2")}
	})
	a.stop()
	old := a.Source()

	j, err := Open(Options{Dir: a.opts.Dir})
	require.NoError(t, err)
	j.opened = 100
	commits := 0
	j.sync = func(txn *badger.Txn) error {
		if commits++; commits == 3 {
			return errCut
		}
		return txn.Commit()
	}
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	require.ErrorIs(t, j.Renew(t.Context()), errCut)
	require.NoError(t, j.Close())
	require.NoError(t, <-done)

	a = start(t, a.opts)
	require.NotEqual(t, old, a.Source())
	require.Equal(t, j.Source(), a.Source())
	a.put(record.User, "w", record.Change{Value: []byte("3")})
	require.EqualValues(t, 1201, a.Head())
	all := bySource(a.walk())
	require.Len(t, all[old], 100)
	require.Len(t, all[a.Source()], 1201)
	require.Len(t, a.keys("r"), 1301)
	var f format
	item := a.keysValue(formatKey)
	require.NoError(t, json.Unmarshal(item, &f))
	require.Nil(t, f.Renewing)
}

// TestRenewWhileWalked: a walk meets what moves to the new source meanwhile.
func TestRenewWhileWalked(t *testing.T) {
	j := start(t, Options{Cluster: true})
	const records = pageRecords + 10
	for i := range records {
		j.put(record.User, fmt.Sprintf("k%05d", i), record.Change{Value: []byte(`1`)})
	}
	seen := make(map[string]bool)
	for r, err := range j.Walk(context.Background(), nil) {
		require.NoError(t, err)
		if len(seen) == 0 {
			require.NoError(t, j.Renew(context.Background()))
		}
		seen[r.Key] = true
	}
	require.Len(t, seen, records)
}

// TestRenewClean: where nothing was written since the old copy was opened, the
// old source stays known up to its head.
func TestRenewClean(t *testing.T) {
	a := start(t, Options{})
	a.put(record.User, "t", record.Change{Value: []byte("1")})
	a.Acknowledge("b", map[string]uint64{a.Source(): 1})
	a.put(record.User, "u", record.Change{Value: []byte("1")})
	a = a.reopen()
	old := a.Source()
	require.NoError(t, a.Renew(t.Context()))
	require.EqualValues(t, 2, a.Claims()[old])
	require.Zero(t, a.Head())
	second := a.Source()
	require.NoError(t, a.Renew(t.Context()))
	require.NotEqual(t, second, a.Source())
	require.Len(t, a.Catalogue(), 3)
}

// TestAhead: a restored database leaps over the revisions that it may have
// given before, so that who knows one of them shows it, however much is
// written before they meet.
func TestAhead(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir)} }
	a, b := start(t, options("a")), start(t, options("b"))
	b.put(record.User, "b", record.Change{Value: []byte("1")})
	a.put(record.User, "a", record.Change{Value: []byte("1")})
	ba, ab := b.follow(a, a.Source()), a.follow(b, b.Source())
	a.reaches(b.Source(), 1)
	b.reaches(a.Source(), 1)
	a.Acknowledge("b", map[string]uint64{a.Source(): 1})
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	a.put(record.User, "lost", record.Change{Value: []byte("1")})
	b.reaches(a.Source(), 2)
	ab.cut()
	ba.cut()
	a.stop()

	whole := start(t, a.opts)
	require.False(t, whole.Ahead(b.Claims()[a.Source()]))
	for i := range 3 {
		whole.put(record.User, fmt.Sprint("w", i), record.Change{Value: []byte("1")})
	}
	require.False(t, whole.Ahead(2))
	require.True(t, whole.Ahead(3))
	mine := bySource(whole.walk())[a.Source()]
	require.Equal(t, whole.Head(), mine[len(mine)-1].Revision)
	whole.Acknowledge("b", map[string]uint64{a.Source(): 2})
	require.Equal(t, map[string]uint64{"b": 3}, whole.Stats().Followers, "what was left out does not count")
	b.follow(whole, a.Source()).cut()

	a = start(t, options("old"))
	for i := range 9 {
		a.put(record.User, fmt.Sprint("n", i), record.Change{Value: []byte("1")})
	}
	require.Greater(t, a.Head(), uint64(minLeap))
	require.True(t, a.Ahead(2))
	require.False(t, a.Ahead(1))
	require.False(t, a.Ahead(a.Head()-3))
	require.ErrorIs(t, a.Stream(t.Context(), a.Source(), 2, io.Discard, nil), ErrAhead)
	require.ErrorIs(t, a.Import(t.Context(), b.get(record.User, "lost")), record.ErrInvalid, "it may not seem to be kept")
	require.NoError(t, a.Renew(t.Context()))
	require.EqualValues(t, 10, a.Head(), "all of it: that copy did not know of having met anybody")
}

func (r *running) keysValue(key []byte) (value []byte) {
	r.tb.Helper()
	require.NoError(r.tb, r.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	}))
	return value
}
