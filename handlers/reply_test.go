package handlers

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnswersAreReadable: what a message says in <angle brackets> is not
// escaped, and nothing is behind the JSON, whose length is told.
func TestAnswersAreReadable(t *testing.T) {
	const message = `use <hash>.<ext> & "quotes"`
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPut, "http://x/", nil)
	require.NoError(t, WriteFault(w, r, Faultf(InvalidHash, "%s", message), false, true))
	require.Equal(t, `{"error":"use <hash>.<ext> & \"quotes\""}`, w.Body.String())
	require.Equal(t, "41", w.Header().Get("Content-Length"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), "no browser takes it for a page")
	require.Equal(t, message, w.Header().Get("OOSE-Message"))

	w = httptest.NewRecorder()
	out := NewObjectWriter(w)
	require.NoError(t, out.Add("<a>", "&", nil))
	require.NoError(t, out.Close())
	require.Equal(t, `{"<a>":"&"}`, w.Body.String())
	require.Error(t, WriteJSON(w, r, http.StatusOK, make(chan int)))
}
