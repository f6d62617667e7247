package prism

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers"
)

// FuzzRetrieve reads requests for fetches: what passes is one that net/http
// would send, to http or https, and what does not is told as a Fault.
func FuzzRetrieve(f *testing.F) {
	for _, seed := range []string{
		`"http://example.com/a?b#c"`, `{"url":"https://u:p@example.com:8443/","method":"post","qs":{"a":[1,{"b":2}]},"timeout":"5"}`,
		`{"uri":"http://[::1]/","headers":{"X-A":"b","Host":"x"},"auth":{"user":"u","pass":"p"},"followRedirect":false}`,
		`{"url":"http://x/","json":{"a":1},"form":{"a":{"b":{"c":null}}},"body":"x"}`, `{"url":"file:///etc/passwd"}`, `null`, `[]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		remote, err := parseRetrieve(json.RawMessage(strings.TrimSpace(text)))
		if err != nil {
			var fault *handlers.Fault
			require.ErrorAs(t, err, &fault)
			require.Equal(t, handlers.RetrieveInvalid, fault.Code)
			return
		}
		scheme := strings.ToLower(remote.request.URL.Scheme)
		require.Contains(t, []string{"http", "https"}, scheme)
		require.NotEmpty(t, remote.request.URL.Hostname())
		require.NotEqual(t, http.MethodConnect, remote.request.Method)
		require.Positive(t, remote.idle)
		require.LessOrEqual(t, remote.idle, maxFetchIdle)
		require.Equal(t, remote.request.URL.Host, remote.request.Host)
		for name, values := range remote.request.Header {
			require.False(t, ownHeaders[name])
			for _, v := range values {
				require.NotContains(t, v, "\n")
			}
		}
	})
}
