package clones

import (
	"bytes"
	"io"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

// BenchmarkElsewhere is a viewer's request for what another node holds: prism,
// store and viewer in one process over loopback.
func BenchmarkElsewhere(b *testing.B) {
	for _, size := range []int{4 << 10, 8 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			e := newEdge(b, size)
			for _, f := range e.away {
				f.before(nil)
			}
			server := httptest.NewServer(e.handler)
			b.Cleanup(server.Close)
			buf := make([]byte, 256<<10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				resp, err := server.Client().Get(server.URL + e.path())
				require.NoError(b, err)
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
				require.NoError(b, err)
				require.Equal(b, int64(size), n)
				require.NoError(b, resp.Body.Close())
			}
		})
	}
}

// BenchmarkUpload is one clone written at another node, made durable there.
func BenchmarkUpload(b *testing.B) {
	n := newNode(b, "s", "om101")
	store := newClient(b).Remote(n.target(0))
	data := randomBytes(64 << 20)
	h := sha1Of(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s, err := store.Create(b.Context(), int64(len(data)), content.SHA1)
		require.NoError(b, err)
		_, err = io.Copy(s, bytes.NewReader(data))
		require.NoError(b, err)
		_, err = s.Commit(b.Context(), h, "mp4")
		require.NoError(b, err)
	}
}
