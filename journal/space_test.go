package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
)

// TestFloor: below the floor nothing is written, reading goes on, and when
// there is room again so does writing.
func TestFloor(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	j, err := Open(Options{Dir: t.TempDir(), Logger: zap.New(core), Floor: 10 << 20, Ballast: 1 << 20})
	require.NoError(t, err)
	var free atomic.Int64
	free.Store(1 << 40)
	j.space.free = func(string) (int64, error) {
		if free.Load() < 0 {
			return 0, errors.New("statfs failed")
		}
		return free.Load(), nil
	}
	done := make(chan error)
	go func() { done <- j.Run(t.Context()) }()
	update := func() error {
		_, err := j.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
		return err
	}
	require.NoError(t, update())
	require.True(t, j.Stats().Ballast)

	free.Store(10<<20 - 1)
	for range 3 {
		err := update()
		require.ErrorIs(t, err, record.ErrUnavailable)
		require.ErrorContains(t, err, "to write safely")
	}
	require.True(t, j.Stats().Ballast, "it is kept for worse")
	require.Equal(t, 1, logs.FilterMessageSnippet("too little free space").Len(), "said once")
	require.ErrorIs(t, j.Compact(t.Context()), record.ErrUnavailable)
	versions, err := j.Get(t.Context(), record.User, "a")
	require.NoError(t, err)
	require.Len(t, versions, 1)

	free.Store(4 << 20)
	require.ErrorIs(t, update(), record.ErrUnavailable)
	require.False(t, j.Stats().Ballast, "given back")
	free.Store(-1)
	require.ErrorIs(t, update(), record.ErrUnavailable)

	free.Store(12 << 20)
	require.ErrorIs(t, update(), record.ErrUnavailable, "not to and fro")
	free.Store(13 << 20)
	require.NoError(t, update())
	require.Equal(t, 1, logs.FilterMessageSnippet("there is room again").Len())
	j.space.upkeep()
	require.True(t, j.Stats().Ballast, "made again")

	j.space.size.Store(1 << 30)
	require.ErrorIs(t, update(), record.ErrUnavailable, "a large database needs more")
	require.EqualValues(t, 128<<20, j.Stats().Floor)
	j.space.size.Store(1 << 40)
	require.EqualValues(t, 1<<30, j.Stats().Floor)
	free.Store(1 << 40)
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
}

func TestBallast(t *testing.T) {
	dir := t.TempDir()
	var free int64 = 1 << 40
	s := &space{dir: dir, floor: 10 << 20, ballast: 1<<20 + 1, log: zap.NewNop(), free: func(string) (int64, error) { return free, nil }}
	path := filepath.Join(dir, ballastName)
	s.upkeep()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, s.ballast, info.Size())
	require.GreaterOrEqual(t, allocated(info), s.ballast, "it takes the room")

	s.upkeep()
	again, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.ModTime(), again.ModTime(), "left alone")

	s.ballast *= 2
	s.upkeep()
	again, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, s.ballast, again.Size(), "the size was changed")

	require.Equal(t, false, prepare(t, s))
	require.FileExists(t, path)
	free = 9 << 20
	require.Equal(t, true, prepare(t, s))
	require.NoFileExists(t, path)
	s.upkeep()
	require.NoFileExists(t, path, "no room for it")
	free = 1 << 20
	_, err = s.prepare()
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.ErrorContains(t, err, "to start, free some space")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.mem"), make([]byte, 8<<20), 0o600))
	free = 9 << 20
	_, err = s.prepare()
	require.ErrorIs(t, err, record.ErrUnavailable, "what was in memory must become a table")
	require.ErrorIs(t, s.ready(), record.ErrUnavailable)
	free = 11 << 20
	require.Equal(t, false, prepare(t, s))

	s.floor, free = -1, 0
	require.Equal(t, false, prepare(t, s), "switched off")
	require.NoError(t, s.check())
	require.NoError(t, s.ready())
}

func prepare(t *testing.T, s *space) bool {
	t.Helper()
	cramped, err := s.prepare()
	require.NoError(t, err)
	return cramped
}

func TestWriteZeros(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "zeros"))
	require.NoError(t, err)
	require.NoError(t, writeZeros(f, 200_001))
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 200_001, info.Size())
	require.NoError(t, f.Close())
	require.Error(t, makeBallast(filepath.Join(t.TempDir(), "no", "folder"), 1))
}

// TestCramped: the database is reopened when the disk comes below the floor
// and when it has room again; who reads meanwhile does not notice.
func TestCramped(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(1 << 40)
	j, err := Open(Options{Dir: t.TempDir(), CacheSize: 1, Floor: 10 << 20, Ballast: -1})
	require.NoError(t, err)
	j.space.free = func(string) (int64, error) { return free.Load(), nil }
	done := make(chan error)
	go func() { done <- j.Run(t.Context()) }()
	update := func(i int) error {
		_, err := j.Update(t.Context(), record.User, fmt.Sprint("u", i), record.Condition{}, record.Change{Value: []byte("1")})
		return err
	}
	const n = 20
	for i := range n {
		require.NoError(t, update(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				versions, err := j.Get(context.Background(), record.User, fmt.Sprint("u", i%n))
				listed := 0
				for _, listing := range j.List(context.Background(), record.User, record.ByKey, "", "") {
					err = errors.Join(err, listing)
					listed++
				}
				if err != nil || len(versions) != 1 || listed < n {
					t.Errorf("read %d, listed %d: %v", len(versions), listed, err)
					return
				}
			}
		})
	}
	for i := range 4 {
		free.Store(9 << 20)
		require.ErrorIs(t, update(n+i), record.ErrUnavailable)
		free.Store(20 << 20)
		require.NoError(t, update(n+i))
	}
	cancel()
	readers.Wait()
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
}
