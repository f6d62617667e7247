package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers"
)

// unchecked takes a call as it came for one signed with the first secret.
func (p *peer) unchecked(r *http.Request) signedCall {
	return signedCall{nonce: r.Header.Get(HeaderNonce), key: &(*p.handler.deps.Keys.ring.Load())[0]}
}

func TestNobodyElseIsLetIn(t *testing.T) {
	p := newPeer(t, secret)
	for _, c := range []struct {
		name string
		sign func(*http.Request)
		why  string
	}{
		{"unsigned", func(*http.Request) {}, ""},
		{"another secret", func(r *http.Request) { NewKeys([]string{former}).Sign(r, "x", time.Now()) }, "signature"},
		{"long ago", func(r *http.Request) { NewKeys([]string{secret}).Sign(r, "x", time.Now().Add(-time.Hour)) }, "clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest("GET", p.URL+"/cluster/echo", nil)
			require.NoError(t, err)
			c.sign(r)
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, 401, resp.StatusCode)
			require.Equal(t, "application/json; charset=utf-8", resp.Header.Get("Content-Type"))
			require.Contains(t, string(body), `"error"`)
			require.Equal(t, c.why, resp.Header.Get(HeaderRefused))
			require.Equal(t, c.why == "clock", resp.Header.Get(HeaderProof) != "", "only a node gets a proof")
			require.Zero(t, p.handler.deps.Keys.remembered())
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestRoutes(t *testing.T) {
	h := NewHandler(Deps{Keys: NewKeys([]string{secret})})
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	h.Handle("/cluster/journal", named("before"))
	h.Handle("/cluster/journal/", named("journal"))
	h.Handle("/cluster/journal/stats", named("stats"))
	for path, want := range map[string]string{
		"/cluster/journal": "journal", "/cluster/journal/": "journal", "/cluster/journal/x?since=1": "journal",
		"/cluster/journal/stats": "stats", "/cluster/journal/statsx": "journal", "/cluster/time": "",
	} {
		r := httptest.NewRequest("GET", path, nil)
		NewKeys([]string{secret}).Sign(r, "edge1", time.Now())
		w := httptest.NewRecorder()
		require.NoError(t, h.Serve(w, r))
		require.Equal(t, want, w.Body.String(), path)
		require.NotEmpty(t, w.Header().Get(HeaderProof), path)
	}
	for _, path := range []string{"/cluster", "/clusterx/", "/", "/play/x", "/cluster/journalx"} {
		r := httptest.NewRequest("GET", path, nil)
		NewKeys([]string{secret}).Sign(r, "edge1", time.Now())
		w := httptest.NewRecorder()
		err := h.Serve(w, r)
		if strings.HasPrefix(path, Prefix) {
			require.NoError(t, err)
			require.Equal(t, 404, w.Code)
			continue
		}
		require.ErrorIs(t, err, handlers.ErrNotMine, path)
	}
	none := NewHandler(Deps{})
	require.ErrorIs(t, none.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/cluster/journal", nil)), handlers.ErrNotMine)
}

// Routes elsewhere let nodes in too, and prove themselves to them.
func TestNodeAndAdmit(t *testing.T) {
	h := NewHandler(Deps{Keys: NewKeys([]string{secret})})
	request := func(secret string) *http.Request {
		r := httptest.NewRequest("POST", "/content/exists", nil)
		NewKeys([]string{secret}).Sign(r, "edge1", time.Now())
		return r
	}
	r := request(secret)
	require.True(t, h.Node(r))
	require.False(t, h.Node(r), "a call holds once")
	require.False(t, h.Node(request(former)))
	require.False(t, h.Node(request("")))
	require.False(t, NewHandler(Deps{}).Node(request(secret)))

	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, done := h.Admit(w, r)
		first := h.Node(r)
		if again := h.Node(r); !first || !again {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Query().Has("silent") {
			done()
			return
		}
		w.WriteHeader(http.StatusCreated)
		done()
	}))
	defer s.Close()
	_, resp, err := call(t, newClient(t, Options{}, secret), s.URL+"/content/exists", nil)
	require.NoError(t, err)
	require.Equal(t, 201, resp.StatusCode)
	_, resp, err = call(t, newClient(t, Options{}, secret), s.URL+"/content/exists?silent", nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	_, _, err = call(t, newClient(t, Options{}, former), s.URL+"/content/exists", nil)
	require.ErrorIs(t, err, ErrNoProof)

	w := httptest.NewRecorder()
	same, sameRequest, done := h.Admit(w, r)
	done()
	require.Same(t, w, same)
	require.Same(t, r, sameRequest)
}

// What writes an answer keeps what the server's writer can do.
func TestProvingWriter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("from a file"), 0o600))
	p := newPeer(t, secret)
	p.handler.Handle("/cluster/file", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			w.WriteHeader(500)
			return
		}
		defer f.Close()
		_, ok := w.(io.ReaderFrom)
		if rc := http.NewResponseController(w); !ok || rc.SetWriteDeadline(time.Now().Add(time.Minute)) != nil || rc.Flush() != nil {
			w.WriteHeader(500)
			return
		}
		_, _ = io.Copy(w, f)
	}))
	p.handler.Handle("/cluster/nothing", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	p.handler.Handle("/cluster/hints", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
	}))
	p.handler.Handle("/cluster/broken", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c := newClient(t, Options{}, secret)
	_, _, err := call(t, c, p.URL+"/cluster/broken", nil)
	require.Error(t, err, "a response that can't be made is none")
	require.NotErrorIs(t, err, ErrNoProof)
	text, _, err := call(t, c, p.URL+"/cluster/file", nil)
	require.NoError(t, err)
	require.Equal(t, "from a file", text)
	_, resp, err := call(t, c, p.URL+"/cluster/nothing", nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Zero(t, resp.ContentLength)
	_, resp, err = call(t, c, p.URL+"/cluster/hints", nil)
	require.NoError(t, err)
	require.Equal(t, 202, resp.StatusCode)
	from := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
	_, err = p.handler.proving(from, p.unchecked(httptest.NewRequest("GET", "/", nil))).ReadFrom(strings.NewReader("x"))
	require.NoError(t, err)
	require.True(t, from.used, "a file goes out by sendfile")
	// What can't read from a file is written to all the same.
	w := httptest.NewRecorder()
	_, err = p.handler.proving(struct{ http.ResponseWriter }{w}, p.unchecked(httptest.NewRequest("GET", "/", nil))).ReadFrom(strings.NewReader("x"))
	require.NoError(t, err)
	require.Equal(t, "x", w.Body.String())
}

// readerFrom is a writer to which files go in one.
type readerFrom struct {
	*httptest.ResponseRecorder
	used bool
}

func (r *readerFrom) ReadFrom(from io.Reader) (int64, error) {
	r.used = true
	return io.Copy(r.Body, from)
}
