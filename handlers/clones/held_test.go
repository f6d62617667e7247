package clones

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeld(t *testing.T) {
	n, c := newNode(t, "far", "store1"), newClient(t)
	for _, address := range []string{n.http.URL, n.http.URL + "/"} {
		held, err := c.Held(t.Context(), address, n.all[0].ID())
		require.NoError(t, err)
		require.True(t, held, address)
		held, err = c.Held(t.Context(), address, "another")
		require.NoError(t, err)
		require.False(t, held)
	}
	n.before(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	})
	_, err := c.Held(t.Context(), n.http.URL, n.all[0].ID())
	require.Error(t, err, "which is no no")
}
