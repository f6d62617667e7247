package delivery

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

func referrers(list ...string) func(*purchase.Spec) {
	return func(s *purchase.Spec) { s.Referrer = list }
}
func onlyFor(list ...string) func(*purchase.Spec) { return func(s *purchase.Spec) { s.IP = list } }
func uses(n int64) func(*purchase.Spec)           { return func(s *purchase.Spec) { s.Count = n } }

func TestStatuses(t *testing.T) {
	w := newWorld(t, "om101")
	film := w.put("a film", "mp4", "om101")
	note := w.put("a note", "txt", "om101")
	gone := w.put("gone", "mp4", "om101")
	refused := w.put("refused", "mp4", "om101")
	ok := string(w.buy(film, "mp4"))
	revoked := w.buy(film, "mp4")
	require.NoError(t, w.book.Revoke(t.Context(), revoked))
	bound := string(w.buy(film, "mp4", referrers(`^https://www\.example\.com/`)))
	local := string(w.buy(film, "mp4", onlyFor("203.0.113.0/24")))
	spent := string(w.buy(film, "mp4", uses(1)))
	removed := string(w.buy(gone, "mp4"))
	_, err := w.index.Remove(t.Context(), gone)
	require.NoError(t, err)
	blocked := string(w.buy(refused, "mp4"))
	w.block(refused)
	nobody, err := content.ParseHash(strings.Repeat("4e", 20))
	require.NoError(t, err)
	empty := string(w.buy(nobody, "mp4"))
	changed := ok[:19] + "A"
	if changed == ok {
		changed = ok[:19] + "B"
	}
	const referer, client = "Referer", "X-Test-Client"
	require.Equal(t, 200, ask(New(w.deps, Settings{}), "GET", "/"+spent+"/x.mp4", client, "198.51.100.1").Code)

	for _, tc := range []struct {
		name, method, path string
		header             []string
		modern, compat     int
		message            string
	}{
		{"ok", "GET", "/" + ok + "/movie.mp4", nil, 200, 200, ""},
		{"any name", "GET", "/" + ok + "/anything%00at%20all", nil, 200, 200, ""},
		{"head", "HEAD", "/" + ok + "/movie.mp4", nil, 200, 200, ""},
		{"range beyond", "GET", "/" + ok + "/movie.mp4", []string{"Range", "bytes=6-"}, 416, 416, "The range is outside"},
		{"unknown", "GET", "/a20261120abcdefghijk/movie.mp4", nil, 404, 404, "Purchase not found"},
		{"one character changed", "GET", "/" + changed + "/movie.mp4", nil, 404, 404, "Purchase not found"},
		{"revoked", "GET", "/" + string(revoked) + "/movie.mp4", nil, 404, 404, "Purchase not found"},
		{"removed", "GET", "/" + removed + "/movie.mp4", nil, 404, 404, "Purchase not found"},
		{"nobody's content", "GET", "/" + empty + "/movie.mp4", nil, 404, 404, "Content does not exist"},
		{"blocked", "GET", "/" + blocked + "/movie.mp4", nil, 403, 404, "This content is blocked"},
		{"referrer missing", "GET", "/" + bound + "/movie.mp4", nil, 403, 500, "Invalid request (no referrer)"},
		{"referrer refused", "GET", "/" + bound + "/movie.mp4", []string{referer, "https://www.example.org/"}, 403, 500, "Invalid request (referrer fail)"},
		{"referrer", "GET", "/" + bound + "/movie.mp4", []string{referer, "https://www.example.com/p"}, 200, 200, ""},
		{"referrer, spelt right", "GET", "/" + bound + "/movie.mp4", []string{"Referrer", "https://www.example.com/p"}, 200, 200, ""},
		{"address refused", "GET", "/" + local + "/movie.mp4", []string{client, "192.0.2.1"}, 403, 500, "This purchase is for another address"},
		{"address", "GET", "/" + local + "/movie.mp4", []string{client, "203.0.113.77"}, 200, 200, ""},
		{"spent", "GET", "/" + spent + "/movie.mp4", []string{client, "198.51.100.2"}, 410, 404, "All uses of this purchase are spent"},
		{"spent, head", "HEAD", "/" + spent + "/movie.mp4", []string{client, "198.51.100.2"}, 410, 404, ""},
		{"spent, but the same client", "GET", "/" + spent + "/movie.mp4", []string{client, "198.51.100.1"}, 200, 200, ""},
		{"post", "POST", "/" + ok + "/movie.mp4", nil, 405, 404, "The method is not allowed"},
		{"put", "PUT", "/static/" + note.String() + "/x.txt", nil, 405, 404, "The method is not allowed"},
		{"options", "OPTIONS", "/a20261120abcdefghijk/movie.mp4", nil, 204, 204, ""},

		{"static", "GET", "/static/" + note.String() + "/note.txt", nil, 200, 200, ""},
		{"static, upper case", "GET", "/static/" + strings.ToUpper(note.String()) + "/note.txt", nil, 200, 200, ""},
		{"static, unknown", "GET", "/static/" + nobody.String() + "/note.txt", nil, 404, 404, "Content does not exist"},
		{"static, no hash", "GET", "/static/zzz/note.txt", nil, 404, 404, "Content does not exist"},
		{"static, prefix", "GET", "/static/" + note.String()[:10] + "/note.txt", nil, 404, 404, "Content does not exist"},
		{"static, dots", "GET", "/static/../note.txt", nil, 404, 404, "Content does not exist"},
		{"static, denied by content", "GET", "/static/" + film.String() + "/film.txt", nil, 403, 500, "Invalid static file type"},
		{"static, denied by name", "GET", "/static/" + note.String() + "/note.mp4", nil, 403, 500, "Invalid static file type"},
		{"static, denied in capitals", "GET", "/static/" + note.String() + "/note.MP4", nil, 403, 500, "Invalid static file type"},
		{"static, blocked", "GET", "/static/" + refused.String() + "/x", nil, 403, 404, "This content is blocked"},

		{"ping", "GET", "/ping", nil, 200, 200, ""},
		{"ping, head", "HEAD", "/ping", nil, 200, 200, ""},
		{"ping, post", "POST", "/ping", nil, 200, 200, ""},
		{"ping, put", "PUT", "/ping", nil, 405, 404, "The method is not allowed"},
		{"crossdomain", "GET", "/crossdomain.xml", nil, 200, 200, ""},
		{"crossdomain, post", "POST", "/crossdomain.xml", nil, 405, 404, "The method is not allowed"},

		{"short token", "GET", "/a20261120/x", nil, 418, 418, ""},
		{"upper-case zone", "GET", "/A20261120abcdefghijk/x", nil, 418, 418, ""},
		{"no day", "GET", "/a20261320abcdefghijk/x", nil, 418, 418, ""},
		{"token alone", "GET", "/" + ok, nil, 418, 418, ""},
		{"no name", "GET", "/" + ok + "/", nil, 418, 418, ""},
		{"three segments", "GET", "/" + ok + "/a/b", nil, 418, 418, ""},
		{"encoded slash", "GET", "/" + ok + "/a%2Fb", nil, 418, 418, ""},
		{"two segments of static", "GET", "/static/" + note.String(), nil, 418, 418, ""},
		{"a route of others", "POST", "/content/purchase", nil, 418, 418, ""},
		{"a play route", "GET", "/play/" + ok + "/video.mp4", nil, 418, 418, ""},
	} {
		for _, compat := range []bool{false, true} {
			name, want := tc.name, tc.modern
			if compat {
				name, want = name+", 2.x", tc.compat
			}
			t.Run(name, func(t *testing.T) {
				rec := ask(New(w.deps, Settings{Compat: compat}), tc.method, tc.path, tc.header...)
				require.Equal(t, want, rec.Code)
				if tc.message != "" {
					require.Contains(t, errorOf(t, rec), tc.message)
					require.NotContains(t, rec.Body.String(), ok)
				}
				h := rec.Header()
				switch {
				case want == 204:
					require.Contains(t, h.Get("Allow"), "GET, HEAD")
				case want >= 400 && want != 418:
					require.Equal(t, http.StatusText(want) != "", h.Get("OOSE-Code") != "")
					require.NotEmpty(t, h.Get("OOSE-Message"))
					require.NotEmpty(t, h.Get("OOSE-Reason"))
					require.Equal(t, "no-store", h.Get("Cache-Control"))
					require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
				}
				if tc.message == "The method is not allowed" {
					require.Contains(t, h.Get("Allow"), "GET")
				}
			})
		}
	}
	for _, entry := range w.logs.All() {
		for _, token := range []string{ok, string(revoked), bound, local, spent, removed, blocked} {
			require.NotContains(t, entry.Message, token)
			for _, v := range entry.ContextMap() {
				require.NotContains(t, fmt.Sprint(v), token)
			}
		}
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t, "om101")
	token := string(w.buy(w.put("film", "mp4", "om101"), "mp4"))
	h, old := New(w.deps, Settings{}), New(w.deps, Settings{Compat: true})
	w.ahead.Store(int64(30 * time.Minute))
	rec := ask(h, "GET", "/"+token+"/x.mp4")
	require.Equal(t, 200, rec.Code)
	require.Regexp(t, `^private, no-transform, max-age=1(800|799)$`, rec.Header().Get("Cache-Control"))
	w.ahead.Store(int64(time.Hour + time.Minute))
	require.Equal(t, 410, ask(h, "GET", "/"+token+"/x.mp4").Code)
	require.Equal(t, 404, ask(old, "GET", "/"+token+"/x.mp4").Code)
	require.Equal(t, 2, w.metrics.lookups[LookupExpired])
}

