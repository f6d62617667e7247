package inventory

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(crashRoot); root != "" {
		crash(root)
	}
	goleak.VerifyTestMain(m)
}

// bench is one store with an engine in memory.
type bench struct {
	*Volume
	t      testing.TB
	engine *recordtest.Memory
	clock  *record.Clock
	index  *Index
	cfg    VolumeConfig
}

// quick are deadlines for tests: long enough for a busy machine where a real
// disk answers, and short where a test hangs one.
func quick() *tuning {
	t := defaultTuning()
	t.open, t.readTest, t.writeTest = time.Minute, time.Minute, time.Minute
	t.readEvery, t.writeEvery = 20*time.Millisecond, 20*time.Millisecond
	t.suspectFor, t.reread = 0, 0
	return t
}

func openBench(t testing.TB, change func(*VolumeConfig)) *bench {
	t.Helper()
	clock := record.NewClock(nil)
	return openBenchOn(t, recordtest.NewMemory(clock), clock, change)
}

func openBenchOn(t testing.TB, engine *recordtest.Memory, clock *record.Clock, change func(*VolumeConfig)) *bench {
	t.Helper()
	b := &bench{t: t, engine: engine, clock: clock}
	b.cfg = VolumeConfig{Name: "om101", Root: filepath.Join(t.TempDir(), "om101"), tuning: quick()}
	if change != nil {
		change(&b.cfg)
	}
	b.index = NewIndex(engine, clock, 100)
	t.Cleanup(b.index.Close)
	b.open()
	t.Cleanup(func() { require.NoError(t, b.Volume.Close()) })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var log *zap.Logger
	if testing.Verbose() {
		log = zaptest.NewLogger(b.t)
	} else {
		log = zap.NewNop()
	}
	v, err := OpenVolume(b.cfg, b.engine, b.clock, log)
	require.NoError(b.t, err)
	b.Volume = v
}

// reopen is a restart of the process, as far as the store sees it.
func (b *bench) reopen() {
	b.t.Helper()
	require.NoError(b.t, b.Volume.Close())
	b.cfg.KnownID = b.Volume.ID()
	b.open()
}

// run runs the volume until the test ends.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	v := b.Volume
	go func() { done <- v.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		require.NoError(b.t, <-done)
	})
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	require.Eventually(b.t, ok, time.Minute, 5*time.Millisecond, what)
}

func (b *bench) put(data []byte, ext string) Clone {
	b.t.Helper()
	c, err := b.Put(b.t.Context(), hashOf(b.t, content.SHA1, data), ext, bytes.NewReader(data), int64(len(data)))
	require.NoError(b.t, err)
	return c
}

// path is where a clone lies.
func (b *bench) path(c Clone) string {
	return filepath.Join(b.Root(), filepath.FromSlash(disk.ClonePath(c.Hash, c.Ext, c.Deep)))
}

// plant puts a file into the content behind the volume's back.
func (b *bench) plant(data []byte, ext string, deep bool) Clone {
	b.t.Helper()
	c := Clone{Hash: hashOf(b.t, content.SHA1, data), Ext: ext, Deep: deep, Size: int64(len(data))}
	require.NoError(b.t, os.MkdirAll(filepath.Dir(b.path(c)), 0o755))
	require.NoError(b.t, os.WriteFile(b.path(c), data, 0o644))
	return c
}

func (b *bench) scanAll() ScanResult {
	b.t.Helper()
	r, err := b.Scan(b.t.Context(), ScanOptions{}, nil)
	require.NoError(b.t, err)
	return r
}

// holds tells which clone of a content is recorded.
func (b *bench) holds(h content.Hash) (Clone, bool) {
	b.t.Helper()
	p, err := b.index.Find(b.t.Context(), h)
	require.NoError(b.t, err)
	if len(p.Clones) == 0 {
		return Clone{}, false
	}
	require.Len(b.t, p.Clones, 1)
	return p.Clones[0], true
}

// files lists all files below a folder of the root, but for the health test's.
func (b *bench) files(dir string) []string {
	b.t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(b.Root(), dir), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !e.IsDir() && !strings.HasSuffix(path, "health.part") {
			files = append(files, e.Name())
		}
		return err
	})
	require.NoError(b.t, err)
	return files
}

func (b *bench) requireNothingLeft() {
	b.t.Helper()
	b.eventually("temporary files are gone", func() bool { return len(b.files(disk.Temp)) == 0 })
	require.Empty(b.t, b.files(disk.Content))
}

func hashOf(t testing.TB, typ content.Type, data []byte) content.Hash {
	t.Helper()
	d := NewHash(typ)
	d.Write(data)
	h, err := SumOf(typ, d)
	require.NoError(t, err)
	return h
}

// faults is a hook whose operations fail, or wait, by name.
type faults struct {
	mu   sync.Mutex
	errs map[string]error
	gate map[string]chan struct{}
	seen []string
}

func (f *faults) hook(op, rel string) error {
	f.mu.Lock()
	f.seen = append(f.seen, op)
	err, gate := f.errs[op], f.gate[op]
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return err
}

func (f *faults) fail(op string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errs == nil {
		f.errs = map[string]error{}
	}
	f.errs[op] = err
}

// hang has operations wait until the test lets them go.
func (f *faults) hang(ops ...string) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate == nil {
		f.gate = map[string]chan struct{}{}
	}
	gate := make(chan struct{})
	for _, op := range ops {
		f.gate[op] = gate
	}
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, op := range ops {
			delete(f.gate, op)
		}
		close(gate)
	})
}

// steps returns what has happened since it was last called.
func (f *faults) steps() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}
