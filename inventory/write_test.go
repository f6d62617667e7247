package inventory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

func TestPutAndOpen(t *testing.T) {
	for _, typ := range content.Types() {
		t.Run(typ.String(), func(t *testing.T) {
			b := openBench(t, nil)
			data := bytes.Repeat([]byte("0123456789"), 100_000)
			h := hashOf(t, typ, data)
			c, err := b.Put(t.Context(), h, "mp4", iotest.HalfReader(bytes.NewReader(data)), int64(len(data)))
			require.NoError(t, err)
			require.Equal(t, h, c.Hash)
			require.Equal(t, b.ID(), c.Store)
			require.EqualValues(t, len(data), c.Size)
			require.NotZero(t, c.Verified)

			recorded, ok := b.holds(h)
			require.True(t, ok)
			require.Equal(t, c, recorded)
			f, err := b.Open(t.Context(), c)
			require.NoError(t, err)
			got, err := io.ReadAll(f)
			require.NoError(t, errors.Join(err, f.Close()))
			require.Equal(t, data, got)
			has, ok, err := b.Has(t.Context(), h)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, c, has)
			require.Empty(t, b.files(disk.Temp))
			s := b.Status()
			require.EqualValues(t, 1, s.Clones)
			require.Equal(t, c.Size, s.Used)
			require.Zero(t, s.InFlight)
		})
	}
}

func TestPutOfNothing(t *testing.T) {
	b := openBench(t, nil)
	c := b.put(nil, "bin")
	require.Zero(t, c.Size)
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestPutRefuses(t *testing.T) {
	broken := errors.New("connection reset")
	data := []byte("hello")
	right := hashOf(t, content.SHA1, data)
	for name, test := range map[string]struct {
		hash content.Hash
		ext  string
		body io.Reader
		size int64
		want error
	}{
		"another digest":      {hashOf(t, content.SHA1, []byte("x")), "mp4", bytes.NewReader(data), 5, ErrMismatch},
		"no hash":             {content.Hash{}, "mp4", bytes.NewReader(data), 5, content.ErrInvalidHash},
		"a body cut off":      {right, "mp4", io.MultiReader(bytes.NewReader(data[:3]), iotest.ErrReader(broken)), 5, broken},
		"a body too short":    {right, "mp4", bytes.NewReader(data), 6, io.ErrUnexpectedEOF},
		"a body too long":     {right, "mp4", bytes.NewReader(data), 4, io.ErrUnexpectedEOF},
		"a path as extension": {right, "../x", bytes.NewReader(data), 5, content.ErrInvalidExt},
		"no extension":        {right, "", bytes.NewReader(data), 5, content.ErrInvalidExt},
		"a collision attack":  {right, "pdf", bytes.NewReader(shatteredData(t)), -1, ErrCollision},
	} {
		t.Run(name, func(t *testing.T) {
			b := openBench(t, nil)
			_, err := b.Put(t.Context(), test.hash, test.ext, test.body, test.size)
			require.ErrorIs(t, err, test.want)
			b.requireNothingLeft()
			_, ok := b.holds(right)
			require.False(t, ok)
			require.True(t, b.Writable(), "that says nothing about the disk")
			require.Zero(t, b.Status().InFlight)
		})
	}
}

func TestPutEndsWithItsContext(t *testing.T) {
	b := openBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	data := strings.Repeat("x", 1<<20)
	body := io.MultiReader(strings.NewReader(data), readerFunc(func([]byte) (int, error) { cancel(); return 1, nil }))
	_, err := b.Put(ctx, hashOf(t, content.SHA1, []byte("x")), "mp4", body, -1)
	require.ErrorIs(t, err, context.Canceled)
	b.requireNothingLeft()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUploadOfWhatIsThere(t *testing.T) {
	b := openBench(t, nil)
	first := b.put([]byte("abc"), "mp4")
	second := b.put([]byte("abc"), "m4v")
	require.Equal(t, "mp4", second.Ext, "the clone keeps its extension")
	require.Equal(t, first.Mtime, second.Mtime, "and its file")
	require.Greater(t, second.Kept, first.Kept)
	require.Len(t, b.files(disk.Content), 1)
	require.EqualValues(t, 1, b.Status().Clones)

	require.NoError(t, os.WriteFile(b.path(first), []byte("abd"), 0o644))
	third := b.put([]byte("abc"), "m4v")
	require.Equal(t, "mp4", third.Ext)
	require.Equal(t, first.Stored, third.Stored)
	got, err := os.ReadFile(b.path(first))
	require.NoError(t, err)
	require.Equal(t, "abc", string(got), "the verified upload replaced the damaged file")
	require.Len(t, b.files(disk.Content), 1)

	require.NoError(t, os.Remove(b.path(first)))
	fourth := b.put([]byte("abc"), "m4v")
	require.Equal(t, "m4v", fourth.Ext)
	require.Equal(t, []string{first.Hash.String() + ".m4v"}, b.files(disk.Content))
	require.Empty(t, b.files(disk.Temp))
	require.EqualValues(t, 1, b.Status().Clones)
	require.EqualValues(t, 3, b.Status().Used)
}

func TestUploadOfWhatLiesDeep(t *testing.T) {
	b := openBench(t, nil)
	planted := b.plant([]byte("abc"), "mp4", true)
	b.scanAll()
	c := b.put([]byte("abc"), "mp4")
	require.True(t, c.Deep)
	require.NoError(t, os.WriteFile(b.path(planted), []byte("flipped"), 0o644))
	c = b.put([]byte("abc"), "mp4")
	require.True(t, c.Deep, "one content, one file")
	require.Len(t, b.files(disk.Content), 1)
}

func TestManyUploadsAtOnce(t *testing.T) {
	b := openBench(t, nil)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte(i % 4)}, 100_000)
			_, err := b.Put(t.Context(), hashOf(t, content.SHA1, data), "mp4", bytes.NewReader(data), int64(len(data)))
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Len(t, b.files(disk.Content), 4)
	require.EqualValues(t, 4, b.Status().Clones)
	require.Empty(t, b.files(disk.Temp))
	require.EqualValues(t, 4, b.scanAll().Files)
}

