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
	n.register()
	require.Never(t, func() bool { _, known := n.Registry.Lookup(id); return known }, 200*time.Millisecond, 20*time.Millisecond, "a disk that is away is not registered again")

	// It was not gone after all.
	require.NoError(t, os.RemoveAll(v.Root()))
	require.NoError(t, os.Rename(aside, v.Root()))
	eventuallyLong(t, "it is registered again", func() bool { _, known := n.Registry.Lookup(id); return known })
	eventuallyLong(t, "what is too many is dropped", func() bool { return kept(t, n, all, 2, "") })
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
