package clones

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// shelf is a third node of an edge, with no clone but room for copies. It is its
// server's Copies, and the edge's Demand.
type shelf struct {
	*node
	cache *pull.Cache
	edge  *edge
	lost  []string
}

func newShelf(t *testing.T, e *edge) *shelf {
	s := &shelf{node: newNode(t, "shelf", "shelf"), edge: e}
	s.cache = pull.Open(s.all[0], 1<<30, s.index, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, s.cache.Close(context.Background())) })
	require.Eventually(t, func() bool { return s.cache.Stats().Disabled == "" }, 10*time.Second, time.Millisecond)
	s.server.Copies = s
	for r, err := range e.engine.Walk(t.Context(), nil) {
		require.NoError(t, err)
		require.NoError(t, s.engine.Import(t.Context(), []record.Record{r}))
	}
	require.NoError(t, e.registry.Register(t.Context(), heartbeat.Peer{
		ID: s.all[0].ID(), Name: peer.Name{Prism: "shelf", Store: "shelf"}, Kind: peer.Store, Node: "shelf",
		Cluster: s.http.URL, Online: true, Caches: true, Active: true, Writable: true,
	}))
	return s
}

func (s *shelf) Lend(_ string, h content.Hash) (*os.File, bool) { return s.cache.Lend(h) }
func (s *shelf) Drop(_ string, h content.Hash)                  { s.cache.Drop(h) }
func (s *shelf) Count(content.Hash, bool)                       {}
func (s *shelf) Lost(_ content.Hash, store string)              { s.lost = append(s.lost, store) }

func (s *shelf) Copies(h content.Hash) []inventory.Clone {
	return []inventory.Clone{{Hash: h, Store: s.all[0].ID(), Ext: "bin", Size: int64(len(s.edge.data))}}
}

// A copy is given to other nodes as a clone is, unless the content is blocked or
// removed; a viewer does not notice where it came from, nor that it is gone.
func TestCopiesAreLent(t *testing.T) {
	e := newEdge(t, 3<<20)
	s := newShelf(t, e)
	id := s.all[0].ID()
	open := func() (io.ReadCloser, error) {
		return e.source.Open(t.Context(), id, e.hash, 1000, 2<<20)
	}
	_, err := open()
	require.ErrorIs(t, err, inventory.ErrNotExist, "there is none yet")

	deps := delivery.Deps{Index: e.index, Stores: e, Registry: e.registry, Elsewhere: e.source, Demand: s}
	state, err := s.cache.Want(e.hash, int64(len(e.data)), time.Now().Add(time.Hour), delivery.NewSender(deps).Fetch(placementOf(t, e), int64(len(e.data))))
	require.NoError(t, err)
	require.Equal(t, pull.Begun, state)
	require.Eventually(t, func() bool { return s.cache.Stats().Fetched == 1 }, 20*time.Second, time.Millisecond)
	body, err := open()
	require.NoError(t, err)
	require.Equal(t, e.data[1000:2<<20], readAll(t, body))
	require.Len(t, placementOf(t, e).Clones, 2, "a copy is in no record")
	_, ok, err := s.all[0].Has(t.Context(), e.hash)
	require.NoError(t, err)
	require.False(t, ok)

	for _, f := range e.away {
		f.set("killed")
	}
	e.registry.Failed(e.away[0].all[0].ID())
	e.registry.Failed(e.away[1].all[0].ID())
	handler := delivery.New(deps, delivery.Settings{})
	get := func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		require.NoError(t, handler.Serve(rec, httptest.NewRequest(http.MethodGet, e.path(), nil)))
		return rec
	}
	rec := get()
	require.Equal(t, http.StatusOK, rec.Code, "no clone can be had, and it is served")
	require.Equal(t, e.data, rec.Body.Bytes())
	require.Positive(t, s.cache.Stats().Lent)

	e.heal()
	e.registry.Answered(e.away[0].all[0].ID())
	e.registry.Answered(e.away[1].all[0].ID())
	require.Equal(t, 1, s.cache.Clear())
	rec = get()
	require.Equal(t, http.StatusOK, rec.Code, "it is gone, and it is served")
	require.Equal(t, e.data, rec.Body.Bytes())
	for _, store := range s.lost {
		require.Equal(t, id, store)
	}
}

func TestCopiesAreNotLentOfWhatIsTakenDown(t *testing.T) {
	for name, down := range map[string]func(s *shelf) error{
		"blocked": func(s *shelf) error {
			_, err := s.index.Block(s.t.Context(), inventory.Block{Hash: s.edge.hash})
			return err
		},
		"removed": func(s *shelf) error { _, err := s.index.Remove(s.t.Context(), s.edge.hash); return err },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, 1<<20)
			s := newShelf(t, e)
			_, err := s.cache.Want(e.hash, int64(len(e.data)), time.Now().Add(time.Hour),
				delivery.NewSender(delivery.Deps{Stores: e, Registry: e.registry, Elsewhere: e.source}).Fetch(placementOf(t, e), int64(len(e.data))))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return s.cache.Stats().Fetched == 1 }, 20*time.Second, time.Millisecond)
			body, err := e.source.Open(t.Context(), s.all[0].ID(), e.hash, 0, 10)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			require.NoError(t, down(s))
			_, err = e.source.Open(t.Context(), s.all[0].ID(), e.hash, 0, 10)
			require.Error(t, err)
			require.EqualValues(t, 1, s.cache.Stats().Lent)
		})
	}
}

func placementOf(t *testing.T, e *edge) *inventory.Placement {
	p, err := e.index.Find(t.Context(), e.hash)
	require.NoError(t, err)
	return p
}
