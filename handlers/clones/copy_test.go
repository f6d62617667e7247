package clones

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// TestCopyKeepsItsTime shows that a copy at another node is concerned by the
// removals that concern what it was made of.
func TestCopyKeepsItsTime(t *testing.T) {
	n := newNode(t, "s", "om101")
	s := newClient(t).Remote(n.target(0))
	data := []byte("copied to another node")
	h := hashOf(t, content.SHA1, data)

	copySink := func() *sink {
		k, ok := send(t, s, data, int64(len(data)), content.SHA1).(*sink)
		require.True(t, ok)
		return k
	}
	c, err := copySink().CommitCopy(t.Context(), h, "txt", 4711)
	require.NoError(t, err)
	require.Equal(t, record.Time(4711), c.Kept)

	_, err = n.index.Remove(t.Context(), h)
	require.NoError(t, err)
	_, err = copySink().CommitCopy(t.Context(), h, "txt", 4711)
	require.ErrorIs(t, err, inventory.ErrRemoved)
	n.requireNoTemp()
}
