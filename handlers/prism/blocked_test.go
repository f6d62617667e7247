package prism_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/inventory"
)

// putContent puts a content with the prism's own credentials.
func (s *site) putContent(t testing.TB, name, body string) handlertest.Answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, s.url+"/content/put/"+name, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Basic "+basicAuth(prismUser))
	return handlertest.Do(t, r)
}

// TestBlockedContent wants it refused in every way that it could come in or go
// out, whether the stores hold it or not.
func TestBlockedContent(t *testing.T) {
	for name, held := range map[string]bool{"held": true, "not held": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.RetrievePrivate = true })
			const body = "it was taken down"
			h := handlertest.HashOf(t, content.SHA1, body)
			if held {
				require.Equal(t, h, s.Put(t, "store1", "txt", body))
			}
			files := len(s.files(t, "content"))
			_, err := s.Index.Block(t.Context(), inventory.Block{Hash: h, Hidden: true})
			require.NoError(t, err)

			requireFault(t, s.upload(t, newForm().file("file", "a.txt", "", body), 0), 403, "blocked")
			remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			defer remote.Close()
			requireFault(t, s.retrieve(t, remote.URL+"/a", "txt"), 403, "blocked")
			requireFault(t, s.putContent(t, h.String()+".txt", body), 403, "blocked")
			requireFault(t, s.post(t, "/content/purchase", `{"hash":"`+h.String()+`","ext":"txt"}`), 403, "blocked")
			requireFault(t, s.post(t, "/content/download", `{"hash":"`+h.String()+`"}`), 403, "blocked")
			for _, answer := range []handlertest.Answer{
				s.post(t, "/content/detail", `{"hash":"`+h.String()+`"}`), s.private(t, "/content/exists", `{"hash":"`+h.String()+`"}`),
			} {
				require.JSONEq(t, `{"hash":"`+h.String()+`","mimeType":null,"mimeExtension":null,"relativePath":null,"exists":false,"count":0,"size":0,"map":[],"blocked":true}`, string(answer.Body))
			}
			require.Len(t, s.files(t, "content"), files, "nothing comes, and nothing goes")
			s.requireNoTemp(t)

			_, err = s.Index.Unblock(t.Context(), h, "")
			require.NoError(t, err)
			require.Equal(t, 200, s.upload(t, newForm().file("file", "a.txt", "", body), 0).Status)
			require.Equal(t, 200, s.post(t, "/content/purchase", `{"hash":"`+h.String()+`","ext":"txt"}`).Status)
		})
	}
}
