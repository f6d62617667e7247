package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestNamesAreDurable: what is acknowledged lies in files whose names were
// synced before.
func TestNamesAreDurable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	j, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	logs := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "*.mem"))
		require.NoError(t, err)
		return found
	}
	var synced []string // the committer's
	j.folder.sync = func(path string) error {
		synced = logs()
		return syncFolder(path)
	}
	seen := make(map[string]bool)
	j.Watch(record.User, func([]record.Record) {
		for _, name := range logs() {
			seen[name] = true
			if _, err := os.Stat(name); err == nil { // not merged into a table meanwhile
				require.Contains(t, synced, name)
			}
		}
	})
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	value := make([]byte, 60<<10)
	for i := range 2 * memTableSize / len(value) {
		_, err := j.Update(t.Context(), record.User, fmt.Sprint("u", i), record.Condition{}, record.Change{Value: value})
		require.NoError(t, err)
	}
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
	require.Greater(t, len(seen), 1, "a second file was begun")
}

// TestDueComesLast: a sweep takes the room that the updates of its batch leave,
// and never so much that they don't fit.
func TestDueComesLast(t *testing.T) {
	wall := newWallClock()
	j, err := Open(Options{Dir: t.TempDir(), Clock: record.NewClock(wall.time)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	process := func(requests ...*request) []result {
		for _, r := range requests {
			r.done = make(chan result, 1)
		}
		j.process(requests)
		results := make([]result, 0, len(requests))
		for _, r := range requests {
			results = append(results, <-r.done)
		}
		return results
	}
	for i := range sweepHints {
		key := append(make255('s')[:252], fmt.Sprintf("%03d", i)...)
		res := process(&request{topic: record.Session, key: string(key), changes: []record.Change{{Expires: wall.time().UnixMilli()}}})
		require.NoError(t, res[0].err)
	}
	wall.advance(2 * record.KeepExpired)
	due, err := j.due([]byte{dueKind}, wall.time().UnixMilli())
	require.NoError(t, err)
	require.Len(t, due, sweepHints)
	batch := []*request{{due: due}}
	changes, bytes := batch[0].weight()
	require.Equal(t, sweepHints, changes, "what it takes is known before")
	require.Greater(t, bytes, sweepHints*4*255)
	for i := range 15 {
		batch = append(batch, &request{topic: record.User, key: fmt.Sprint("u", i), changes: []record.Change{{Value: make([]byte, record.MaxValue)}}})
	}
	results := process(batch...)
	for _, res := range results {
		require.NoError(t, res.err)
	}
	require.NotZero(t, results[0].handled)
	require.Less(t, results[0].handled, sweepHints)
}

// TestFailedReopen: where the database can't be opened again after the disk
// was nearly full, that is said, and what looks at it does not end the process.
func TestFailedReopen(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(Options{Dir: dir, CacheSize: 1, Floor: 10 << 20, Ballast: -1})
	require.NoError(t, err)
	var free atomic.Int64
	free.Store(1 << 40)
	j.space.free = func(string) (int64, error) { return free.Load(), nil }
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	for i := range 10 {
		_, err = j.Update(t.Context(), record.User, fmt.Sprint(i), record.Condition{}, record.Change{Value: []byte("1")})
		require.NoError(t, err)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "MANIFEST")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "MANIFEST"), 0o700))
	free.Store(9 << 20)
	_, err = j.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.Contains(t, j.Stats().Failure, "reopening")

	j.measure()
	j.verify()
	require.ErrorIs(t, j.Compact(t.Context()), record.ErrUnavailable)
	_, err = j.Get(t.Context(), record.User, "none")
	require.ErrorIs(t, err, record.ErrUnavailable)
	for _, err := range j.Walk(t.Context(), nil) {
		require.ErrorIs(t, err, record.ErrUnavailable)
	}
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
}
