package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
)

// TestBlockedContent is neither given, sent nor taken; an operator may still
// verify and remove it.
func TestBlockedContent(t *testing.T) {
	s := newSite(t, false)
	const body = "it was taken down"
	h := s.Put(t, "store1", "txt", body)
	_, err := s.Index.Block(t.Context(), inventory.Block{Hash: h})
	require.NoError(t, err)
	hash := fmt.Sprintf(`{"hash":%q}`, h)

	requireFault(t, s.post(t, "/content/download", hash), 403, "blocked")
	requireFault(t, s.post(t, "/content/detail", hash), 403, "blocked")
	requireFault(t, s.put(t, h.String()+".txt", body), 403, "blocked")
	requireFault(t, s.post(t, "/content/send", fmt.Sprintf(`{"file":"%s.txt","store":"prism1:store2"}`, h)), 403, "blocked")
	require.JSONEq(t, `{"exists":{"exists":false,"ext":""}}`, string(s.post(t, "/content/exists", hash).Body))
	_, there, err := s.Store(t, "store2").Has(t.Context(), h)
	require.NoError(t, err)
	require.False(t, there)

	require.Equal(t, 200, s.post(t, "/content/verify", fmt.Sprintf(`{"file":"%s.txt","force":true}`, h)).Status)
	require.Equal(t, 200, s.post(t, "/content/remove", hash).Status)
	requireFault(t, s.post(t, "/content/remove", hash), 404, "File not found")
	require.Equal(t, 404, s.post(t, "/content/verify", fmt.Sprintf(`{"file":"%s.txt"}`, h)).Status)
}
