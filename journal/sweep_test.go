package journal

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

const day = 24 * time.Hour

// keys lists the database's keys of the kinds.
func (r *running) keys(kinds string) []string {
	r.tb.Helper()
	var keys []string
	for _, kind := range []byte(kinds) {
		err := r.db.View(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kind}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				keys = append(keys, string(it.Item().Key()))
			}
			return nil
		})
		require.NoError(r.tb, err)
	}
	return keys
}

func other(source string, revision uint64, topic record.Topic, key string, at time.Time, change func(*record.Record)) record.Record {
	r := record.Record{Topic: topic, Key: key, Source: source, Time: record.TimeOf(at), Revision: revision, Value: []byte("1")}
	if change != nil {
		change(&r)
	}
	return r
}

// TestExpire: purchases, uses and sessions go with all their versions an hour
// after the latest expiry, and nothing of them stays.
func TestExpire(t *testing.T) {
	for _, topic := range []record.Topic{record.Purchase, record.Use, record.Session} {
		t.Run(string(topic), func(t *testing.T) {
			wall := newWallClock()
			j := start(t, Options{Clock: record.NewClock(wall.time)})
			var told seen
			defer j.Watch(topic, told.add)()
			begin := wall.time()
			j.put(topic, "t1", record.Change{Value: []byte("1"), Expires: begin.Add(time.Hour).UnixMilli()})
			j.put(topic, "kept", record.Change{Value: []byte("1")})
			j.Inject(other("other", 1, topic, "t1", begin, func(r *record.Record) { r.Expires = begin.Add(3 * time.Hour).UnixMilli() }))
			told.take()

			wall.set(begin.Add(2*time.Hour + time.Minute))
			require.Zero(t, j.sweep(), "one of its versions lives on")
			require.Len(t, j.get(topic, "t1"), 2)
			wall.set(begin.Add(4*time.Hour - time.Minute))
			require.Zero(t, j.sweep(), "answered as expired")
			wall.set(begin.Add(4*time.Hour + time.Minute))
			require.Equal(t, 2, j.sweep())
			require.Empty(t, j.get(topic, "t1"))
			require.Zero(t, j.sweep())

			gone := told.take()
			require.Len(t, gone, 2)
			for _, r := range gone {
				require.Equal(t, "t1", r.Key)
				require.True(t, r.Deleted)
				require.Empty(t, r.Value)
			}
			require.Len(t, j.walk(), 1)
			require.Len(t, j.keys("rvxm"), 2, "the record that is kept, and its revision")
			require.EqualValues(t, 1, j.Stats().Records[topic])
			require.EqualValues(t, 2, j.Stats().Expired)
		})
	}
}

// TestExpireReplaced: an expiry that was put off counts, one that was
// shortened as well, one that was removed no more.
func TestExpireReplaced(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	begin := wall.time()
	at := func(key string, d time.Duration) {
		c := record.Change{Value: []byte("1")}
		if d != 0 {
			c.Expires = begin.Add(d).UnixMilli()
		}
		j.put(record.Purchase, key, c)
	}
	at("longer", time.Hour)
	at("longer", 10*time.Hour)
	at("shorter", 10*time.Hour)
	at("shorter", time.Hour)
	at("never", time.Hour)
	at("never", 0)
	wall.set(begin.Add(3 * time.Hour))
	require.Equal(t, 1, j.sweep())
	require.Empty(t, j.get(record.Purchase, "shorter"))
	at("late", time.Minute) // due before what was swept already
	require.Equal(t, 1, j.sweep())
	wall.set(begin.Add(12 * time.Hour))
	require.Equal(t, 1, j.sweep())
	require.Len(t, j.walk(), 1)
	require.Len(t, j.keys("rvxm"), 2)
}

// TestExpireFinal: what was revoked is remembered for 30 days beyond the
// latest expiry that was seen.
func TestExpireFinal(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	begin := wall.time()
	j.put(record.Purchase, "t", record.Change{Expires: begin.Add(time.Hour).UnixMilli(), Final: true})
	j.Inject(other("other", 1, record.Purchase, "t", begin, func(r *record.Record) { r.Expires = begin.Add(2 * day).UnixMilli() }))
	for _, d := range []time.Duration{3 * time.Hour, 2*day + 2*time.Hour, 30*day + 2*time.Hour, 32*day - time.Hour} {
		wall.set(begin.Add(d))
		require.Zero(t, j.sweep(), d)
		require.Len(t, j.get(record.Purchase, "t"), 2)
	}
	wall.set(begin.Add(32*day + time.Minute))
	require.Equal(t, 2, j.sweep())
	require.Empty(t, j.keys("rvxm"))
}

