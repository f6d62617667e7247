package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a cache in a store of its own.
type bench struct {
	*Cache
	t      testing.TB
	root   string
	max    int64
	tune   *tuning
	engine *recordtest.Memory
	index  *inventory.Index
	volume *inventory.Volume
	faults *faultyDisk
	clock  *testClock
}

// testClock is a wall clock that also jumps.
type testClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func newBench(t testing.TB, max int64, change func(*tuning)) *bench {
	t.Helper()
	return newBenchAt(t, filepath.Join(t.TempDir(), "om101"), max, change)
}

func newBenchAt(t testing.TB, root string, max int64, change func(*tuning)) *bench {
	t.Helper()
	b := &bench{t: t, root: root, max: max, tune: defaultTuning(), clock: &testClock{}}
	b.tune.now, b.tune.tick, b.tune.pause = b.clock.now, 10*time.Millisecond, time.Millisecond
	b.tune.ready, b.tune.patience, b.tune.stall = time.Minute, time.Minute, time.Minute
	b.tune.holdBack, b.tune.ahead = unit/4, 4*unit
	if change != nil {
		change(b.tune)
	}
	clock := record.NewClock(nil)
	b.engine = recordtest.NewMemory(clock)
	b.index = inventory.NewIndex(b.engine, clock, 100)
	t.Cleanup(b.index.Close)
	var err error
	b.volume, err = inventory.OpenVolume(inventory.VolumeConfig{Name: "om101", Root: b.root}, b.engine, clock, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.volume.Close()) })
	b.open()
	t.Cleanup(b.close)
	return b
}

// open opens the cache and waits until it has listed what there is.
func (b *bench) open() {
	b.t.Helper()
	b.faults = &faultyDisk{disk: folder{b.volume.CacheFolder()}}
	b.Cache = open(b.faults, b.max, b.index, zap.NewNop(), b.tune)
	b.eventually("listed", func() bool { return b.Stats().Disabled == "" })
}

func (b *bench) close() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(b.t, b.Cache.Close(ctx))
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	require.Eventually(b.t, ok, time.Minute, time.Millisecond, what)
}

// idle waits until no fetch goes on.
func (b *bench) idle() {
	b.t.Helper()
	b.eventually("no fetch goes on", func() bool { return b.Stats().Fetches == 0 })
}

// files lists what lies below a folder of the root.
func (b *bench) files(dir string) []string {
	b.t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(b.root, dir), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !e.IsDir() && !strings.HasSuffix(path, "health.part") {
			names = append(names, e.Name())
		}
		return err
	})
	require.NoError(b.t, err)
	slices.Sort(names)
	return names
}

// join joins the whole content of an origin.
func (b *bench) join(o *origin) (io.ReadCloser, error) {
	return b.Join(b.t.Context(), o.hash, o.size(), 0, o.size(), o.open)
}

// fetch has an origin's content become a whole copy.
func (b *bench) fetch(o *origin) {
	b.t.Helper()
	r, err := b.join(o)
	require.NoError(b.t, err)
	got, err := io.ReadAll(r)
	require.NoError(b.t, err)
	require.True(b.t, bytes.Equal(o.data, got))
	require.NoError(b.t, r.Close())
	b.idle()
	require.True(b.t, b.has(o))
}

// has tells whether there is a whole copy, and that it is right.
func (b *bench) has(o *origin) bool {
	b.t.Helper()
	f, ok := b.File(o.hash)
	if !ok {
		return false
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	require.NoError(b.t, err)
	require.True(b.t, bytes.Equal(o.data, got))
	return true
}

// origin is a store elsewhere.
type origin struct {
	hash content.Hash
	data []byte

	mu     sync.Mutex
	calls  []int64                               // the offsets it was asked for
	open1  func(call int, offset int64) error    // may refuse a call
	body   func(call int, r io.Reader) io.Reader // may break a body
	gate   *sync.Cond                            // nil: bytes flow freely
	passed int64                                 // bytes that may flow
}

// newOrigin makes random content.
func newOrigin(t testing.TB, size int, seed uint64) *origin {
	t.Helper()
	data := make([]byte, size)
	fill(data, seed)
	d := inventory.NewHash(content.SHA1)
	d.Write(data)
	h, err := inventory.SumOf(content.SHA1, d)
	require.NoError(t, err)
	return &origin{hash: h, data: data}
}

func fill(p []byte, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < len(p); i += 8 {
		v := rnd.Uint64()
		for k := i; k < min(i+8, len(p)); k++ {
			p[k] = byte(v)
			v >>= 8
		}
	}
}

func (o *origin) size() int64 { return int64(len(o.data)) }

func (o *origin) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	o.mu.Lock()
	o.calls = append(o.calls, offset)
	call := len(o.calls)
	refuse, body := o.open1, o.body
	o.mu.Unlock()
	if refuse != nil {
		if err := refuse(call, offset); err != nil {
			return nil, err
		}
	}
	var r io.Reader = bytes.NewReader(o.data[offset:])
	if body != nil {
		r = body(call, r)
	}
	return &stream{Reader: r, ctx: ctx, origin: o, at: offset}, nil
}

