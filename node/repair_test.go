package node

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// repairing is a node with four disks that repairs within moments.
func repairing(t *testing.T) (*Node, map[string]content.Hash) {
	t.Helper()
	c := testConfig(t.TempDir(), "disk1", "disk2", "disk3", "disk4")
	c.Repair.After = Duration(300 * time.Millisecond)
	n := openNode(t, c)
	attach(t, n, Spec{Config: c})
	soon(t, func() bool { return len(n.Registry.Peers()) == 4 })
	all := map[string]content.Hash{}
	for i := range 12 {
		text := fmt.Sprint("content ", i)
		all[text] = put(t, n, text)
	}
	return n, all
}

// kept tells how many clones of each content records place, and that one of
// each can be read whole.
func kept(t *testing.T, n *Node, all map[string]content.Hash, want int, but string) bool {
	t.Helper()
	for text, h := range all {
		p, err := n.Index.Find(t.Context(), h)
		require.NoError(t, err)
		good := 0
		for _, c := range p.Clones {
			v, ok := n.volumes.Volume(c.Store)
			if !ok || c.Store == but || !v.Readable() {
				continue
			}
			f, err := v.Open(t.Context(), c)
			if err != nil {
				continue // it has just been dropped
			}
			data, err := io.ReadAll(f)
			require.NoError(t, f.Close())
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, []byte(text)))
			good++
		}
		require.NotZero(t, good, "%q can be read at any time", text)
		if good != want {
			return false
		}
	}
	return true
}

func eventuallyLong(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
}

// An operator's word goes to the nodes that are there: who is down is not called.
func TestCarriers(t *testing.T) {
	n := openNode(t, testConfig(t.TempDir(), "disk1"))
	for _, p := range []heartbeat.Peer{
		{ID: "s2", Name: peer.Name{Prism: "p", Store: "two"}, Kind: peer.Store, NodeID: "n2", Cluster: "http://two"},
		{ID: "s3", Name: peer.Name{Prism: "p", Store: "three"}, Kind: peer.Store, NodeID: "n3", Cluster: "http://three"},
		{ID: "s4", Name: peer.Name{Prism: "p", Store: "four"}, Kind: peer.Store, NodeID: "n4"},
		{ID: "p5", Name: peer.Name{Prism: "five"}, Kind: peer.Prism, NodeID: "n5", Cluster: "http://five"},
	} {
		require.NoError(t, n.Registry.Register(t.Context(), p))
	}
	require.ElementsMatch(t, []string{"http://two", "http://three"}, n.carriers())
	for _, s := range []heartbeat.Standing{heartbeat.Down, heartbeat.Unreached} {
		n.Registry.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": s}})
		require.Equal(t, []string{"http://three"}, n.carriers())
	}
	n.Registry.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Trial}})
	require.ElementsMatch(t, []string{"http://two", "http://three"}, n.carriers())
}

func TestDrainAndUndrain(t *testing.T) {
	n, all := repairing(t)
	v, ok := n.Volume("disk2")
	require.True(t, ok)
	require.NoError(t, n.Drain(t.Context(), v.ID(), true))
	eventuallyLong(t, "nothing is left", func() bool {
		d, err := n.Repair().Draining(t.Context(), v.ID())
		require.NoError(t, err)
		return d.Left == 0 && d.Safe()
	})
	require.True(t, kept(t, n, all, 2, v.ID()))
	h := put(t, n, "while it drains")
	_, held, err := v.Has(t.Context(), h)
	require.NoError(t, err)
	require.False(t, held)
	require.NoError(t, n.Drain(t.Context(), v.ID(), false))
	p, ok := n.Registry.Lookup(v.ID())
	require.True(t, ok)
	require.True(t, p.Writable)
	require.ErrorIs(t, n.Drain(t.Context(), "nobody", true), heartbeat.ErrUnknownPeer)
}

// A medium that the operator adopts takes another's place; what is recorded of that
// one stays, for it may come back elsewhere, until it is forgotten.
func TestAnAdoptedMediumAndTheFormerOne(t *testing.T) {
	n, all := repairing(t)
	v, ok := n.Volume("disk3")
	require.True(t, ok)
	id := v.ID()
	require.NoError(t, os.Rename(v.Root(), filepath.Join(filepath.Dir(v.Root()), "broken")))
	require.NoError(t, os.Mkdir(v.Root(), 0o755))
	soon(t, func() bool { return !v.Readable() })
	require.NoError(t, v.Adopt(t.Context()))
	require.NotEqual(t, id, v.ID())
	soon(t, func() bool { p, known := n.Registry.Lookup(v.ID()); return known && p.Name.Store == "disk3" })
	soon(t, func() bool { _, known := n.Registry.Lookup(id); return !known })
	require.NotEmpty(t, recordedOf(t, n, id))
	require.NoError(t, n.Forget(t.Context(), id))
	eventuallyLong(t, "what was recorded of it is dropped", func() bool { return len(recordedOf(t, n, id)) == 0 })
	eventuallyLong(t, "its clones are made anew", func() bool { return kept(t, n, all, 2, id) })
	require.ErrorIs(t, n.Forget(t.Context(), "00112233445566778899aabbccddeeff"), heartbeat.ErrUnknownPeer)
}