func TestWriteOrder(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	f.steps()
	b.put(make([]byte, 1<<20), "mp4")
	require.Equal(t, []string{
		"space", "create", "preallocate", "write", "write", "sync",
		"mkdir", "syncdir", "mkdir", "syncdir", // content/ab and content/ab/cd, each made durable
		"rename", "syncdir", "record",
		"remove", // of the temporary file, which is gone
	}, f.steps())
}

func TestBlockedContentIsRefused(t *testing.T) {
	b := openBench(t, nil)
	h := hashOf(t, content.SHA1, []byte("abc"))
	_, err := b.engine.Update(t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(`{}`)})
	require.NoError(t, err)
	_, err = b.Put(t.Context(), h, "mp4", strings.NewReader("abc"), 3)
	require.ErrorIs(t, err, ErrBlocked)
	b.requireNothingLeft()
}

func TestKeptTimeIsLaterThanRemovals(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	value := []byte(`{"time":"` + (c.Kept + 1<<50).String() + `"}`)
	_, err := b.engine.Update(t.Context(), record.Removal, c.Hash.String(), record.Condition{}, record.Change{Value: value})
	require.NoError(t, err)
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
	_, ok, err = b.Has(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, ok)
	again := b.put([]byte("abc"), "mp4")
	require.Equal(t, c.Kept+1<<50+1, again.Kept)
	_, ok = b.holds(c.Hash)
	require.True(t, ok)
}

func TestRenew(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	again, ok, err := b.Renew(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, again.Kept, c.Kept)
	_, ok, err = b.Renew(t.Context(), hashOf(t, content.SHA1, []byte("x")))
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, os.Remove(b.path(c)))
	_, ok, err = b.Renew(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, ok)
}