func TestHeadersOfDelivery(t *testing.T) {
	w := newWorld(t, "om101")
	film := w.put("a film", "mp4", "om101")
	note := w.put("a note", "txt", "om101")
	h := New(w.deps, Settings{})
	rec := ask(h, "GET", "/"+string(w.buy(film, "mkv"))+"/x.mp4?attach=My%20film.mkv")
	require.Equal(t, "video/x-matroska", rec.Header().Get("Content-Type")) // the purchase says so
	require.Equal(t, `attachment; filename="My film.mkv"`, rec.Header().Get("Content-Disposition"))
	require.Equal(t, `"`+film.String()+`"`, rec.Header().Get("Etag"))
	require.Equal(t, "a film", rec.Body.String())

	rec = ask(h, "GET", "/static/"+note.String()+"/note.html")
	require.Equal(t, "text/plain; charset=utf-8", rec.Header().Get("Content-Type")) // the store says so
	require.Equal(t, "public, max-age=31536000, immutable, no-transform", rec.Header().Get("Cache-Control"))
	require.Empty(t, rec.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, 0, w.metrics.streams)
	require.Equal(t, int64(12), w.metrics.sent)
}

func TestDenyStatic(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	note := w.put("a note", "txt", "om101")
	w.put("a note", "mp4", "om102") // the same content under another extension
	song := w.put("a song", "mp3", "om101")
	status := func(deny []string, h content.Hash, name string) int {
		return ask(New(w.deps, Settings{DenyStatic: deny}), "GET", "/static/"+h.String()+"/"+name).Code
	}
	require.Equal(t, 403, status(nil, note, "x.txt"), "one clone is a video")
	require.Equal(t, 403, status(nil, song, "x"))
	require.Equal(t, 200, status([]string{}, song, "x.mp4"))
	require.Equal(t, 200, status([]string{"TXT"}, song, "x.mp3"))
	require.Equal(t, 403, status([]string{"TXT"}, note, "x"))
	require.Equal(t, 403, status([]string{".Pdf"}, song, "x.pDF"))
}

