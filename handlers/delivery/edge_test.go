package delivery

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers"
)

func TestRedirect(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	film := w.put("a film", "mp4", "om101")
	note := w.put("a note", "txt", "om102")
	token := string(w.buy(film, "mp4"))
	text := string(w.buy(film, "txt"))
	bound := string(w.buy(film, "mp4", referrers("localhost")))
	settings := Settings{Redirect: true, StoreURL: func(id string) (string, bool) {
		v, _ := w.Volume(id)
		return "https://" + v.Name() + ".oose.example:5972", v.Name() == "om101"
	}}
	h := New(w.deps, settings)
	const base = "https://om101.oose.example:5972"
	for path, want := range map[string]string{
		"/" + token + "/movie.mp4":                      "/play/" + token + "/video.mp4?start=0",
		"/" + token + "/movie.mp4?":                     "/play/" + token + "/video.mp4?start=0",
		"/" + token + "/movie.mp4?&":                    "/play/" + token + "/video.mp4?start=0",
		"/" + token + "/movie.mp4?start=30":             "/play/" + token + "/video.mp4?start=30",
		"/" + token + "/movie.mp4?html5=1":              "/play/" + token + "/video.mp4?html5=1",
		"/" + token + "/movie.mp4?html5":                "/play/" + token + "/video.mp4?html5",
		"/" + token + "/movie.mp4?restart=1":            "/play/" + token + "/video.mp4?restart=1&start=0",
		"/" + token + "/movie.mp4?attach=movie.mp4":     "/play/" + token + "/video.mp4?attach=movie.mp4&start=0",
		"/" + token + "/movie.mp4?start=5&attach=a.mp4": "/play/" + token + "/video.mp4?start=5&attach=a.mp4",
		"/" + text + "/test.txt":                        "/play/" + text + "/video.txt",
		"/" + text + "/test.txt?attach=f%C3%A9.txt":     "/play/" + text + "/video.txt?attach=f%C3%A9.txt",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			rec := ask(h, method, path)
			require.Equal(t, 302, rec.Code, path)
			require.Equal(t, base+want, rec.Header().Get("Location"), path)
			require.Equal(t, "no-referrer", rec.Header().Get("Referrer-Policy"))
			require.Contains(t, rec.Header().Get("Cache-Control"), "no-store")
		}
	}
	rec := ask(h, "GET", "/"+bound+"/x.mp4", "Referer", "localhost")
	require.Equal(t, 302, rec.Code)
	require.Empty(t, rec.Header().Get("Referrer-Policy"), "the store must see what was seen here")
	require.Equal(t, 403, ask(h, "GET", "/"+bound+"/x.mp4").Code)

	// om102 has no address: it is streamed for.
	rec = ask(h, "GET", "/static/"+note.String()+"/x.txt")
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "a note", rec.Body.String())

	pic := w.put("a picture", "png", "om101")
	target := base + "/static/" + pairs(pic.String()) + ".png"
	rec = ask(h, "GET", "/static/"+pic.String()+"/x.jpg?attach=x")
	require.Equal(t, target+"?attach=x", rec.Header().Get("Location"))
	settings.Compat = true
	rec = ask(New(w.deps, settings), "GET", "/static/"+pic.String()+"/x.jpg?attach=x&start=3")
	require.Equal(t, target, rec.Header().Get("Location"))
}

func pairs(hex string) string {
	var b strings.Builder
	for i := 0; i < len(hex); i += 2 {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}

// A redirect's target is served by the store's side, and nowhere else.
func TestRedirectArrives(t *testing.T) {
	w := newWorld(t, "om101")
	film := w.put("a film", "mp4", "om101")
	token := string(w.buy(film, "mp4", referrers("localhost"), uses(1)))
	h := New(w.deps, Settings{Redirect: true, StoreURL: func(string) (string, bool) { return "http://om101.oose.example", true }})
	location := ask(h, "GET", "/"+token+"/x.mp4", "Referer", "localhost").Header().Get("Location")
	require.Equal(t, http.StatusTeapot, ask(h, "GET", location, "Referer", "localhost").Code, "no loop")
	store := NewStoreSide(w.deps, w.volumes["om101"], Settings{})
	rec := ask(store, "GET", location, "Referer", "localhost")
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "a film", rec.Body.String())
	require.Equal(t, 403, ask(store, "GET", location).Code)
}

