package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
)

// TestBlocked has the operator block and unblock a content while it is
// delivered: the answer changes with the next request, on every route.
func TestBlocked(t *testing.T) {
	w := newWorld(t, "om101")
	h := w.put("a note", "txt", "om101")
	token := string(w.buy(h, "txt"))
	edge, compat := New(w.deps, Settings{}), New(w.deps, Settings{Compat: true})
	side := NewStoreSide(w.deps, w.volumes["om101"], Settings{})
	paths := []string{"/" + token + "/x.txt", "/static/" + h.String() + "/x.txt"}
	requireAll := func(status, compatStatus int) {
		t.Helper()
		for _, path := range paths {
			require.Equal(t, status, ask(edge, "GET", path).Code, path)
			require.Equal(t, status, ask(edge, "HEAD", path).Code, path)
			require.Equal(t, compatStatus, ask(compat, "GET", path).Code, path)
		}
		require.Equal(t, status, ask(side, "GET", "/play/"+token+"/x.txt").Code)
		require.Equal(t, status, ask(side, "GET", "/purchase/uri/play/"+token+"/x.txt").Code)
	}
	requireAll(200, 200)
	_, err := w.index.Block(t.Context(), inventory.Block{Hash: h, Reason: "not for viewers"})
	require.NoError(t, err)
	requireAll(403, 404)
	answer := ask(edge, "GET", paths[0])
	require.Contains(t, errorOf(t, answer), "blocked")
	require.NotContains(t, answer.Body.String(), "not for viewers")
	require.Equal(t, 403, ask(edge, "GET", paths[1], "If-None-Match", `"`+h.String()+`"`).Code, "what the client has already is no way around")

	_, err = w.index.Block(t.Context(), inventory.Block{Hash: h, Hidden: true})
	require.NoError(t, err)
	requireAll(404, 404)
	unknown := ask(edge, "GET", "/static/4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e/x.txt")
	hidden := ask(edge, "GET", paths[1])
	require.Equal(t, unknown.Body.String(), hidden.Body.String(), "it looks like what nobody holds")
	require.Equal(t, unknown.Header(), hidden.Header())

	_, err = w.index.Unblock(t.Context(), h, "")
	require.NoError(t, err)
	requireAll(200, 200)
}
