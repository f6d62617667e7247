package certstorage

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"
)

// conform checks what certmagic expects of a storage. open returns two storages
// that share what is in them, as two nodes do.
func conform(t *testing.T, open func(t *testing.T) (a, b certmagic.Storage)) {
	for name, test := range map[string]func(t *testing.T, a, b certmagic.Storage){
		"Values":  conformValues,
		"Absent":  conformAbsent,
		"Folders": conformFolders,
		"Delete":  conformDelete,
		"Context": conformContext,
		"Shared":  conformShared,
		"Race":    conformRace,
		"Lock":    conformLock,
		"Locks":   conformLocks,
		"TryLock": conformTryLock,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a, b)
		})
	}
}

func conformValues(t *testing.T, a, _ certmagic.Storage) {
	ctx := t.Context()
	before := time.Now().Add(-2 * time.Second)
	for _, key := range []string{"a", "a b/ü.crt", "certificates/acme-v02.api.letsencrypt.org-directory/wildcard_.example/wildcard_.example.key"} {
		for _, value := range [][]byte{[]byte("one"), {}, {0, 255, '\n'}, bytes.Repeat([]byte("x"), 40_000)} {
			require.NoError(t, a.Store(ctx, key, value))
			got, err := a.Load(ctx, key)
			require.NoError(t, err)
			require.True(t, bytes.Equal(value, got), key)
			info, err := a.Stat(ctx, key)
			require.NoError(t, err)
			require.Equal(t, key, info.Key)
			require.Equal(t, int64(len(value)), info.Size)
			require.True(t, info.IsTerminal)
			require.WithinRange(t, info.Modified, before, time.Now().Add(2*time.Second))
			require.True(t, a.Exists(ctx, key))
		}
	}
}

func conformAbsent(t *testing.T, a, _ certmagic.Storage) {
	ctx := t.Context()
	require.NoError(t, a.Store(ctx, "dir/file", []byte("x")))
	for _, key := range []string{"no", "dir/no", "di", "dir/fil", "dir/file2", "dir/file/below"} {
		_, err := a.Load(ctx, key)
		require.ErrorIs(t, err, fs.ErrNotExist, key)
		_, err = a.Stat(ctx, key)
		require.ErrorIs(t, err, fs.ErrNotExist, key)
		_, err = a.List(ctx, key, true)
		require.ErrorIs(t, err, fs.ErrNotExist, key)
		require.False(t, a.Exists(ctx, key), key)
		require.NoError(t, a.Delete(ctx, key), key)
	}
	_, err := a.Load(ctx, "dir")
	require.Error(t, err, "a folder has no value")
	require.True(t, a.Exists(ctx, "dir/file"))
}

func conformFolders(t *testing.T, a, _ certmagic.Storage) {
	ctx := t.Context()
	for _, key := range []string{"x/a/1", "x/a/2", "x/b", "x/ab/1", "xx/1", "x-y"} {
		require.NoError(t, a.Store(ctx, key, []byte(key)))
	}
	for _, c := range []struct {
		path      string
		recursive bool
		want      []string
	}{
		{"x", false, []string{"x/a", "x/ab", "x/b"}},
		{"x", true, []string{"x/a", "x/a/1", "x/a/2", "x/ab", "x/ab/1", "x/b"}},
		{"x/a", true, []string{"x/a/1", "x/a/2"}},
		{"xx", false, []string{"xx/1"}},
		{"", false, []string{"x", "x-y", "xx"}},
		{"", true, []string{"x", "x-y", "x/a", "x/a/1", "x/a/2", "x/ab", "x/ab/1", "x/b", "xx", "xx/1"}},
	} {
		got, err := a.List(ctx, c.path, c.recursive)
		require.NoError(t, err)
		require.ElementsMatch(t, c.want, got, "%q %v", c.path, c.recursive)
	}
	for _, dir := range []string{"x", "x/a", "xx"} {
		info, err := a.Stat(ctx, dir)
		require.NoError(t, err)
		require.False(t, info.IsTerminal)
		require.Equal(t, dir, info.Key)
		require.True(t, a.Exists(ctx, dir))
	}
	got, err := a.List(ctx, "x/b", true)
	require.NoError(t, err, "a key with a value has nothing below it")
	require.Empty(t, got)
}

func conformDelete(t *testing.T, a, _ certmagic.Storage) {
	ctx := t.Context()
	for _, key := range []string{"x/a/1", "x/a/2", "x/ab", "y"} {
		require.NoError(t, a.Store(ctx, key, []byte(key)))
	}
	require.NoError(t, a.Delete(ctx, "y"))
	require.NoError(t, a.Delete(ctx, "y"), "again")
	require.False(t, a.Exists(ctx, "y"))
	require.NoError(t, a.Delete(ctx, "x/a"))
	for key, there := range map[string]bool{"x/a": false, "x/a/1": false, "x/a/2": false, "x/ab": true, "x": true} {
		require.Equal(t, there, a.Exists(ctx, key), key)
	}
	require.NoError(t, a.Store(ctx, "y", []byte("again")))
	got, err := a.Load(ctx, "y")
	require.NoError(t, err)
	require.Equal(t, "again", string(got))
}