func TestNoStoreAvailable(t *testing.T) {
	w := newWorld(t, "om101")
	token := string(w.buy(w.put("film", "mp4", "om101"), "mp4"))
	w.down.Store(w.volumes["om101"].ID(), true)
	rec := ask(New(w.deps, Settings{}), "GET", "/"+token+"/x.mp4")
	require.Equal(t, 503, rec.Code)
	require.Equal(t, "1", rec.Header().Get("Retry-After"))
	require.Equal(t, 404, ask(New(w.deps, Settings{Compat: true}), "GET", "/"+token+"/x.mp4").Code)
}

func TestUnknownWhileScanning(t *testing.T) {
	w := newWorld(t, "om101")
	nobody, err := content.ParseHash(strings.Repeat("4e", 20))
	require.NoError(t, err)
	token := string(w.buy(nobody, "mp4"))
	w.scans.Store(true)
	for _, path := range []string{"/" + token + "/x.mp4", "/static/" + nobody.String() + "/x.txt"} {
		rec := ask(New(w.deps, Settings{}), "GET", path)
		require.Equal(t, 503, rec.Code)
		require.Equal(t, "5", rec.Header().Get("Retry-After"))
	}
	_, err = w.index.Remove(t.Context(), nobody)
	require.NoError(t, err)
	require.Equal(t, 404, ask(New(w.deps, Settings{}), "GET", "/static/"+nobody.String()+"/x.txt").Code)
}