func (o *origin) asked() []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

// hold has no more than n bytes flow until more are let through.
func (o *origin) hold(n int64) {
	o.gate, o.passed = sync.NewCond(&o.mu), n
}

// pass lets the bytes up to n through.
func (o *origin) pass(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passed = n
	o.gate.Broadcast()
}

// stream is a body of an origin.
type stream struct {
	io.Reader
	ctx    context.Context
	origin *origin
	at     int64
}

func (s *stream) Read(p []byte) (int, error) {
	if o := s.origin; o.gate != nil {
		stop := context.AfterFunc(s.ctx, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.gate.Broadcast()
		})
		defer stop()
		o.mu.Lock()
		for o.passed <= s.at && s.ctx.Err() == nil {
			o.gate.Wait()
		}
		p = p[:max(0, min(int64(len(p)), o.passed-s.at))]
		o.mu.Unlock()
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.Reader.Read(p)
	s.at += int64(n)
	return n, err
}

func (s *stream) Close() error { return nil }

// faultyDisk is a disk whose operations can be made to fail.
type faultyDisk struct {
	disk
	mu                          sync.Mutex
	room                        *int64
	create, write, keep, remove error
	gone                        bool
	hang                        chan struct{} // writes wait for it
	slow                        chan struct{} // making a file waits for it
}

func (d *faultyDisk) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *faultyDisk) Medium() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return 0
	}
	return d.disk.Medium()
}

func (d *faultyDisk) Room(ctx context.Context) (int64, error) {
	d.mu.Lock()
	room := d.room
	d.mu.Unlock()
	if room != nil {
		return *room, nil
	}
	return d.disk.Room(ctx)
}

func (d *faultyDisk) Remove(ctx context.Context, name string) error {
	d.mu.Lock()
	err := d.remove
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return d.disk.Remove(ctx, name)
}

func (d *faultyDisk) Create(ctx context.Context, size int64) (file, error) {
	d.mu.Lock()
	err, slow := d.create, d.slow
	d.mu.Unlock()
	if slow != nil {
		<-slow
	}
	if err != nil {
		return nil, err
	}
	f, err := d.disk.Create(ctx, size)
	return &faultyFile{f, d}, err
}

type faultyFile struct {
	file
	disk *faultyDisk
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	f.disk.mu.Lock()
	err, hang := f.disk.write, f.disk.hang
	f.disk.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if err != nil {
		return 0, err
	}
	return f.file.WriteAt(p, offset)
}

func (f *faultyFile) Keep(ctx context.Context, name string) error {
	f.disk.mu.Lock()
	err := f.disk.keep
	f.disk.mu.Unlock()
	if err != nil {
		return err
	}
	return f.file.Keep(ctx, name)
}

func (b *bench) copyPath(o *origin) string {
	return filepath.Join(b.root, "cache", filepath.FromSlash(nameOf(o.hash, o.size())))
}

func (b *bench) requireNothingHalf() {
	b.t.Helper()
	b.eventually("no temporary file is left", func() bool { return len(b.files("tmp")) == 0 })
}

var errBroken = errors.New("connection lost")

// breakAfter breaks a body off after n bytes.
func breakAfter(r io.Reader, n int64) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), &failing{errBroken})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func (b *bench) age(o *origin, at time.Time) {
	b.t.Helper()
	require.NoError(b.t, os.Chtimes(b.copyPath(o), at, at))
}