func TestStoreSide(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	film := w.put("a film", "mp4", "om101")
	note := w.put("a note", "txt", "om101")
	other := w.put("elsewhere", "txt", "om102")
	token := string(w.buy(film, "mp4"))
	bound := string(w.buy(film, "mp4", referrers("localhost")))
	local := string(w.buy(film, "mp4", onlyFor("203.0.113.9")))
	once := string(w.buy(film, "mp4", uses(1)))
	elsewhere := string(w.buy(other, "txt"))
	expired := string(w.buy(film, "mp4"))
	here := "/../content/" + film.String()[:2] + "/" + film.String()[2:4] + "/" + film.String() + ".mp4"
	s := NewStoreSide(w.deps, w.volumes["om101"], Settings{})
	const client = "X-Test-Client"
	for _, tc := range []struct {
		method, path string
		header       []string
		status       int
		body         string
	}{
		{"GET", "/play/" + token + "/video.mp4?start=0", nil, 200, "a film"},
		{"HEAD", "/play/" + token + "/video.mp4", nil, 200, ""},
		{"GET", "/play/" + token + "/video.mp4", []string{"Range", "bytes=2-5"}, 206, "film"},
		{"GET", "/play/" + elsewhere + "/video.txt", nil, 404, ""},
		{"GET", "/play/a20261120abcdefghijk/video.mp4", nil, 404, ""},
		{"GET", "/play/foo/video.mp4", nil, 418, ""},
		{"GET", "/play/" + token, nil, 418, ""},
		{"GET", "/playing/" + token + "/x", nil, 418, ""},
		{"GET", "/" + token + "/x.mp4", nil, 418, ""},
		{"GET", "/ping", nil, 418, ""},
		{"POST", "/play/" + token + "/video.mp4", nil, 405, ""},
		{"OPTIONS", "/play/" + token + "/video.mp4", nil, 204, ""},
		{"GET", "/static/" + pairs(note.String()) + ".txt", nil, 200, "a note"},
		{"GET", "/static/" + pairs(note.String()) + ".html", nil, 200, "a note"},
		{"GET", "/static/" + pairs(note.String()), nil, 200, "a note"},
		{"GET", "/static/" + pairs(film.String()) + ".txt", nil, 403, ""},
		{"GET", "/static/" + pairs(note.String()) + ".mp4", nil, 403, ""},
		{"GET", "/static/" + pairs(other.String()) + ".txt", nil, 404, ""},
		{"GET", "/static/" + note.String() + ".txt", nil, 418, ""},
		{"GET", "/static/" + pairs(note.String()[2:]) + ".txt", nil, 418, ""},
		{"GET", "/static/" + pairs(note.String()) + "/x.txt", nil, 418, ""},
		{"GET", "/static/../" + pairs(note.String()) + ".txt", nil, 418, ""},

		{"GET", "/purchase/uri/play/" + token + "/x.mp4?start=5", nil, 200, here},
		{"HEAD", "/purchase/uri/play/" + token + "/x.mp4", nil, 200, ""},
		{"GET", "/purchase/uri/play/" + bound + "/x.mp4", nil, 200, here},
		{"GET", "/purchase/uri/play/" + bound + "/x.mp4", []string{"Referer", "https://elsewhere.example"}, 403, "/403"},
		{"GET", "/purchase/uri/play/" + local + "/x.mp4", []string{client, "192.0.2.1"}, 403, "/403"},
		{"GET", "/purchase/uri/play/" + once + "/x.mp4", []string{client, "192.0.2.1"}, 200, here},
		{"GET", "/purchase/uri/play/" + once + "/x.mp4", []string{client, "192.0.2.2"}, 404, "/404"},
		{"GET", "/purchase/uri/play/" + elsewhere + "/x.mp4", nil, 500, "/500"},
		{"GET", "/purchase/uri/play/foo/x.mp4", nil, 500, "/500"},
		{"GET", "/purchase/uri/play/a20261120abcdefghijk/x.mp4", nil, 404, "/404"},
		{"GET", "/purchase/uri/play/" + token, nil, 418, ""},
		{"GET", "/purchase/uri/x/y", nil, 418, ""},
	} {
		rec := ask(s, tc.method, tc.path, tc.header...)
		require.Equal(t, tc.status, rec.Code, tc.path)
		if tc.body != "" {
			require.Equal(t, tc.body, rec.Body.String(), tc.path)
		}
	}
	w.ahead.Store(int64(2 * time.Hour))
	rec := ask(s, "GET", "/purchase/uri/play/"+expired+"/x.mp4")
	require.Equal(t, 404, rec.Code)
	require.Equal(t, "/404", rec.Body.String())
	require.Equal(t, 410, ask(s, "GET", "/play/"+expired+"/x.mp4").Code)
}