func TestRecordsAway(t *testing.T) {
	w := newWorld(t, "om101")
	w.engine.Fail(record.ErrUnavailable)
	for _, compat := range []bool{false, true} {
		rec := ask(New(w.deps, Settings{Compat: compat}), "GET", "/a20261120abcdefghijk/x.mp4")
		require.Equal(t, 503, rec.Code)
		require.NotEmpty(t, rec.Header().Get("Retry-After"))
	}
	w.engine.Fail(nil)
}

// clonePath finds the file of a content in a store.
func clonePath(t testing.TB, v *inventory.Volume, h content.Hash) string {
	t.Helper()
	var found string
	require.NoError(t, filepath.Walk(filepath.Join(v.Root(), "content"), func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.HasPrefix(info.Name(), h.String()) {
			found = path
		}
		return err
	}))
	require.NotEmpty(t, found)
	return found
}

func TestCloneThatCannotBeOpened(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"changed": func(path string) error {
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("something else"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "om101", "om102")
			film := w.put("a film", "mp4", "om101", "om102")
			p, err := w.index.Find(t.Context(), film)
			require.NoError(t, err)
			first, ok := w.Volume(p.Clones[0].Store)
			require.True(t, ok)
			require.NoError(t, spoil(clonePath(t, first, film)))
			token := string(w.buy(film, "mp4"))
			rec := ask(New(w.deps, Settings{}), "GET", "/"+token+"/x.mp4")
			require.Equal(t, 200, rec.Code)
			require.Equal(t, "a film", rec.Body.String())
		})
	}
}

// What was opened and fails while it is sent is continued elsewhere.
func TestContinuesWithTheNextClone(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	data := strings.Repeat("0123456789abcdef", 1<<16)
	film := w.put(data, "mp4", "om101", "om102")
	token := string(w.buy(film, "mp4"))
	p, err := w.index.Find(t.Context(), film)
	require.NoError(t, err)
	first, ok := w.Volume(p.Clones[0].Store)
	require.True(t, ok)
	path := clonePath(t, first, film)
	require.NoError(t, os.Chmod(path, 0o600))

	h := New(w.deps, Settings{})
	rec := &cutting{cut: func() { require.NoError(t, os.Truncate(path, 300000)) }}
	r, err := http.NewRequest("GET", "/"+token+"/x.mp4", nil)
	require.NoError(t, err)
	require.NoError(t, h.Serve(rec, r))
	require.True(t, data == rec.body.String())
	require.Equal(t, 1, w.metrics.failovers)
	require.Eventually(t, func() bool {
		p, err := w.index.Find(t.Context(), film)
		require.NoError(t, err)
		return len(p.Clones) == 1 && p.Clones[0].Store != first.ID()
	}, time.Minute, 5*time.Millisecond, "what failed is looked at, and served no more")
}

