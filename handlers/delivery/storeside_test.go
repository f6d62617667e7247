package delivery

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
)

// What nginx is told is where the file lies, below the root of the store:
// where it is put now, and in a tree of OOSE 2.x where it was found.
func TestNginxFindsTheFile(t *testing.T) {
	w := newWorld(t, "om101")
	v := w.volumes["om101"]
	s := NewStoreSide(w.deps, v, Settings{})
	told := func(data string) string {
		film := w.put(data, "mp4", "om101")
		if data == "deep" {
			path := filepath.Join(v.Root(), "content", filepath.FromSlash(pairs(film.String()))+".mp4")
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.Rename(clonePath(t, v, film), path))
			_, err := v.Scan(t.Context(), inventory.ScanOptions{}, nil)
			require.NoError(t, err)
		}
		rec := ask(s, "GET", "/purchase/uri/play/"+string(w.buy(film, "mp4"))+"/x.mp4")
		require.Equal(t, 200, rec.Code, data)
		got, err := os.ReadFile(filepath.Join(v.Root(), "content", filepath.FromSlash(rec.Body.String())))
		require.NoError(t, err)
		require.Equal(t, data, string(got))
		return rec.Body.String()
	}
	require.Regexp(t, `^/\.\./content/../../[0-9a-f]{40}\.mp4$`, told("flat"))
	require.Regexp(t, `^/\.\./content(/[0-9a-f]{2}){20}\.mp4$`, told("deep"))
}

// Nginx must not serve what would not be served here, and what it is not told
// counts as no use.
func TestNginxIsNotSentToWhatIsNotSound(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	v := w.volumes["om101"]
	s := NewStoreSide(w.deps, v, Settings{})
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"changed": func(path string) error {
			return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("something else"), 0o600))
		},
	} {
		film := w.put(name, "mp4", "om101")
		token := w.buy(film, "mp4", uses(1))
		require.NoError(t, spoil(clonePath(t, v, film)))
		rec := ask(s, "GET", "/purchase/uri/play/"+string(token)+"/x.mp4")
		require.Equal(t, 500, rec.Code, name)
		require.Equal(t, "/500", rec.Body.String())
		requireUsed(t, w, 0, string(token))
	}
	elsewhere := string(w.buy(w.put("elsewhere", "mp4", "om102"), "mp4", uses(1)))
	require.Equal(t, 500, ask(s, "GET", "/purchase/uri/play/"+elsewhere+"/x.mp4").Code)
	requireUsed(t, w, 0, elsewhere)
	require.NotEmpty(t, w.logs.FilterMessage("request failed").All(), "the log has the cause")
}

func requireUsed(t *testing.T, w *world, want int64, token string) {
	t.Helper()
	rt, ok := parseTokenPath("/" + token + "/x")
	require.True(t, ok)
	p, err := w.book.Find(t.Context(), rt.token)
	require.NoError(t, err)
	got, err := w.book.Used(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// deaf is a ResponseWriter of a client that is gone.
type deaf struct {
	header   http.Header
	statuses []int
}

func (d *deaf) Header() http.Header       { return d.header }
func (d *deaf) WriteHeader(status int)    { d.statuses = append(d.statuses, status) }
func (*deaf) Write(p []byte) (int, error) { return 0, errors.New("broken pipe") }

// A client that does not take its answer is no failure, and gets no second answer.
func TestClientThatTakesNoAnswer(t *testing.T) {
	w := newWorld(t)
	h := New(w.deps, Settings{})
	for path, want := range map[string]int{"/ping": 200, "/crossdomain.xml": 200, "/a20261120abcdefghijk/x.mp4": 404} {
		d := &deaf{header: http.Header{}}
		r, err := http.NewRequest("GET", path, nil)
		require.NoError(t, err)
		require.NoError(t, h.Serve(d, r), path)
		require.Equal(t, []int{want}, d.statuses, path)
	}
}

// That a client left says nothing about the stores: the log has no warning.
func TestClientThatLeavesBeforeTheFileIsOpen(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	token := string(w.buy(w.put("a film", "mp4", "om101", "om102"), "mp4"))
	h := New(w.deps, Settings{})
	require.Equal(t, 200, ask(h, "GET", "/"+token+"/x.mp4").Code) // all is in memory now
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "/"+token+"/x.mp4", nil)
	require.NoError(t, err)
	require.NoError(t, h.Serve(&cutting{cut: func() {}}, r))
	require.Empty(t, w.logs.FilterMessage("clone can't be opened").All())
}

// Every answer is counted once, redirects as well, and every lookup has an end.
func TestRedirectsAndLookupsAreCounted(t *testing.T) {
	w := newWorld(t, "om101")
	token := string(w.buy(w.put("a film", "mp4", "om101"), "mp4"))
	note := w.put("a note", "txt", "om101")
	h := New(w.deps, Settings{Redirect: true, StoreURL: func(string) (string, bool) { return "http://om101.oose.example", true }})
	require.Equal(t, 302, ask(h, "GET", "/"+token+"/x.mp4").Code)
	require.Equal(t, 302, ask(h, "GET", "/static/"+note.String()+"/x.txt").Code)
	require.Equal(t, 2, w.metrics.requests)
	require.Zero(t, w.metrics.sent, "no content was")

	lost := w.put("lost", "mp4", "om101")
	c, ok, err := w.volumes["om101"].Has(t.Context(), lost)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = w.volumes["om101"].Drop(t.Context(), lost, c.Kept+1)
	require.NoError(t, err)
	nobodys := string(w.buy(lost, "mp4"))
	require.Equal(t, 404, ask(h, "GET", "/"+nobodys+"/x.mp4").Code)
	require.Equal(t, 1, w.metrics.lookups[LookupUnknown])
	w.scans.Store(true)
	require.Equal(t, 503, ask(h, "GET", "/"+nobodys+"/x.mp4").Code)
	require.Equal(t, 1, w.metrics.lookups[LookupError])
}