func TestCORS(t *testing.T) {
	w := newWorld(t, "om101")
	token := string(w.buy(w.put("film", "mp4", "om101"), "mp4"))
	path := "/" + token + "/x.mp4"
	all := New(w.deps, Settings{CORS: []string{"*"}})
	some := New(w.deps, Settings{CORS: []string{"https://player.example", "https://other.example/"}})
	none := New(w.deps, Settings{})

	rec := ask(all, "GET", path, "Origin", "https://any.example")
	require.Equal(t, "*", rec.Header().Get("Access-Control-Allow-Origin"))
	require.Contains(t, rec.Header().Get("Access-Control-Expose-Headers"), "Content-Range")
	rec = ask(all, "OPTIONS", "/a20261120abcdefghijk/x.mp4", "Origin", "https://any.example", "Access-Control-Request-Method", "GET")
	require.Equal(t, 204, rec.Code)
	require.Contains(t, rec.Header().Get("Access-Control-Allow-Headers"), "Range")
	require.NotEmpty(t, rec.Header().Get("Access-Control-Max-Age"))
	require.Equal(t, "*", ask(all, "GET", "/a20261120abcdefghijk/x.mp4").Header().Get("Access-Control-Allow-Origin"), "errors can be read")

	for origin, want := range map[string]string{
		"https://player.example": "https://player.example", "https://OTHER.example": "https://OTHER.example",
		"https://evil.example": "", "null": "", "": "",
	} {
		rec = ask(some, "GET", path, "Origin", origin)
		require.Equal(t, want, rec.Header().Get("Access-Control-Allow-Origin"), origin)
		require.Equal(t, "Origin", rec.Header().Get("Vary"))
		rec = ask(some, "OPTIONS", path, "Origin", origin)
		require.Equal(t, want != "", rec.Header().Get("Access-Control-Allow-Methods") != "")
	}
	require.Empty(t, ask(none, "GET", path, "Origin", "https://any.example").Header().Get("Access-Control-Allow-Origin"))
	require.Zero(t, w.metrics.lookups[LookupRefused])
}

func TestPageForBrowsers(t *testing.T) {
	w := newWorld(t)
	h := New(w.deps, Settings{})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	rec := ask(h, "GET", "/a20261120abcdefghijk/x.mp4", "Accept", browser)
	require.Equal(t, 404, rec.Code)
	require.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
	require.Equal(t, "404", rec.Header().Get("OOSE-Code"))
	require.Equal(t, "NotFoundError", rec.Header().Get("OOSE-Reason"))
	require.Contains(t, rec.Header().Get("Vary"), "Accept")
	body := rec.Body.String()
	require.Equal(t, fmt.Sprint(len(body)), rec.Header().Get("Content-Length"))
	for _, bad := range []string{"http:", "https:", "src=", "href=", "<script", "url(", "@import", "a20261120"} {
		require.NotContains(t, body, bad)
	}
	require.Contains(t, body, "prefers-color-scheme:dark")
	require.Contains(t, body, "width=device-width")
	rec = ask(h, "HEAD", "/a20261120abcdefghijk/x.mp4", "Accept", browser)
	require.Zero(t, rec.Body.Len())
}

func TestPrefersHTML(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/*": false, "video/webm,video/*;q=0.9,*/*;q=0.5": false,
		"application/json": false, "application/json, text/html;q=0.9": false, "text/html;q=0": false, "text/html;q=x": false,
		"text/html": true, "TEXT/HTML; charset=x": true, "text/html, application/json": true, "application/json;q=0.5,text/html;q=0.6": true,
	} {
		require.Equal(t, want, prefersHTML([]string{accept}), accept)
	}
}