// cutting is a ResponseWriter that calls cut at the first bytes of the body.
type cutting struct {
	header http.Header
	body   strings.Builder
	cut    func()
}

func (c *cutting) Header() http.Header {
	if c.header == nil {
		c.header = make(http.Header)
	}
	return c.header
}

func (c *cutting) WriteHeader(int) {}

func (c *cutting) Write(p []byte) (int, error) {
	if c.body.Len() == 0 {
		c.cut()
	}
	return c.body.Write(p)
}

func TestUses(t *testing.T) {
	w := newWorld(t, "om101")
	film := w.put("a film", "mp4", "om101")
	token := w.buy(film, "mp4", uses(2))
	h := New(w.deps, Settings{})
	status := func(method, client string, header ...string) int {
		return ask(h, method, "/"+string(token)+"/x.mp4", append(header, "X-Test-Client", client)...).Code
	}
	require.Equal(t, 200, status("HEAD", "192.0.2.1"))
	require.Equal(t, 304, status("GET", "192.0.2.2", "If-None-Match", `"`+film.String()+`"`))
	require.Equal(t, 416, status("GET", "192.0.2.3", "Range", "bytes=99-"))
	require.Equal(t, 200, status("GET", "192.0.2.4"))
	require.Equal(t, 206, status("GET", "192.0.2.4", "Range", "bytes=1-2"))
	require.Equal(t, 200, status("GET", "2001:db8::1"))
	require.Equal(t, 200, status("GET", "2001:db8::2")) // the same /64
	require.Equal(t, 410, status("GET", "192.0.2.5"))
	require.Equal(t, 410, status("HEAD", "192.0.2.5"))
	require.Equal(t, 206, status("GET", "192.0.2.4", "Range", "bytes=2-3"))
	require.Equal(t, 410, status("GET", "192.0.2.4", "User-Agent", "another"))
}

func TestMissesAreLimited(t *testing.T) {
	w := newWorld(t, "om101")
	token := string(w.buy(w.put("film", "mp4", "om101"), "mp4"))
	h := New(w.deps, Settings{})
	const miss, client = "/a20261120abcdefghijk/x.mp4", "X-Test-Client"
	for range MissesPerMinute {
		require.Equal(t, 404, ask(h, "GET", miss, client, "192.0.2.1").Code)
	}
	rec := ask(h, "GET", miss, client, "192.0.2.1")
	require.Equal(t, 429, rec.Code)
	require.NotEmpty(t, rec.Header().Get("Retry-After"))
	require.Equal(t, 429, ask(h, "GET", "/static/zz/x", client, "192.0.2.1").Code)
	require.Equal(t, 404, ask(h, "GET", miss, client, "192.0.2.2").Code)
	require.Equal(t, 200, ask(h, "GET", "/"+token+"/x.mp4", client, "192.0.2.1").Code, "what exists is served")
	w.ahead.Add(int64(time.Minute))
	require.Equal(t, 404, ask(h, "GET", miss, client, "192.0.2.1").Code)
}

func TestPassErrors(t *testing.T) {
	w := newWorld(t)
	h := New(w.deps, Settings{PassErrors: true})
	r, err := http.NewRequest("GET", "/a20261120abcdefghijk/x.mp4", nil)
	require.NoError(t, err)
	rec := &cutting{}
	err = h.Serve(rec, r)
	var fault *handlers.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, handlers.PurchaseUnknown, fault.Code)
	require.Zero(t, rec.body.Len())
	require.Equal(t, "404", rec.Header().Get("OOSE-Code"))
}
