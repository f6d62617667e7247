package inventory

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// turned is a wall clock that a test moves on.
type turned struct{ ahead time.Duration }

func (c *turned) now() time.Time { return time.Now().Add(c.ahead) }

func openTurned(t *testing.T) (*bench, *turned) {
	t.Helper()
	wall := &turned{}
	clock := record.NewClock(wall.now)
	return openBenchOn(t, recordtest.NewMemory(clock), clock, nil), wall
}

func TestPromiseHoldsForAnHour(t *testing.T) {
	b, wall := openTurned(t)
	c := b.put([]byte("kept"), "txt")
	seen, ok, err := b.Has(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, ok)
	require.False(t, b.Promising(seen))

	p, err := b.Promise(t.Context(), c.Hash, PromiseOptions{Kept: c.Kept + 7})
	require.NoError(t, err)
	require.True(t, b.Promising(p))
	require.Equal(t, c.Kept+7, p.Kept)
	held, _ := b.holds(c.Hash)
	require.Equal(t, p, held, "it is recorded")

	require.ErrorIs(t, b.Surrender(t.Context(), seen), ErrPromised)
	require.ErrorIs(t, b.Surrender(t.Context(), p), ErrPromised)
	b.reopen()
	require.ErrorIs(t, b.Surrender(t.Context(), p), ErrPromised)
	_, _, err = b.Remove(t.Context(), c.Hash)
	require.ErrorIs(t, err, ErrPromised, "nor by a word about this store alone")
	held, _ = b.holds(c.Hash)
	require.Equal(t, c.Hash, held.Hash)

	wall.ahead += PromiseLife + time.Second
	require.False(t, b.Promising(p))
	require.ErrorIs(t, b.Surrender(t.Context(), seen), record.ErrConflict, "what was asked for before the promise does not count")
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	require.ErrorIs(t, b.Surrender(late, p), context.DeadlineExceeded)
	require.NoError(t, b.Surrender(t.Context(), p))
	require.NoFileExists(t, b.path(c))
	_, ok = b.holds(c.Hash)
	require.False(t, ok)
	require.ErrorIs(t, b.Surrender(t.Context(), p), ErrNotExist)
}

// A promise is handed on where the operator moves the clone; not one that was
// given after the clone was read, also where it was given before already.
func TestPromiseIsHandedOn(t *testing.T) {
	b, _ := openTurned(t)
	c := b.put([]byte("to be moved"), "txt")
	ask := func() Clone {
		p, err := b.Promise(t.Context(), c.Hash, PromiseOptions{Fresh: time.Hour})
		require.NoError(t, err)
		return p
	}
	p := ask()
	require.Equal(t, p, ask(), "it stands")
	end := b.HandOn(c.Hash)
	again := b.HandOn(c.Hash)
	require.NotEqual(t, p, ask())
	require.ErrorIs(t, b.Surrender(t.Context(), p), record.ErrConflict, "somebody counts on it since")
	end()
	end()
	p = ask()
	again()
	require.ErrorIs(t, b.Surrender(t.Context(), p), ErrPromised)
	defer b.HandOn(c.Hash)()
	require.NoError(t, b.Surrender(t.Context(), p))
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
}

func TestPromiseReadsTheClone(t *testing.T) {
	b, _ := openTurned(t)
	c := b.put([]byte("sound"), "txt")
	rot(t, b, c)
	_, err := b.Promise(t.Context(), c.Hash, PromiseOptions{Fresh: time.Hour})
	require.NoError(t, err, "it was verified just now, when it was written")
	read := 0
	_, err = b.Promise(t.Context(), c.Hash, PromiseOptions{OnRead: func(n int) { read += n }})
	require.ErrorIs(t, err, ErrMismatch)
	require.Equal(t, 5, read)
	_, err = b.Promise(t.Context(), c.Hash, PromiseOptions{})
	require.ErrorIs(t, err, ErrNotExist)
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
}

// rot flips bits of a clone in a way that neither size nor time shows.
func rot(t testing.TB, b *bench, c Clone) {
	t.Helper()
	data, err := os.ReadFile(b.path(c))
	require.NoError(t, err)
	data[0] ^= 1
	require.NoError(t, os.Chmod(b.path(c), 0o644))
	require.NoError(t, os.WriteFile(b.path(c), data, 0o644))
	require.NoError(t, os.Chtimes(b.path(c), time.Time{}, time.Unix(0, c.Mtime)))
}

func TestNoPromiseOfWhatWasRemoved(t *testing.T) {
	b, _ := openTurned(t)
	c := b.put([]byte("removed"), "txt")
	at, err := b.index.Remove(t.Context(), c.Hash)
	require.NoError(t, err)
	_, err = b.Promise(t.Context(), c.Hash, PromiseOptions{Kept: at})
	require.ErrorIs(t, err, ErrNotExist)
	p, err := b.Promise(t.Context(), c.Hash, PromiseOptions{Kept: at + 1})
	require.NoError(t, err, "the other one was uploaded again since")
	require.Equal(t, at+1, p.Kept)
	done, err := b.Drop(t.Context(), c.Hash, at)
	require.NoError(t, err)
	require.False(t, done)
	_, ok := b.holds(c.Hash)
	require.True(t, ok)
}

func TestRenewedMeanwhileIsNotSurrendered(t *testing.T) {
	b, _ := openTurned(t)
	c := b.put([]byte("wanted again"), "txt")
	_, ok, err := b.Renew(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, ok)
	require.ErrorIs(t, b.Surrender(t.Context(), c), record.ErrConflict)
}

func TestCopyIsNoUpload(t *testing.T) {
	b, _ := openTurned(t)
	data := []byte("a copy")
	h := hashOf(t, content.SHA1, data)
	commit := func(kept record.Time) (Clone, error) {
		temp, err := b.Create(t.Context(), int64(len(data)))
		require.NoError(t, err)
		_, err = temp.Write(data)
		require.NoError(t, err)
		return temp.CommitCopy(t.Context(), h, "txt", kept)
	}
	c, err := commit(1000)
	require.NoError(t, err)
	require.Equal(t, record.Time(1000), c.Kept)
	c, err = commit(900)
	require.NoError(t, err)
	require.Equal(t, record.Time(1000), c.Kept, "what is there was kept later")

	// A removal that the copying node had not heard of concerns the copy too.
	at, err := b.index.Remove(t.Context(), h)
	require.NoError(t, err)
	done, err := b.Drop(t.Context(), h, at)
	require.NoError(t, err)
	require.True(t, done)
	_, err = commit(1000)
	require.ErrorIs(t, err, ErrRemoved)
	b.requireNothingLeft()

	// An upload is one.
	up := b.put(data, "txt")
	require.Greater(t, up.Kept, at)
	require.True(t, bytes.Equal(data, mustRead(t, b.path(up))))
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestWant(t *testing.T) {
	b, _ := openTurned(t)
	h := hashOf(t, content.SHA1, []byte("x"))
	for _, n := range []int{0, 5, 1, 0} {
		require.NoError(t, b.index.Want(t.Context(), h, n))
		got, err := b.index.Wanted(t.Context(), h)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
	require.ErrorIs(t, b.index.Want(t.Context(), h, -1), record.ErrInvalid)
	require.ErrorIs(t, b.index.Want(t.Context(), h, MaxWant+1), record.ErrInvalid)
}
