package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// elsewhere writes down, as another node would, that it has a store.
func elsewhere(t *testing.T, n *Node, p heartbeat.Peer, revision uint64) {
	t.Helper()
	value, err := json.Marshal(map[string]any{
		"name": p.Name.String(), "kind": p.Kind, "node": "other", "nodeId": "other-id", "source": "other-source", "cluster": p.Cluster, "online": p.Online,
		"claimed": n.clock.Next(), "complete": true, "active": true, "writable": true,
	})
	require.NoError(t, err)
	require.NoError(t, n.engine.Import(t.Context(), []record.Record{{
		Topic: record.Peer, Key: p.ID, Source: "other-source", Time: n.clock.Next(), Revision: revision, Value: value,
	}}))
}

// tellRegistry has the node register what it has, and waits for that.
func tellRegistry(t *testing.T, n *Node) {
	t.Helper()
	for range 2 { // one may have been under way
		told := make(chan struct{})
		n.asked <- told
		<-told
	}
}

// A medium that was at another node meanwhile comes back with clones as that one
// has described them: this node must not say that it has written all of them
// before it has.
func TestAStoreThatComesBackIsWrittenAnew(t *testing.T) {
	c := testConfig(t.TempDir(), "disk1")
	n := openNode(t, c)
	attach(t, n, Spec{Config: c})
	h, v := put(t, n, "hello"), n.Volumes()[0]
	id := v.ID()
	complete := func() bool {
		p, ok := n.Registry.Lookup(id)
		return ok && n.owns(p) && p.Complete
	}
	soon(t, complete)
	version := func(source string) (found record.Record) {
		versions, err := n.engine.Get(t.Context(), record.Inventory, h.String())
		require.NoError(t, err)
		for _, r := range versions {
			if r.Source == source {
				found = r
			}
		}
		return found
	}
	root := c.Stores[0].Root
	require.NoError(t, os.Rename(root, root+".away"))
	v.Lost("the medium was taken out")
	tellRegistry(t, n)
	_, here := n.volumes.Volume(id)
	require.True(t, here, "its disk is away, and nobody else has it")
	require.Len(t, n.storeHealth(), 1)
	require.Len(t, n.uploadStores(), 1)
	theirs := version(n.engine.Source())
	theirs.Source, theirs.Revision, theirs.Time = "other-source", 1, n.clock.Next()
	require.NoError(t, n.engine.Import(t.Context(), []record.Record{theirs}))
	elsewhere(t, n, heartbeat.Peer{ID: id, Name: peer.Name{Prism: "other", Store: "disk1"}, Kind: peer.Store}, 2)
	soon(t, func() bool {
		p, ok := n.Registry.Lookup(id)
		return ok && !n.owns(p)
	})
	tellRegistry(t, n)
	p, _ := n.Registry.Lookup(id)
	require.False(t, n.owns(p), "who has not got the medium does not speak of it")
	_, here = n.volumes.Volume(id)
	require.False(t, here, "it is to be read where it is")
	require.False(t, n.Registry.Local(id), "and not from here")
	require.Empty(t, n.uploadStores(), "nor written here")
	require.Empty(t, n.storeHealth(), "nor tell how it is")
	require.NoError(t, os.Rename(root+".away", root))
	soon(t, complete)
	require.Greater(t, version(n.engine.Source()).Time, theirs.Time)
}

// A name that two nodes have given to a store means each one's own to itself.
func TestKnownStoreIsOnesOwn(t *testing.T) {
	c := testConfig(t.TempDir(), "disk1")
	n := openNode(t, c)
	attach(t, n, Spec{Config: c})
	own := n.Volumes()[0].ID()
	soon(t, func() bool { return n.knownStore("disk1") == own })
	for i, id := range []string{"00", "ff"} {
		elsewhere(t, n, heartbeat.Peer{ID: id, Name: peer.Name{Prism: "a" + id, Store: "disk1"}, Kind: peer.Store}, uint64(i+1))
		soon(t, func() bool { _, ok := n.Registry.Lookup(id); return ok })
		require.Equal(t, own, n.knownStore("disk1"))
	}
	require.Empty(t, n.knownStore("disk2"))
}

// A node that does not tell whether it has a store keeps it for as long as it is
// reached: it may just be slow.
func TestAStoreIsNotTakenFromWhoIsSlow(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Cluster.Secret = []string{"0123456789abcdef"}
	n := openNode(t, c)
	theirs := cluster.NewHandler(cluster.Deps{Keys: cluster.NewKeys(c.Cluster.Secret)})
	status := http.StatusServiceUnavailable
	theirs.Handle("/cluster/store", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = theirs.Serve(w, r) }))
	t.Cleanup(server.Close)
	elsewhere(t, n, heartbeat.Peer{ID: "moved", Name: peer.Name{Prism: "other", Store: "disk1"}, Kind: peer.Store, Cluster: server.URL, Online: true}, 1)
	reached := true
	n.others.away = func(string) bool { return !reached }
	n.started = time.Now().Add(-2 * hearing) // so that nobody is waited for

	require.ErrorContains(t, n.claim("moved"), "does not tell whether it still has it")
	require.Zero(t, n.claims.at("moved"))
	status = http.StatusNoContent
	require.ErrorContains(t, n.claim("moved"), "one root is a copy of the other")
	status, reached = http.StatusServiceUnavailable, false
	require.NoError(t, n.claim("moved"))
	require.NotZero(t, n.claims.at("moved"))
}
