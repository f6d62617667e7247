package clones

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/inventory/pull"
)

// What viewers ask for from elsewhere is fetched once, goes on when they leave
// and when a node dies, and is then had without any node.
func TestPullThrough(t *testing.T) {
	var cache *pull.Cache
	e := newEdge(t, streamed, func(d *ClientDeps) { d.Stall = 500 * time.Millisecond })
	e.open("cachedisk")
	cache = pull.Open(e.all[0], 1<<30, nil, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, cache.Close(context.Background())) })
	require.Eventually(t, func() bool { return cache.Stats().Disabled == "" }, 10*time.Second, time.Millisecond)
	handler := delivery.New(delivery.Deps{Index: e.index, Stores: e, Registry: e.registry, Elsewhere: e.source, Cache: cache}, delivery.Settings{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := handler.Serve(w, r); err != nil {
			panic(err)
		}
	}))
	t.Cleanup(server.Close)

	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			resp, err := server.Client().Get(server.URL + e.path())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if i%2 == 0 {
				_, _ = io.CopyN(io.Discard, resp.Body, 1<<20) // leaves
				return
			}
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(e.data, got) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	require.Eventually(t, func() bool { return e.last.Load() != nil }, 10*time.Second, time.Millisecond)
	struck := e.serving(t)
	struck.set("killed")
	group.Wait()
	require.Eventually(t, func() bool { return cache.Stats().Fetched == 1 }, 20*time.Second, time.Millisecond)
	for _, f := range e.away {
		f.set("killed")
	}
	for range 2 {
		resp, err := server.Client().Get(server.URL + e.path())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		requireSame(t, e.data, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	require.Positive(t, cache.Stats().Hits)
}