// TestDiskFaults has each step of the write path fail in each way: the upload
// fails, nothing is left, and the store's state follows.
func TestDiskFaults(t *testing.T) {
	for _, fault := range []struct {
		err      error
		want     error
		state    State
		writable bool
	}{
		{syscall.ENOSPC, ErrFull, Online, false},
		{syscall.EDQUOT, ErrFull, Online, false},
		{syscall.EROFS, ErrReadOnly, Online, false},
		{syscall.EIO, ErrSuspect, Suspect, false},
	} {
		for _, op := range []string{"create", "preallocate", "write", "sync", "mkdir", "rename", "syncdir"} {
			t.Run(fault.err.Error()+" at "+op, func(t *testing.T) {
				f := &faults{}
				b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
				f.fail(op, fault.err)
				data := make([]byte, 1<<20)
				h := hashOf(t, content.SHA1, data)
				_, err := b.Put(t.Context(), h, "mp4", bytes.NewReader(data), int64(len(data)))
				require.ErrorIs(t, err, fault.want)
				b.requireNothingLeft()
				_, ok := b.holds(h)
				require.False(t, ok)
				s := b.Status()
				switch {
				case op == "preallocate" && fault.want == ErrFull:
					require.True(t, s.Writable, "something smaller may fit")
				default:
					require.Equal(t, fault.state, s.State)
					require.False(t, s.Writable)
					require.NotEmpty(t, s.Reason)
					_, err = b.Create(t.Context(), 1)
					require.ErrorIs(t, err, fault.want)
				}
				require.True(t, b.Readable())

				f.fail(op, nil)
				if fault.want == ErrFull {
					b.condition.change(func(f *facts) { f.space.Free += 2 * enoughBack }) // as the next test finds it
				}
				b.testWrite(t.Context())
				b.testRead(t.Context())
				_, err = b.Put(t.Context(), h, "mp4", bytes.NewReader(data), int64(len(data)))
				require.NoError(t, err, "%+v", b.Status())
			})
		}
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) {
		c.hook = f.hook
		c.tuning.suspectFor = time.Hour
	})
	f.fail("sync", errors.New("said nothing of the disk"))
	f.steps()
	_, err := b.Put(t.Context(), hashOf(t, content.SHA1, []byte("abc")), "mp4", strings.NewReader("abc"), 3)
	require.Error(t, err)
	n := 0
	for _, step := range f.steps() {
		if step == "sync" {
			n++
		}
	}
	require.Equal(t, 1, n, "not tried again")
	require.Equal(t, Suspect, b.Status().State)
	f.fail("sync", nil)
	b.testWrite(t.Context())
	require.Equal(t, Suspect, b.Status().State, "one passed test soon after is not enough")
}

func TestEngineAway(t *testing.T) {
	b := openBench(t, nil)
	b.engine.Fail(record.ErrUnavailable)
	_, err := b.Put(t.Context(), hashOf(t, content.SHA1, []byte("abc")), "mp4", strings.NewReader("abc"), 3)
	require.ErrorIs(t, err, record.ErrUnavailable)
	_, _, err = b.Has(t.Context(), hashOf(t, content.SHA1, []byte("abc")))
	require.ErrorIs(t, err, record.ErrUnavailable)
	b.requireNothingLeft()
	b.engine.Fail(nil)
	b.put([]byte("abc"), "mp4")
}

func TestReserve(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.Reserve = 1 << 60 })
	require.False(t, b.Writable())
	_, err := b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrFull)
	cfg := b.cfg
	cfg.Reserve = 0
	require.NoError(t, b.Configure(cfg))
	require.True(t, b.Writable())
	_, err = b.Create(t.Context(), 1<<60)
	require.ErrorIs(t, err, ErrFull)
	require.True(t, b.Writable(), "something smaller still fits")
	b.put([]byte("abc"), "mp4")
}

func TestTempIsOverOnce(t *testing.T) {
	b := openBench(t, nil)
	tmp, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	_, err = tmp.Write([]byte("abc"))
	require.NoError(t, err)
	tmp.Abort()
	tmp.Abort()
	_, err = tmp.Write([]byte("abc"))
	require.Error(t, err)
	_, err = tmp.Commit(t.Context(), hashOf(t, content.SHA1, []byte("abc")), "mp4")
	require.Error(t, err)
	b.requireNothingLeft()
	require.Zero(t, b.Status().InFlight)
}

func TestAbortDuringAWriteThatHangs(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	tmp, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	release := f.hang("write")
	written := make(chan error)
	go func() {
		_, err := tmp.Write([]byte("abc"))
		written <- err
	}()
	b.eventually("the write hangs", func() bool { return !tmp.mu.TryLock() || func() bool { tmp.mu.Unlock(); return false }() })
	tmp.Abort()
	require.Len(t, b.files(disk.Temp), 1)
	release()
	require.NoError(t, <-written)
	b.requireNothingLeft()
	require.Zero(t, b.Status().InFlight)
}

func BenchmarkPut(b *testing.B) {
	for _, typ := range []content.Type{content.SHA1, content.SHA256} {
		b.Run(typ.String(), func(b *testing.B) {
			v := openBench(b, nil)
			data := make([]byte, 64<<20)
			n := byte(0)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				b.StopTimer()
				n++
				data[0], data[1] = n, byte(b.N)
				h := hashOf(b, typ, data)
				b.StartTimer()
				c, err := v.Put(b.Context(), h, "bin", bytes.NewReader(data), int64(len(data)))
				require.NoError(b, err)
				b.StopTimer()
				_, err = v.Drop(b.Context(), c.Hash, c.Kept+1)
				require.NoError(b, err)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkPutSmall(b *testing.B) {
	v := openBench(b, nil)
	data := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
		_, err := v.Put(b.Context(), hashOf(b, content.SHA1, data), "bin", bytes.NewReader(data), int64(len(data)))
		require.NoError(b, err)
	}
}
