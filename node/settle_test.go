package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A request that comes as soon as the node is attached to finds its stores.
func TestStoresAreThereAtOnce(t *testing.T) {
	c := testConfig(t.TempDir(), "disk1", "disk2")
	n := openNode(t, c)
	_, detach := attach(t, n, Spec{Config: c})
	defer detach()
	require.Len(t, n.Volumes(), 2)
	for _, v := range n.Volumes() {
		require.True(t, v.Readable(), v.Status().Reason)
		require.True(t, n.Registry.Available(v.ID()))
	}
}