// TestTombstones: those of inventory and peers go after a week, and the newest
// that went is remembered; those of others stay.
func TestTombstones(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	begin := wall.time()
	j.put(record.Inventory, "h", record.Change{Member: "s", Value: []byte("1")})
	gone := j.put(record.Inventory, "h", record.Change{Member: "s", Delete: true})
	j.put(record.Peer, "p", record.Change{Delete: true})
	j.put(record.User, "u", record.Change{Delete: true})
	j.Inject(other("other", 17, record.Peer, "q", begin.Add(-day), func(r *record.Record) { r.Deleted, r.Value = true, nil }))
	wall.set(begin.Add(6*day + time.Hour))
	require.Equal(t, 1, j.sweep())
	require.Empty(t, j.get(record.Peer, "q"))
	wall.set(begin.Add(7*day + time.Minute))
	require.Equal(t, 2, j.sweep())
	require.Equal(t, []string{"u"}, []string{j.walk()[0].Key})
	require.Len(t, j.keys("rvxm"), 2)
	require.Empty(t, j.keys("m"))

	j = j.reopen()
	require.EqualValues(t, 17, j.committed.sources["other"].dropped)
	require.Equal(t, gone.Revision+1, j.committed.sources[j.Source()].dropped)
	require.EqualValues(t, 4, j.Head())
}

// TestTombstoneHides: a tombstone stays while an older version of another
// source would come back without it.
func TestTombstoneHides(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	begin := wall.time()
	clone := func(r *record.Record) { r.Member = "s" }
	j.Inject(other("former", 1, record.Inventory, "h", begin.Add(-time.Hour), clone))
	j.put(record.Inventory, "h", record.Change{Member: "s", Delete: true})
	wall.set(begin.Add(8 * day))
	require.Zero(t, j.sweep())
	require.Empty(t, record.Members(record.Inventory, j.get(record.Inventory, "h")))
	j.Inject(other("former", 2, record.Inventory, "h", begin, func(r *record.Record) {
		clone(r)
		r.Deleted, r.Value = true, nil
	}))
	wall.set(begin.Add(16 * day))
	require.Equal(t, 2, j.sweep())
	require.Empty(t, j.keys("rvxm"))
}

// TestSweepMany: what is due goes in bounded batches while updates go on.
func TestSweepMany(t *testing.T) {
	t.Parallel()
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	const n = 3 * sweepHints
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				j.put(record.Session, fmt.Sprint("s", i), record.Change{Value: []byte("1"), Expires: wall.time().UnixMilli() + int64(i)})
			}
		})
	}
	wg.Wait()
	wall.advance(2 * time.Hour)
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				j.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("1")})
			}
		})
	}
	require.Equal(t, n, j.sweep())
	wg.Wait()
	require.Len(t, j.walk(), 50)
	require.Empty(t, j.keys("x"))
	require.Zero(t, j.Stats().Records[record.Session])
}

// TestSweepEnds: a sweep whose context ends is taken up again by the next.
func TestSweepEnds(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	j.put(record.Session, "s", record.Change{Expires: wall.time().UnixMilli()})
	wall.advance(2 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := j.Sweep(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, j.sweep())
}

// TestSpaceComesBack: after what filled the database has expired, its files
// shrink.
func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time), Ballast: -1})
	const n = 7000
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			noise := rand.NewChaCha8([32]byte{byte(w)})
			for i := w; i < n; i += 64 {
				c := record.Change{Value: make([]byte, 3000), Expires: wall.time().Add(time.Hour).UnixMilli()}
				noise.Read(c.Value)
				j.put(record.Purchase, fmt.Sprintf("a20261120%08x", i*104729), c)
			}
		})
	}
	wg.Wait()
	full := tables(t, j.opts.Dir)
	wall.advance(3 * time.Hour)
	require.Equal(t, n, j.sweep())
	require.False(t, j.worthMerging(n), "not for so little")
	require.True(t, j.worthMerging(flattenMin))
	require.NoError(t, j.Compact(t.Context()))
	left := tables(t, j.opts.Dir)
	t.Logf("tables: %d bytes full, %d after", full, left)
	require.Greater(t, full, int64(10<<20))
	require.Less(t, left, full/4)

	j = j.reopen()
	require.NoError(t, j.Compact(t.Context()), "what was in memory only is a table now")
	left = tables(t, j.opts.Dir)
	t.Logf("after being reopened: %d", left)
	require.Less(t, left, int64(1<<20))
	require.Empty(t, j.walk())
	require.Less(t, disk(t, j.opts.Dir), int64(24<<20), "with the logs of what is in memory")
}

func tables(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	found, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	for _, path := range found {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	return size
}

// disk returns what a folder's files take on the disk.
func disk(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	require.NoError(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += allocated(info)
		}
		return err
	}))
	return size
}
