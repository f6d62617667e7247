package journal

import (
	"errors"
	"os"
	"path/filepath"
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
		require.ErrorContains(t, err, "10 MiB to write safely")
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

	require.NoError(t, s.prepare())
	require.FileExists(t, path)
	free = 9 << 20
	require.NoError(t, s.prepare())
	require.NoFileExists(t, path)
	s.upkeep()
	require.NoFileExists(t, path, "no room for it")
	free = 1 << 20
	err = s.prepare()
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.ErrorContains(t, err, "to start, free some space")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.mem"), make([]byte, 8<<20), 0o600))
	free = 9 << 20
	require.ErrorIs(t, s.prepare(), record.ErrUnavailable, "what was in memory must become a table")
	require.ErrorIs(t, s.ready(), record.ErrUnavailable)
	free = 11 << 20
	require.NoError(t, s.prepare())

	s.floor, free = -1, 0
	require.NoError(t, s.prepare(), "switched off")
	require.NoError(t, s.check())
	require.NoError(t, s.ready())
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
