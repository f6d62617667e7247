package inventory

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestVolumeConfigIsChecked(t *testing.T) {
	clock := record.NewClock(nil)
	for name, cfg := range map[string]VolumeConfig{
		"no name":          {Root: "x"},
		"a bad name":       {Name: "OM_101", Root: "x"},
		"no root":          {Name: "om101"},
		"negative reserve": {Name: "om101", Root: "x", Reserve: -1},
		"too many workers": {Name: "om101", Root: "x", ScanWorkers: maxWorkers + 1},
	} {
		_, err := OpenVolume(cfg, recordtest.NewMemory(clock), clock, zap.NewNop())
		require.Error(t, err, name)
	}
	b := openBench(t, nil)
	other := b.cfg
	other.Root = t.TempDir()
	require.Error(t, b.Configure(other))
}

func TestStoreKeepsItsIdentity(t *testing.T) {
	b := openBench(t, nil)
	id := b.ID()
	require.Len(t, id, 32)
	c := b.put([]byte("abc"), "mp4")
	b.reopen()
	require.Equal(t, id, b.ID())
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestSameRootTwice(t *testing.T) {
	b := openBench(t, nil)
	second := openBenchOn(t, b.engine, b.clock, func(c *VolumeConfig) { c.Name, c.Root = "om102", b.cfg.Root })
	s := second.Status()
	require.Equal(t, Offline, s.State)
	require.Contains(t, s.Reason, "in use")
	_, err := second.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
}

func TestCopyOfARootIsRefused(t *testing.T) {
	b := openBench(t, nil)
	copied := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(b.cfg.Root)))
	taken := b.ID()
	second := openBenchOn(t, b.engine, b.clock, func(c *VolumeConfig) {
		c.Name, c.Root = "om102", copied
		c.Claim = func(id string) error {
			if id == taken {
				return os.ErrExist
			}
			return nil
		}
	})
	require.Equal(t, Offline, second.Status().State)
}

func TestKnownStoreWithoutItsMedium(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.KnownID = "aabb" })
	require.Equal(t, Offline, b.Status().State)
	require.Equal(t, "aabb", b.ID())
	require.NoDirExists(t, b.Root())
	_, err := b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
	_, err = b.Scan(t.Context(), ScanOptions{}, nil)
	require.ErrorIs(t, err, ErrOffline)
	_, err = b.Open(t.Context(), Clone{Hash: hashOf(t, content.SHA1, nil), Ext: "mp4"})
	require.ErrorIs(t, err, ErrOffline)

	require.NoError(t, b.Adopt(t.Context()))
	require.Equal(t, Online, b.Status().State)
	require.NotEqual(t, "aabb", b.ID())
	b.put([]byte("abc"), "mp4")
	require.NoError(t, b.Adopt(t.Context()), "again")
}

func TestRootThatVanishesAndComesBack(t *testing.T) {
	var mu sync.Mutex
	var told []State
	b := openBench(t, func(c *VolumeConfig) {
		c.Notify = func(s Status) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, s.State)
		}
	})
	c := b.put([]byte("abc"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })

	away := b.Root() + ".away"
	require.NoError(t, os.Rename(b.Root(), away))
	b.eventually("offline", func() bool { return b.Status().State == Offline })
	require.False(t, b.Readable())
	require.False(t, b.Status().Scanned)
	_, err := b.Open(t.Context(), c)
	require.ErrorIs(t, err, ErrOffline)
	_, err = b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
	_, ok := b.holds(c.Hash)
	require.True(t, ok, "what is recorded stays recorded")
	require.NoDirExists(t, b.Root(), "nothing is made in its place")

	require.NoError(t, os.Rename(away, b.Root()))
	b.eventually("scanned again", func() bool { return b.Status().Scanned })
	require.True(t, b.Writable())
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []State{Online, Offline, Online}, told)
}

