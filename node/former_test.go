package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// What former owners wrote about a store goes once its present one has written
// all of it, on every node, theirs included; what may be a later owner's stays.
func TestFormerOwnersAreDropped(t *testing.T) {
	c := testConfig(t.TempDir(), "disk1")
	n := openNode(t, c)
	attach(t, n, Spec{Config: c})
	h, id := put(t, n, "hello"), n.Volumes()[0].ID()
	store := func() heartbeat.Peer {
		p, _ := n.Registry.Lookup(id)
		return p
	}
	soon(t, func() bool { return store().Complete })
	write := func(revision uint64, source string, hash content.Hash, at record.Time, member string) {
		require.NoError(t, n.engine.Import(t.Context(), []record.Record{{
			Topic: record.Inventory, Key: hash.String(), Member: member, Source: source, Time: at, Revision: revision, Value: []byte(`{}`),
		}}))
	}
	sources := func(member string) (all []string) {
		for r, err := range n.engine.List(t.Context(), record.Inventory, record.ByMember, member, "") {
			require.NoError(t, err)
			all = append(all, r.Source)
		}
		return all
	}
	gone, err := content.ParseHash("0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33")
	require.NoError(t, err)
	claimed := store().Claimed
	write(1, "former", h, claimed-1, id)
	write(2, "former", gone, claimed-1, id)
	write(1, "next", gone, claimed+1, id)
	dropped, left, err := n.dropFormer(t.Context(), store())
	require.NoError(t, err)
	require.False(t, left)
	require.Equal(t, 2, dropped)
	require.ElementsMatch(t, []string{n.engine.Source(), "next"}, sources(id))

	// A former owner drops its own; nobody does while the owner is not complete.
	_, err = n.engine.Update(t.Context(), record.Inventory, gone.String(), record.Condition{}, record.Change{Member: "moved", Value: []byte(`{}`)})
	require.NoError(t, err)
	elsewhere(t, n, heartbeat.Peer{ID: "moved", Name: peer.Name{Prism: "other", Store: "disk2"}, Kind: peer.Store}, 1)
	p, ok := n.Registry.Lookup("moved")
	require.True(t, ok)
	n.claims.takeOver("moved", p.Claimed+1)
	_, _, err = n.dropFormer(t.Context(), p)
	require.ErrorIs(t, err, errOwner, "this node has just taken it")
	require.Len(t, sources("moved"), 1)
	n.claims.takeOver("moved", 0)
	dropped, _, err = n.dropFormer(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, 1, dropped)
}

func TestFormerIsDueAfterAWhile(t *testing.T) {
	var f former
	now := time.Now()
	p := heartbeat.Peer{ID: "s", Kind: peer.Store, Source: "a"}
	all := func() []heartbeat.Peer {
		return f.due([]heartbeat.Peer{p, {ID: "prism", Complete: true, Source: "a"}}, nil, now)
	}
	require.Empty(t, all())
	now = now.Add(formerWait)
	require.Empty(t, all(), "it is not complete")
	p.Complete = true
	require.Empty(t, all())
	now = now.Add(formerWait)
	require.Len(t, all(), 1)
	f.done("s", now, true)
	require.Empty(t, all())
	now = now.Add(formerSoon)
	require.Len(t, all(), 1)
	f.done("s", now, false)
	now = now.Add(formerSoon)
	require.Empty(t, all())
	p.Source = "b"
	require.Empty(t, all(), "another owner")
	now = now.Add(formerWait)
	require.Len(t, all(), 1)
	now = now.Add(-formerWait)
	p.Source = ""
	require.Empty(t, all(), "it was never said who that is")
}

// What is forgotten is looked at at once: it is nobody's, and nobody writes.
func TestForgottenIsDueAtOnce(t *testing.T) {
	var f former
	now := time.Now()
	gone := []heartbeat.Peer{{ID: "s", Kind: peer.Store, Claimed: 5, Complete: true}}
	require.Equal(t, gone, f.due(nil, gone, now))
	f.done("s", now, false)
	require.Empty(t, f.due(nil, gone, now))
	require.Len(t, f.due(nil, gone, now.Add(formerAgain)), 1, "one who comes back late brings some")
	f.done("s", now, false)
	again := []heartbeat.Peer{{ID: "s", Kind: peer.Store, Claimed: 9, Complete: true}}
	require.Equal(t, again, f.due([]heartbeat.Peer{{ID: "s", Kind: peer.Store, Source: "a", Complete: true}}, again, now), "forgotten once more, whatever its owner has not heard")
}
