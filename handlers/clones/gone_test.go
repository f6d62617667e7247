package clones

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
)

// withNode has the registry of an edge know a node by an id of its own, so that
// something can be said of it.
func withNode(t *testing.T, e *edge, f *faulty) {
	t.Helper()
	p, ok := e.registry.Lookup(f.all[0].ID())
	require.True(t, ok)
	p.NodeID = "id of " + p.Node
	require.NoError(t, e.registry.Register(t.Context(), p))
}

func down(f *faulty) *heartbeat.Health {
	return &heartbeat.Health{Nodes: map[string]heartbeat.Standing{"id of " + f.all[0].Name(): heartbeat.Down}}
}

// A download moves on from a node that is found to be down at once, and does
// not wait until it has stalled: here that would take an hour.
func TestDownloadMovesOn(t *testing.T) {
	e := newEdge(t, 8<<20, func(d *ClientDeps) { d.Stall = time.Hour })
	for _, f := range e.away {
		withNode(t, e, f)
	}
	r := e.reaches(t)[0]
	res, err := r.client.Get(r.base + e.path())
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	got := make([]byte, len(e.data))
	_, err = io.ReadFull(res.Body, got[:1<<20])
	require.NoError(t, err)
	frozen := e.serving(t)
	frozen.set("frozen")
	e.registry.SetHealth(down(frozen))
	_, err = io.ReadFull(res.Body, got[1<<20:])
	require.NoError(t, err)
	require.True(t, string(e.data) == string(got), "byte for byte")
	e.heal()
}

// An upload leaves a store behind whose node is found to be down, wherever it
// waits for it.
func TestUploadMovesOn(t *testing.T) {
	n := newNode(t, "s", "om101")
	gone := make(chan struct{})
	target := n.target(0)
	target.Gone = func() <-chan struct{} { return gone }
	sink, err := newClient(t).Remote(target).Create(t.Context(), -1, content.SHA1)
	require.NoError(t, err)
	_, err = sink.Write([]byte("a film"))
	require.NoError(t, err)
	var deleted atomic.Bool
	n.before(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			deleted.Store(deleted.Load() || r.Method == http.MethodDelete)
			next.ServeHTTP(w, r)
		})
	})
	close(gone)
	require.Eventually(t, func() bool {
		_, err = sink.Write([]byte("goes on"))
		return err != nil
	}, 20*time.Second, time.Millisecond)
	require.ErrorIs(t, err, ErrGone)
	sink.Abort()
	n.requireNoTemp()
	require.False(t, deleted.Load(), "a store that is gone takes it back by itself")
	_, err = newClient(t).Remote(target).Create(t.Context(), -1, content.SHA1)
	require.ErrorIs(t, err, ErrGone)
	target.Readable = func() bool { return false }
	_, _, err = newClient(t).Remote(target).Renew(t.Context(), n.put(0, []byte("a film"), "mp4"))
	require.ErrorIs(t, err, inventory.ErrOffline)
}

// What ends well ends as ever.
func TestNobodyGoes(t *testing.T) {
	n := newNode(t, "s", "om101")
	gone := make(chan struct{})
	target := n.target(0)
	target.Gone = func() <-chan struct{} { return gone }
	sink := send(t, newClient(t).Remote(target), []byte("a film"), -1, content.SHA1)
	_, err := sink.Commit(t.Context(), sha1Of([]byte("a film")), "mp4")
	require.NoError(t, err)
	close(gone)
}
