package delivery

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// world is a node in memory with real volumes.
type world struct {
	t       testing.TB
	engine  *recordtest.Memory
	clock   *record.Clock
	ahead   atomic.Int64 // nanoseconds that the clock is ahead of the wall
	index   *inventory.Index
	book    *purchase.Book
	volumes map[string]*inventory.Volume // by name
	scans   atomic.Bool
	down    sync.Map // ids of stores that are not available
	metrics *meter
	logs    *observer.ObservedLogs
	deps    Deps
}

func newWorld(t testing.TB, stores ...string) *world {
	t.Helper()
	w := &world{t: t, volumes: make(map[string]*inventory.Volume), metrics: &meter{lookups: make(map[Lookup]int)}}
	w.clock = record.NewClock(func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) })
	w.engine = recordtest.NewMemory(w.clock)
	w.index = inventory.NewIndex(w.engine, w.clock, 1000)
	t.Cleanup(w.index.Close)
	minter, err := purchase.NewMinter('a', bytes.Repeat([]byte("k"), 32), w.clock)
	require.NoError(t, err)
	w.book = purchase.NewBook(w.engine, minter, w.clock, purchase.Options{})
	t.Cleanup(w.book.Close)
	for _, name := range stores {
		w.volumes[name] = w.startVolume(name)
	}
	core, logs := observer.New(zap.DebugLevel)
	w.logs = logs
	w.deps = Deps{
		Book: w.book, Index: w.index, Stores: w, Registry: w, Self: heartbeat.Location{Site: "s", Group: "g"},
		Misses: NewLimiter(MissesPerMinute, w.clock.Wall), Metrics: w.metrics, Clock: w.clock, Log: zap.New(core),
		Client: func(r *http.Request) (netip.Addr, string) {
			if v := r.Header.Get("X-Test-Client"); v != "" {
				return netip.MustParseAddr(v), "http"
			}
			return connectionClient(r)
		},
	}
	return w
}

func (w *world) startVolume(name string) *inventory.Volume {
	v, err := inventory.OpenVolume(inventory.VolumeConfig{Name: name, Root: w.t.TempDir()}, w.engine, w.clock, zap.NewNop())
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		err := <-done
		if err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("volume %s: %v", name, err)
		}
		require.NoError(w.t, v.Close())
	})
	require.Eventually(w.t, func() bool { return v.Status().Scanned && v.Writable() }, 20*time.Second, 5*time.Millisecond)
	return v
}

// Volume, Scanning and Available make the world a StoreSet and a registry.
func (w *world) Volume(id string) (*inventory.Volume, bool) {
	for _, v := range w.volumes {
		if v.ID() == id {
			return v, true
		}
	}
	return nil, false
}

func (w *world) Scanning() bool { return w.scans.Load() }

func (w *world) Available(id string) bool {
	_, down := w.down.Load(id)
	return !down
}

func (w *world) put(data, ext string, stores ...string) content.Hash {
	w.t.Helper()
	sum := sha1.Sum([]byte(data))
	h, err := content.HashOf(content.SHA1, sum[:])
	require.NoError(w.t, err)
	for _, name := range stores {
		_, err := w.volumes[name].Put(w.t.Context(), h, ext, bytes.NewReader([]byte(data)), int64(len(data)))
		require.NoError(w.t, err)
	}
	return h
}

func (w *world) buy(h content.Hash, ext string, change ...func(*purchase.Spec)) purchase.Token {
	w.t.Helper()
	spec := purchase.Spec{Hash: h, Ext: ext, Life: time.Hour}
	for _, f := range change {
		f(&spec)
	}
	p, _, err := w.book.Make(w.t.Context(), spec)
	require.NoError(w.t, err)
	return p.Token
}

func (w *world) block(h content.Hash) {
	_, err := w.engine.Update(w.t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(`{"blocked":true}`)})
	require.NoError(w.t, err)
}

// meter is Metrics for tests.
type meter struct {
	mu        sync.Mutex
	lookups   map[Lookup]int
	requests  int
	sent      int64
	streams   int
	failovers int
	hedges    int
}

func (m *meter) Request(_ Kind, _ int, sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	m.sent += sent
}

func (m *meter) Stream(change int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams += change
}

func (m *meter) Failover() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failovers++
}

func (m *meter) Hedge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hedges++
}

func (m *meter) Lookup(result Lookup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookups[result]++
}

// server serves what Serve answers, and 418 for what is not its own.
type server interface {
	Serve(http.ResponseWriter, *http.Request) error
}

func serverOf(s server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.Serve(w, r); errors.Is(err, handlers.ErrNotMine) {
			w.WriteHeader(http.StatusTeapot)
		} else if err != nil {
			panic(err)
		}
	})
}

// ask asks a Handler or StoreSide without a connection.
func ask(s server, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	serverOf(s).ServeHTTP(rec, r)
	return rec
}

// errorOf returns the text of a JSON error.
func errorOf(t testing.TB, rec *httptest.ResponseRecorder) string {
	t.Helper()
	var v struct {
		Error string `json:"error"`
	}
	require.NoError(t, json.NewDecoder(io.TeeReader(rec.Body, io.Discard)).Decode(&v))
	return v.Error
}