func conformContext(t *testing.T, a, _ certmagic.Storage) {
	require.NoError(t, a.Lock(t.Context(), "held"))
	defer func() { require.NoError(t, a.Unlock(context.Background(), "held")) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.Lock(ctx, "held"), context.Canceled)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Lock(ctx, "held"), context.DeadlineExceeded)
}

// conformShared: who has the lock, under which certmagic reads before it writes,
// reads what the last one who had it wrote.
func conformShared(t *testing.T, a, b certmagic.Storage) {
	ctx := t.Context()
	require.NoError(t, a.Store(ctx, "x/1", []byte("from a")))
	got, err := b.Load(ctx, "x/1")
	require.NoError(t, err)
	require.Equal(t, "from a", string(got))
	wrote := "from a"
	for i := range 20 {
		who := []certmagic.Storage{b, a}[i%2]
		require.NoError(t, who.Lock(ctx, "x"))
		got, err = who.Load(ctx, "x/1")
		require.NoError(t, err)
		require.Equal(t, wrote, string(got))
		wrote = fmt.Sprint("value ", i)
		require.NoError(t, who.Store(ctx, "x/1", []byte(wrote)))
		require.NoError(t, who.Unlock(ctx, "x"))
	}
	list, err := b.List(ctx, "x", false)
	require.NoError(t, err)
	require.Equal(t, []string{"x/1"}, list)
	require.NoError(t, b.Delete(ctx, "x"))
	require.NoError(t, a.Lock(ctx, "x"))
	require.False(t, a.Exists(ctx, "x/1"))
	require.NoError(t, a.Unlock(ctx, "x"))
}

// conformRace writes one key from many places: whoever reads gets one of the
// values whole.
func conformRace(t *testing.T, a, b certmagic.Storage) {
	ctx := t.Context()
	value := func(n int) []byte { return []byte(strings.Repeat(fmt.Sprint(n), 1000)) }
	require.NoError(t, a.Store(ctx, "k", value(0)))
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			s := a
			if n%2 == 0 {
				s = b
			}
			for range 10 {
				if err := s.Store(ctx, "k", value(n)); err != nil {
					t.Error(err)
				}
				got, err := s.Load(ctx, "k")
				if err != nil || len(got) != 1000 || len(bytes.Trim(got, string(got[:1]))) != 0 {
					t.Errorf("%v: %d bytes", err, len(got))
				}
			}
		})
	}
	writers.Wait()
}

// conformLock counts under a lock: nobody is there at the same time.
func conformLock(t *testing.T, a, b certmagic.Storage) {
	ctx := t.Context()
	var inside, total atomic.Int64
	var workers sync.WaitGroup
	for n := range 6 {
		workers.Go(func() {
			s := a
			if n%2 == 0 {
				s = b
			}
			for range 4 {
				if err := s.Lock(ctx, "name"); err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				total.Add(1)
				inside.Add(-1)
				if err := s.Unlock(ctx, "name"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	require.Equal(t, int64(24), total.Load())
	require.Error(t, a.Unlock(ctx, "name"), "nobody holds it")
}

func conformLocks(t *testing.T, a, b certmagic.Storage) {
	ctx := t.Context()
	require.NoError(t, a.Lock(ctx, "one"))
	require.NoError(t, b.Lock(ctx, "two/ü *"), "another name is another lock")
	got := make(chan error)
	go func() { got <- b.Lock(ctx, "one") }()
	select {
	case err := <-got:
		t.Fatalf("locked twice: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, a.Unlock(ctx, "one"))
	require.NoError(t, <-got)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, b.Unlock(cancelled, "one"), "it is given back in any case")
	require.NoError(t, b.Unlock(ctx, "two/ü *"))
	list, err := a.List(ctx, "", true)
	require.NoError(t, err)
	require.Empty(t, list, "locks are not among the keys")
}

func conformTryLock(t *testing.T, a, b certmagic.Storage) {
	ctx := t.Context()
	try := func(s certmagic.Storage) bool {
		ok, err := s.(certmagic.TryLocker).TryLock(ctx, "name")
		require.NoError(t, err)
		return ok
	}
	require.True(t, try(a))
	require.False(t, try(a))
	require.False(t, try(b))
	require.NoError(t, a.Unlock(ctx, "name"))
	require.True(t, try(b))
	require.False(t, try(a))
	require.NoError(t, b.Unlock(ctx, "name"))
}
