package repair

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
)

func TestContent(t *testing.T) {
	w := newTown(t, 3)
	h := w.put("a note", w.nodes[0], w.nodes[1])
	w.nodes[2].agent.Look()
	c, err := w.nodes[2].agent.Content(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, 2, c.Count())
	require.Equal(t, 2, c.Wanted)
	require.Len(t, c.Clones, 2)
	require.NoError(t, w.nodes[0].index.Want(t.Context(), h, 3))
	_, err = w.nodes[0].index.Block(t.Context(), inventory.Block{Hash: h})
	require.NoError(t, err)
	c, err = w.nodes[2].agent.Content(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, 3, c.Wanted)
	require.True(t, c.Blocked)
	s, ok := w.nodes[2].agent.Standing(w.nodes[0].id())
	require.True(t, ok)
	require.Equal(t, "good", s.Standing.String())
}

func TestVerifyAnywhere(t *testing.T) {
	w := newTown(t, 2)
	one, two := w.nodes[0], w.nodes[1]
	h := w.put("a note", one, two)
	for _, n := range w.nodes {
		for _, store := range w.nodes {
			v, err := n.agent.Verify(t.Context(), h, store.id(), true)
			require.NoError(t, err)
			require.True(t, v.OK)
			require.False(t, v.Skipped)
		}
	}
	v, err := one.agent.Verify(t.Context(), h, two.id(), false)
	require.NoError(t, err)
	require.True(t, v.Skipped, "it was verified a moment ago")

	path := filepath.Join(two.volume.Root(), filepath.FromSlash(disk.ClonePath(h, "txt", false)))
	require.NoError(t, os.WriteFile(path, []byte("A note"), 0o644))
	v, err = one.agent.Verify(t.Context(), h, two.id(), true)
	require.NoError(t, err)
	require.False(t, v.OK)
	require.NoFileExists(t, path, "what is not sound is in quarantine")
	_, err = one.agent.Verify(t.Context(), h, two.id(), true)
	require.ErrorIs(t, err, inventory.ErrNotExist)
	_, err = one.agent.Verify(t.Context(), h, "nobody", true)
	require.ErrorIs(t, err, ErrUnknownStore)
	w.turn(w.away, two, true)
	_, err = one.agent.Verify(t.Context(), h, two.id(), true)
	require.ErrorIs(t, err, ErrUnknownStore)
}