func TestEveryCodeHasItsPage(t *testing.T) {
	for _, code := range []handlers.Code{
		handlers.PurchaseUnknown, handlers.PurchaseExpired, handlers.PurchaseSpent, handlers.RefererMissing, handlers.RefererRefused,
		handlers.AddressRefused, handlers.TypeDenied, handlers.TooMany, handlers.Unavailable, handlers.NoStore,
		handlers.MethodNotAllowed, handlers.BadRange, handlers.Internal,
	} {
		title, text := pageText(code)
		require.NotEmpty(t, title)
		require.NotEmpty(t, text)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewLimiter(2, func() time.Time { return now })
	allow := func(addr string) bool {
		_, ok := l.Allow(netip.MustParseAddr(addr))
		return ok
	}
	require.True(t, allow("192.0.2.1"))
	require.True(t, allow("::ffff:192.0.2.1"))
	require.False(t, allow("192.0.2.1"))
	require.True(t, allow("192.0.2.2"))
	require.True(t, allow("2001:db8::1"))
	require.True(t, allow("2001:db8::2"))
	require.False(t, allow("2001:db8::ffff:3"))
	require.True(t, allow("2001:db8:0:1::1"))
	now = now.Add(20 * time.Second)
	wait, ok := l.Allow(netip.MustParseAddr("192.0.2.1"))
	require.False(t, ok)
	require.Equal(t, 40*time.Second, wait)
	now = now.Add(40 * time.Second)
	require.True(t, allow("192.0.2.1"))
	require.True(t, func() bool { _, ok := l.Allow(netip.Addr{}); return ok }(), "a client without address")
}

func TestLimiterIsBounded(t *testing.T) {
	l := NewLimiter(1, func() time.Time { return time.Unix(1000, 0) })
	for i := range 2 * limiterShards * limiterSize {
		l.Allow(netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	total := 0
	for i := range l.shards {
		require.LessOrEqual(t, len(l.shards[i].seen), limiterSize)
		total += len(l.shards[i].seen)
	}
	require.Greater(t, total, limiterShards*limiterSize/2)
}

// Requests of many clients at once, while the content is removed and comes back.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, "om101", "om102")
	data := strings.Repeat("0123456789abcdef", 8<<10)
	film := w.put(data, "mp4", "om101", "om102")
	token := string(w.buy(film, "mp4", uses(1000)))
	h := New(w.deps, Settings{})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 30 {
				rec := ask(h, "GET", "/"+token+"/x.mp4", "Range", "bytes=5-70000", "X-Test-Client", fmt.Sprintf("192.0.2.%d", i))
				if rec.Code == 206 && rec.Body.String() != data[5:70001] {
					t.Error("wrong bytes")
				}
				if rec.Code != 206 && rec.Code != 404 && rec.Code != 429 && rec.Code != 503 {
					t.Errorf("status %d", rec.Code)
				}
			}
		})
	}
	_, err := w.index.Remove(t.Context(), film)
	require.NoError(t, err)
	w.put(data, "mp4", "om101")
	group.Wait()
	require.Zero(t, w.metrics.streams)
	require.Equal(t, 404, ask(h, "GET", "/"+token+"/x.mp4").Code, "bought before the removal")
	require.Equal(t, 206, ask(h, "GET", "/"+string(w.buy(film, "mp4"))+"/x.mp4", "Range", "bytes=0-0").Code)
}

// FuzzURL asks both sides for paths and queries of any kind.
func FuzzURL(f *testing.F) {
	w := newWorld(f, "om101")
	film := w.put("a film", "mp4", "om101")
	token := string(w.buy(film, "mp4"))
	redirecting := New(w.deps, Settings{Redirect: true, StoreURL: func(string) (string, bool) { return "https://om101.oose.example", true }})
	sides := []server{New(w.deps, Settings{}), NewStoreSide(w.deps, w.volumes["om101"], Settings{}), redirecting}
	for _, path := range []string{
		"/" + token + "/x.mp4", "/play/" + token + "/video.mp4", "/static/" + film.String() + "/x", "/static/" + pairs(film.String()) + ".mp4",
		"/purchase/uri/play/" + token + "/x", "/ping", "/crossdomain.xml", "/", "//", "/static/../../etc/passwd", "/static/" + token + "/../x",
		"/" + token + "/\x00", "/" + token + "/a/b", "/play//x", "/static//", "/static/a0/3f.txt", "a20261120abcdefghijk/x",
	} {
		f.Add(path, "")
		f.Add(path, "start=5&attach=x&rate=1m")
	}
	f.Add("/"+token+"/x.mp4", "\r\nSet-Cookie: x")
	f.Add("/"+token+"/x.mp4", "?&&=&html5&%zz")
	f.Add("/"+token+"/x.mp4", "<\"'>#\\\xff")
	f.Fuzz(func(t *testing.T, path, query string) {
		if strings.Contains(query, "rate=") {
			query = strings.ReplaceAll(query, "rate=", "rate=9999") // not to wait for
		}
		for _, s := range sides {
			r, err := http.NewRequest("GET", "http://x/", nil)
			require.NoError(t, err)
			r.URL.Path, r.URL.RawQuery = path, query
			rec := &cutting{cut: func() {}}
			err = s.Serve(rec, r)
			if err != nil && err != handlers.ErrNotMine {
				t.Fatal(err)
			}
			for k, values := range rec.Header() {
				for _, v := range values {
					if strings.ContainsAny(v, "\r\n\x00") {
						t.Fatalf("%s: %q", k, v)
					}
				}
			}
			if location := rec.Header().Get("Location"); location != "" && !strings.HasPrefix(location, "https://om101.oose.example/") {
				t.Fatalf("redirect to %q", location)
			}
		}
	})
}