func TestLostDiskForgottenAndBack(t *testing.T) {
	n, all := repairing(t)
	v, ok := n.Volume("disk3")
	require.True(t, ok)
	id := v.ID()
	require.ErrorIs(t, n.Forget(t.Context(), id), ErrStillThere)

	// The medium goes, and is replaced by what it lay on.
	aside := filepath.Join(filepath.Dir(v.Root()), "aside")
	require.NoError(t, os.Rename(v.Root(), aside))
	eventuallyLong(t, "its clones are made elsewhere", func() bool { return kept(t, n, all, 2, id) })
	soon(t, func() bool { return !v.Readable() })

	require.NoError(t, n.Forget(t.Context(), id))
	_, known := n.Registry.Lookup(id)
	require.False(t, known)
	require.True(t, placedOn(t, n, all, id) == 0, "its records count no more")
	eventuallyLong(t, "what was recorded of it is dropped", func() bool { return len(recordedOf(t, n, id)) == 0 })
	n.register()
	require.Never(t, func() bool { _, known := n.Registry.Lookup(id); return known }, 200*time.Millisecond, 20*time.Millisecond, "a disk that is away is not registered again")

	// It was not gone after all. It is a new store: what went bad on it meanwhile,
	// and looks as it was, is found before it counts.
	files, err := filepath.Glob(filepath.Join(aside, "content", "*", "*", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	flipUnseen(t, files[0])
	require.NoError(t, os.RemoveAll(v.Root()))
	require.NoError(t, os.Rename(aside, v.Root()))
	eventuallyLong(t, "it is registered again, and read", func() bool { p, known := n.Registry.Lookup(id); return known && p.Complete })
	bad, err := filepath.Glob(filepath.Join(v.Root(), "quarantine", "*"))
	require.NoError(t, err)
	require.Len(t, bad, 1)
	require.False(t, n.forgotten.has(id))
	eventuallyLong(t, "what is too many is dropped", func() bool { return kept(t, n, all, 2, "") })
}

// A node that was cut off while one of its stores was forgotten hears of it when
// the others have dropped what it had recorded: that goes there as well, and what
// is on the disk is recorded anew.
func TestForgottenWhileItsNodeWasCutOff(t *testing.T) {
	n, all := repairing(t)
	v, ok := n.Volume("disk1")
	require.True(t, ok)
	id, before := v.ID(), map[string]record.Time{}
	for _, r := range recordedOf(t, n, v.ID()) {
		before[r.Key] = r.Time
	}
	require.NotEmpty(t, before)
	at := n.clock.Next()
	elsewhere := record.Record{
		Topic: record.Switch, Key: forgottenKey + id, Source: "another", Time: at, Revision: 1, Value: []byte(`{"forgotten":1}`),
	}
	require.NoError(t, n.engine.Import(t.Context(), []record.Record{elsewhere}))
	n.register()
	eventuallyLong(t, "it is a new store", func() bool {
		p, known := n.Registry.Lookup(id)
		return known && p.Complete && p.Claimed > at && !n.forgotten.has(id)
	})
	again := recordedOf(t, n, id)
	for _, r := range again {
		require.Greater(t, r.Time, at, "nothing of what others have dropped is left")
	}
	eventuallyLong(t, "all is there as often as is wanted", func() bool { return kept(t, n, all, 2, "") })
}

// recordedOf are the live records of a store's clones, by whichever source.
func recordedOf(t *testing.T, n *Node, store string) (list []record.Record) {
	t.Helper()
	for r, err := range n.engine.List(t.Context(), record.Inventory, record.ByMember, store, "") {
		require.NoError(t, err)
		if !r.Deleted {
			list = append(list, r)
		}
	}
	return list
}

// flipUnseen changes a file so that neither its size nor its time tells.
func flipUnseen(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[0] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func placedOn(t *testing.T, n *Node, all map[string]content.Hash, store string) (count int) {
	t.Helper()
	for _, h := range all {
		p, err := n.Index.Find(t.Context(), h)
		require.NoError(t, err)
		for _, c := range p.Clones {
			if c.Store == store {
				count++
			}
		}
	}
	return count
}

func TestSightsTellOfSuspectDisks(t *testing.T) {
	n, _ := repairing(t)
	for _, s := range n.sights() {
		require.True(t, s.Up && s.Room && !s.Suspect && !s.Draining)
		require.Equal(t, n.Name(), s.Node)
	}
	require.Equal(t, inventory.Online, n.Volumes()[0].Status().State)
}