func TestHungDiskStopsNothingElse(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	well := openBenchOn(t, b.engine, b.clock, func(c *VolumeConfig) { c.Name = "om102" })
	c, other := b.put([]byte("abc"), "mp4"), well.put([]byte("xyz"), "mp4")
	release := f.hang("open", "create", "present", "stat", "space")
	defer release()
	b.tune.open, b.tune.readTest = 50*time.Millisecond, 50*time.Millisecond

	began := time.Now()
	_, err := b.Open(t.Context(), c)
	require.ErrorIs(t, err, ErrOffline)
	require.ErrorContains(t, err, "does not answer")
	require.Less(t, time.Since(began), time.Minute)
	require.Equal(t, Offline, b.Status().State)
	require.False(t, b.Readable())
	_, err = b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
	b.testRead(t.Context())
	require.False(t, b.Readable(), "its test hangs as well")

	file, err := well.Open(t.Context(), other)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	release()
	b.tune.open, b.tune.readTest = time.Minute, time.Minute
	b.eventually("online again", func() bool { b.testRead(t.Context()); return b.Readable() })
	file, err = b.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestCreateThatHangsLeavesNothing(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	release := f.hang("create")
	b.tune.open = 50 * time.Millisecond
	_, err := b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
	release()
	b.requireNothingLeft()
}

func TestCommitThatHangsKeepsItsLock(t *testing.T) {
	f := &faults{}
	var b *bench
	var armed atomic.Bool
	b = openBench(t, func(c *VolumeConfig) {
		c.hook = func(op, rel string) error {
			if op == "sync" && armed.Load() {
				b.tune.sync = 50 * time.Millisecond // for what follows
			}
			return f.hook(op, rel)
		}
	})
	data := []byte("abc")
	h := hashOf(t, content.SHA1, data)
	release := f.hang("rename")
	armed.Store(true)
	_, err := b.Put(t.Context(), h, "mp4", bytes.NewReader(data), 3)
	require.ErrorIs(t, err, ErrOffline)
	_, err = b.hold(t.Context(), h, time.Millisecond)
	require.ErrorIs(t, err, ErrOffline)
	release()
	lock, err := b.hold(t.Context(), h, time.Minute)
	require.NoError(t, err, "the late operation gave it back")
	lock.release()
	armed.Store(false)
	b.tune.sync = time.Minute
	b.testRead(t.Context())
	b.scanAll()
	b.put(data, "mp4")
	require.Len(t, b.files(disk.Content), 1)
}

func TestFailedReadMakesTheStoreSuspect(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	c := b.put([]byte("abc"), "mp4")
	f.fail("open", syscall.EIO)
	_, err := b.Open(t.Context(), c)
	require.ErrorIs(t, err, ErrSuspect)
	require.Equal(t, Suspect, b.Status().State)
	require.True(t, b.Readable())
	require.False(t, b.Writable())
	f.fail("open", nil)
	f.fail("testread", syscall.EIO)
	b.testRead(t.Context())
	require.Equal(t, Offline, b.Status().State)
	f.fail("testread", nil)
	b.testRead(t.Context())
	b.testWrite(t.Context())
	require.Equal(t, Online, b.Status().State)
}

func TestOpenRefusesAChangedFile(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	when := time.Unix(1, 0)
	require.NoError(t, os.Chtimes(b.path(c), when, when))
	_, err := b.Open(t.Context(), c)
	require.ErrorIs(t, err, ErrChanged)
	b.eventually("verified and recorded anew", func() bool {
		now, ok := b.holds(c.Hash)
		return ok && now.Mtime == when.UnixNano()
	})
	now, _ := b.holds(c.Hash)
	f, err := b.Open(t.Context(), now)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.NoError(t, os.WriteFile(b.path(c), []byte("abd"), 0o644))
	_, err = b.Open(t.Context(), now)
	require.ErrorIs(t, err, ErrChanged)
	b.eventually("quarantined", func() bool { return len(b.files(disk.Quarantine)) == 1 })
	b.eventually("not recorded", func() bool { _, ok := b.holds(c.Hash); return !ok })
	_, err = b.Open(t.Context(), now)
	require.ErrorIs(t, err, ErrNotExist)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOpenRefusesUncheckedPaths(t *testing.T) {
	b := openBench(t, nil)
	for _, ext := range []string{"", "../../etc/passwd", "MP4", "a/b"} {
		_, err := b.Open(t.Context(), Clone{Hash: hashOf(t, content.SHA1, nil), Ext: ext})
		require.ErrorIs(t, err, content.ErrInvalidExt)
	}
	_, err := b.Open(t.Context(), Clone{Ext: "mp4"})
	require.Error(t, err)
}

func TestCloseWaitsForUsers(t *testing.T) {
	b := openBench(t, nil)
	release, ok := b.Acquire()
	require.True(t, ok)
	require.EqualValues(t, 1, b.Status().InFlight)
	tmp, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	closed := make(chan error)
	go func() { closed <- b.Volume.Close() }()
	b.eventually("closing", func() bool {
		release, ok := b.Acquire()
		if ok {
			release()
		}
		return !ok
	})
	select {
	case <-closed:
		require.Fail(t, "closed under its users")
	default:
	}
	_, err = tmp.Write([]byte("abc"))
	require.NoError(t, err)
	_, err = tmp.Commit(t.Context(), hashOf(t, content.SHA1, []byte("abc")), "mp4")
	require.NoError(t, err, "what has begun may end")
	release()
	require.NoError(t, <-closed)
	require.NoError(t, b.Volume.Close(), "again")
	_, err = b.Create(t.Context(), 1)
	require.ErrorIs(t, err, ErrOffline)
	require.ErrorIs(t, b.Run(t.Context()), ErrOffline)
}

func TestCloseEndsRun(t *testing.T) {
	b := openBench(t, nil)
	done := make(chan error)
	go func() { done <- b.Run(context.Background()) }()
	b.eventually("running", func() bool { return b.Status().Scanned })
	require.NoError(t, b.Volume.Close())
	require.NoError(t, <-done)
}

func BenchmarkOpen(b *testing.B) {
	v := openBench(b, nil)
	c := v.put(make([]byte, 4096), "mp4")
	b.Run("volume", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, err := v.Open(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
	b.Run("os.Open and Stat", func(b *testing.B) {
		b.ReportAllocs()
		path := v.path(c)
		for b.Loop() {
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Stat(); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
	b.Run("os.Root and Stat", func(b *testing.B) {
		b.ReportAllocs()
		root, err := os.OpenRoot(v.Root())
		require.NoError(b, err)
		defer root.Close()
		rel := disk.ClonePath(c.Hash, c.Ext, c.Deep)
		for b.Loop() {
			f, err := root.Open(rel)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Stat(); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.index.Find(b.Context(), c.Hash); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestConfigureTakesChangesOver(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.ScanEvery = time.Hour })
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	c := b.plant([]byte("abc"), "mp4", false)
	cfg := b.cfg
	cfg.ScanEvery = 10 * time.Millisecond
	require.NoError(t, b.Configure(cfg))
	b.eventually("found", func() bool { _, ok := b.holds(c.Hash); return ok })
	cfg.Mount = true
	require.NoError(t, b.Configure(cfg))
	b.eventually("not a mount point", func() bool { return b.Status().State == Offline })
	cfg.Mount = false
	require.NoError(t, b.Configure(cfg))
	b.eventually("online", b.Writable)
	require.Zero(t, b.Status().InFlight, "its own work does not count")
}
