package clones

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

// TestAStoreIsNotHeldByWhoIsGone shows that an upload whose sender is gone does
// not keep its store from being closed.
func TestAStoreIsNotHeldByWhoIsGone(t *testing.T) {
	n := newNode(t, "s", "om101", "om102")
	c := newClient(t)
	data := []byte("all of it is there, and nobody says what for")
	gone, stays := send(t, c.Remote(n.target(0)), data, -1, content.SHA1), send(t, c.Remote(n.target(1)), data, -1, content.SHA1)
	used := n.all[0].InFlight()
	require.Positive(t, used)
	n.server.LetGo(n.all[0].ID())
	require.Equal(t, used-1, n.all[0].InFlight())
	_, err := gone.Commit(context.Background(), hashOf(t, content.SHA1, data), "txt")
	require.Error(t, err)
	_, err = stays.Commit(context.Background(), hashOf(t, content.SHA1, data), "txt")
	require.NoError(t, err)
	n.requireNoTemp()
}
