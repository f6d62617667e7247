package demand

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// recorded is a response whose status is looked at.
type recorded struct {
	*httptest.ResponseRecorder
	status int
}

func (w *recorded) WriteHeader(status int) { w.status = status; w.ResponseRecorder.WriteHeader(status) }

func newAnswer() *recorded { return &recorded{httptest.NewRecorder(), http.StatusOK} }

type noCaches struct{}

func (noCaches) Cache(string) (*pull.Cache, bool)        { return nil, false }
func (noCaches) Volume(string) (*inventory.Volume, bool) { return nil, false }

// shelf is a node with one store that has room for copies. It is its Caches and
// where it fetches from.
type shelf struct {
	*Agent
	t      *testing.T
	index  *inventory.Index
	engine record.Engine
	clock  *record.Clock
	volume *inventory.Volume
	cache  *pull.Cache
	url    string

	mu      sync.Mutex
	data    map[content.Hash][]byte
	fetches int
}

func newShelf(t *testing.T, room int64) *shelf {
	s := &shelf{t: t, clock: record.NewClock(nil), data: map[content.Hash][]byte{}}
	engine := recordtest.NewMemory(s.clock)
	s.engine = engine
	s.index = inventory.NewIndex(engine, s.clock, 100)
	t.Cleanup(s.index.Close)
	var err error
	s.volume, err = inventory.OpenVolume(inventory.VolumeConfig{Name: "om101", Root: filepath.Join(t.TempDir(), "om101")}, engine, s.clock, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.volume.Close()) })
	s.cache = pull.Open(s.volume, room, s.index, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, s.cache.Close(context.Background())) })
	s.eventually("the disk was looked at", func() bool { return s.cache.Stats().Disabled == "" })
	s.Agent = New(Deps{Index: s.index, Caches: s, Fetch: s.fetch, Doer: http.DefaultClient})
	server := httptest.NewServer(s.Agent)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	s.url = server.URL
	return s
}

func (s *shelf) eventually(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, time.Minute, time.Millisecond, what)
}

func (s *shelf) Cache(id string) (*pull.Cache, bool)        { return s.cache, id == s.volume.ID() }
func (s *shelf) Volume(id string) (*inventory.Volume, bool) { return s.volume, id == s.volume.ID() }

func (s *shelf) fetch(p *inventory.Placement, _ int64) func(context.Context, int64) (io.ReadCloser, error) {
	h := p.Clones[0].Hash
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetches++
		return io.NopCloser(bytes.NewReader(s.data[h][offset:])), nil
	}
}

// put has a store elsewhere hold a content.
func (s *shelf) put(data, store string) content.Hash {
	s.t.Helper()
	d := inventory.NewHash(content.SHA1)
	_, _ = io.WriteString(d, data)
	h, err := inventory.SumOf(content.SHA1, d)
	require.NoError(s.t, err)
	s.mu.Lock()
	s.data[h] = []byte(data)
	s.mu.Unlock()
	value, err := json.Marshal(inventory.Clone{Ext: "bin", Size: int64(len(data)), Stored: 1, Kept: s.clock.Next()})
	require.NoError(s.t, err)
	_, err = s.engine.Update(s.t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: store, Value: value})
	require.NoError(s.t, err)
	return h
}

func (s *shelf) ask(h content.Hash, store string) (bool, error) {
	return s.call(s.t.Context(), Place{ID: store, Address: s.url + "/"}, h)
}

// take asks until the copy is whole.
func (s *shelf) take(h content.Hash) {
	s.t.Helper()
	s.eventually("the copy is whole", func() bool {
		whole, err := s.ask(h, s.volume.ID())
		require.NoError(s.t, err)
		return whole
	})
}

func TestTake(t *testing.T) {
	s := newShelf(t, 1<<20)
	text := strings.Repeat("a film ", 10_000)
	film, here, big := s.put(text, "elsewhere"), s.put("held", s.volume.ID()), s.put(strings.Repeat("x", 2<<20), "elsewhere")
	blocked := s.put("blocked", "elsewhere")
	_, err := s.index.Block(t.Context(), inventory.Block{Hash: blocked})
	require.NoError(t, err)
	id := s.volume.ID()

	s.take(film)
	require.Equal(t, 1, s.fetches, "one fetch, however often it is asked for")
	require.Equal(t, Status{Taken: 1}, s.Status())
	f, ok := s.Lend(id, film)
	require.True(t, ok)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, text, string(got))
	require.Equal(t, Status{Taken: 1, Lent: 1}, s.Status())
	_, ok = s.Lend("another", film)
	require.False(t, ok)

	for what, c := range map[string]struct {
		hash  content.Hash
		store string
		want  string
	}{
		"403": {blocked, id, "blocked"}, "404": {film, "another", "no room for copies"}, "507": {big, id, "no room"},
	} {
		_, err := s.ask(c.hash, c.store)
		require.ErrorContains(t, err, what)
		require.ErrorContains(t, err, c.want)
	}
	_, err = s.ask(hash(t, 77), id)
	require.ErrorContains(t, err, "404")
	p, err := s.index.Find(t.Context(), here)
	require.NoError(t, err)
	require.Len(t, p.Clones, 1)
	_, err = s.ask(here, id)
	require.ErrorContains(t, err, "409", "it has a clone")

	// A takedown and a removal hold for copies too.
	other := s.put("another film", "elsewhere")
	s.take(other)
	_, err = s.index.Block(t.Context(), inventory.Block{Hash: film})
	require.NoError(t, err)
	_, err = s.index.Remove(t.Context(), other)
	require.NoError(t, err)
	for _, h := range []content.Hash{film, other} {
		_, ok := s.Lend(id, h)
		require.False(t, ok)
		_, err := s.ask(h, id)
		require.ErrorContains(t, err, "the node answered 40")
	}

	third := s.put("a third film", "elsewhere")
	s.take(third)
	s.Drop(id, third)
	_, ok = s.Lend(id, third)
	require.False(t, ok, "its disk could not read it")
	s.Drop("another", third)
}

func TestMalformedQuestions(t *testing.T) {
	s := newShelf(t, 1<<20)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "", "", 405}, {"POST", "/more", "{}", 405}, {"POST", "", "", 400}, {"POST", "", "{}", 400},
		{"POST", "", `{"hash":"abc","store":"x"}`, 400}, {"POST", "", `{"hash":"` + strings.Repeat("0", maxQuestion) + `"}`, 400},
	} {
		r, err := http.NewRequest(c.method, s.url+Path+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.want, resp.StatusCode, "%+v", c)
	}
}
