package prism_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
)

// retrieve asks for a fetch.
func (s *site) retrieve(t testing.TB, request any, extension string) handlertest.Answer {
	t.Helper()
	body, err := json.Marshal(map[string]any{"request": request, "extension": extension})
	require.NoError(t, err)
	return s.post(t, "/content/retrieve", string(body))
}

// echo answers with what it was asked, as text.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	user, pass, _ := r.BasicAuth()
	_, _ = fmt.Fprintf(w, "%s %s %s [%s] [%s] %s:%s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Test"), r.Header.Get("Content-Type"), body, user, pass)
}

func TestRetrieveSendsWhatItIsTold(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(echo))
	defer remote.Close()
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.RetrievePrivate = true })
	tests := []struct {
		request string
		want    string
	}{
		{`"%s/a"`, "GET /a  [] [] :"},
		{`{"uri":"%s/a"}`, "GET /a  [] [] :"},
		{`{"url":"%s/a?x=1#frag","method":"get","qs":{"b":[1,{"c":true}],"a":"ü &","n":null}}`,
			"GET /a?x=1&a=%C3%BC+%26&b%5B0%5D=1&b%5B1%5D%5Bc%5D=true&n=  [] [] :"},
		{`{"url":"%s/a","method":"POST","body":"text","headers":{"x-test":5,"Content-Type":"a/b","Host":"evil","Connection":"close"}}`,
			"POST /a 5 [a/b] [text] :"},
		{`{"url":"%s/a","method":"PUT","json":{"k":[1]}}`, `PUT /a  [application/json] [{"k":[1]}] :`},
		{`{"url":"%s/a","method":"POST","json":true,"body":{"k":1}}`, `POST /a  [application/json] [{"k":1}] :`},
		{`{"url":"%s/a","method":"POST","form":{"b":2,"a":"x y"}}`, "POST /a  [application/x-www-form-urlencoded] [a=x+y&b=2] :"},
		{`{"url":"%s/a","method":"POST","form":"a=1"}`, "POST /a  [application/x-www-form-urlencoded] [a=1] :"},
		{`{"url":"%s/a","auth":{"user":"u","pass":"p"}}`, "GET /a  [] [] u:p"},
		{`{"url":"%s/a","auth":{"username":"u","password":"p"},"timeout":"5000","gzip":true}`, "GET /a  [] [] u:p"},
	}
	for _, tt := range tests {
		a := s.post(t, "/content/retrieve", `{"request":`+strings.Replace(tt.request, "%s", remote.URL, 1)+`,"extension":"TXT"}`)
		require.Equal(t, 200, a.Status, "%s: %s", tt.request, a.Body)
		hash := handlertest.HashOf(t, content.SHA1, tt.want).String()
		require.JSONEq(t, `{"hash":"`+hash+`","sha1":"`+hash+`","extension":"txt"}`, string(a.Body), tt.request)
		require.Equal(t, "2", a.Header.Get("OOSE-Durability"))
	}
	a := s.post(t, "/content/retrieve", `{"request":"`+remote.URL+`/a","hashType":"sha512"}`)
	hash := handlertest.HashOf(t, content.SHA512, "GET /a  [] [] :").String()
	require.JSONEq(t, `{"hash":"`+hash+`","sha512":"`+hash+`","extension":"bin"}`, string(a.Body))
}

func TestRetrieveRefusesWhatItDoesNotUnderstand(t *testing.T) {
	s := newSite(t, nil)
	for request, message := range map[string]string{
		`null`: `"request" is missing`, `""`: "no URL", `{}`: "no URL", `5`: "must be a URL", `[]`: "must be a URL",
		`"notaurl"`: "Invalid URI", `"http:///x"`: "Invalid URI", `"http://a b/"`: "Invalid URI", `"mailto:x@y"`: "Invalid URI",
		`"ftp://127.0.0.1/x"`: "Invalid protocol: ftp:", `"file:///etc/passwd"`: "Invalid protocol: file:", `"gopher://x/"`: "Invalid protocol",
		`"http://` + strings.Repeat("a", 9000) + `/"`: "more than 8192 bytes",
		`{"url":5}`:                                     `wrong type: "url"`,
		`{"url":"http://x/","method":"CONNECT"}`:        "can't be used",
		`{"url":"http://x/","method":"GET / HTTP/1.1"}`: "can't be used",
		`{"url":"http://x/","headers":{"a b":"c"}}`:     "header",
		`{"url":"http://x/","headers":{"a":"c\r\nd"}}`:  "header",
		`{"url":"http://x/","headers":{"a":["c"]}}`:     "header",
		`{"url":"http://x/","headers":"a"}`:             "wrong type",
		`{"url":"http://x/","body":{"a":1}}`:            `"body" must be a string`,
		`{"url":"http://x/","form":[1]}`:                `"form" must be`,
		`{"url":"http://x/","qs":` + strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20) + `}`: "nested",
	} {
		requireFault(t, s.post(t, "/content/retrieve", `{"request":`+request+`}`), 400, message)
	}
	requireFault(t, s.post(t, "/content/retrieve", `{"request":"http://x/","hashType":"sha0"}`), 400, "hashType")
	requireFault(t, s.post(t, "/content/retrieve", `{"request":"http://x/","extension":"../x"}`), 400, "extension")
}

func TestRetrieveRefusesPrivateAddresses(t *testing.T) {
	s := newSite(t, nil)
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a private server was asked")
	}))
	defer secret.Close()
	_, port, err := net.SplitHostPort(secret.Listener.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "10.0.0.1", "172.16.0.1",
		"192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fc00::1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:db8::1]", "[ff02::1]",
	} {
		requireFault(t, s.retrieve(t, "http://"+host+":"+port+"/", "txt"), 403, "not one to fetch from")
	}
	s.requireNothingLeft(t)
}

func TestRetrieveRefusesPortsOfOtherServers(t *testing.T) {
	var denied netip.AddrPort
	s := newSite(t, func(d *prism.Deps, set *prism.Settings) {
		set.RetrievePrivate = true
		d.Denied = func(ap netip.AddrPort) bool { return ap == denied }
	})
	for _, port := range []int{1, 22, 25, 2019} {
		requireFault(t, s.retrieve(t, fmt.Sprintf("http://127.0.0.1:%d/", port), "txt"), 403, "not one to fetch from")
	}
	remote := httptest.NewServer(http.HandlerFunc(echo))
	defer remote.Close()
	require.Equal(t, 200, s.retrieve(t, remote.URL, "txt").Status)
	denied = netip.MustParseAddrPort(remote.Listener.Addr().String())
	requireFault(t, s.retrieve(t, remote.URL, "txt"), 403, "not one to fetch from")
	requireFault(t, s.retrieve(t, "http://224.0.0.1/", "txt"), 403, "not one to fetch from")
}

// TestRetrieveChecksEveryRedirect has a server that may be asked redirect to
// one that may not.
func TestRetrieveChecksEveryRedirect(t *testing.T) {
	var denied netip.AddrPort
	s := newSite(t, func(d *prism.Deps, set *prism.Settings) {
		set.RetrievePrivate = true
		d.Denied = func(ap netip.AddrPort) bool { return ap == denied }
	})
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the server that is denied was asked")
	}))
	defer secret.Close()
	denied = netip.MustParseAddrPort(secret.Listener.Addr().String())
	var front *httptest.Server
	front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/denied":
			http.Redirect(w, r, secret.URL, http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, front.URL+"/loop", http.StatusFound)
		case "/good":
			http.Redirect(w, r, "/end", http.StatusMovedPermanently)
		default:
			_, _ = io.WriteString(w, "the end")
		}
	}))
	defer front.Close()
	requireFault(t, s.retrieve(t, front.URL+"/denied", "txt"), 403, "not one to fetch from")
	requireFault(t, s.retrieve(t, front.URL+"/file", "txt"), 403, "neither http nor https")
	requireFault(t, s.retrieve(t, front.URL+"/loop", "txt"), 502, "more than 10 times")
	require.Equal(t, 200, s.retrieve(t, front.URL+"/good", "txt").Status)
	requireFault(t, s.retrieve(t, map[string]any{"url": front.URL + "/good", "followRedirect": false}, "txt"), 502, "status 301")
}

// TestRetrieveUsesNoProxy sets one in the environment that would be asked.
func TestRetrieveUsesNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	t.Setenv("http_proxy", "http://127.0.0.1:9")
	remote := httptest.NewServer(http.HandlerFunc(echo))
	defer remote.Close()
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.RetrievePrivate = true })
	require.Equal(t, 200, s.retrieve(t, remote.URL, "txt").Status)
}

func TestRetrieveTakesWholeContentsOnly(t *testing.T) {
	release := make(chan struct{})
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			http.Error(w, "the secret of the other server", http.StatusNotFound)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		case "/chunked":
			_, _ = io.WriteString(w, "short")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/part":
			w.WriteHeader(http.StatusPartialContent)
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		case "/large":
			w.Header().Set("Content-Length", fmt.Sprint(2<<20))
			_, _ = w.Write(make([]byte, 2<<20))
		case "/silent":
			<-release
		case "/stalls":
			_, _ = io.WriteString(w, "a beginning")
			_ = http.NewResponseController(w).Flush()
			<-release
		case "/empty":
		}
	}))
	defer remote.Close()
	defer close(release)
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.RetrievePrivate, set.MaxSize = true, 1<<20 })
	for path, want := range map[string]struct {
		status  int
		message string
	}{
		"/missing": {502, "status 404"},
		"/cut":     {502, "ended before it was complete"},
		"/chunked": {502, "ended before it was complete"},
		"/part":    {502, "a part of the content only"},
		"/endless": {413, "larger than is allowed"},
		"/large":   {413, "larger than is allowed"},
		"/silent":  {502, "did not answer in time"},
		"/stalls":  {502, "stopped sending"},
	} {
		a := s.retrieve(t, map[string]any{"url": remote.URL + path, "timeout": 300}, "txt")
		requireFault(t, a, want.status, want.message)
		require.NotContains(t, string(a.Body), "secret")
		require.Equal(t, fmt.Sprint(want.status), a.Header.Get("OOSE-Code"))
		s.requireNothingLeft(t)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	requireFault(t, s.retrieve(t, "http://"+gone.Addr().String(), "txt"), 502, "could not be reached")
	requireFault(t, s.retrieve(t, "http://no-such-host.invalid/", "txt"), 502, "could not be reached")
	require.Equal(t, 200, s.retrieve(t, remote.URL+"/empty", "txt").Status)
}

func TestRetrieveIsBoundedInTime(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			if _, err := io.WriteString(w, "x"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer remote.Close()
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) {
		set.RetrievePrivate, set.RetrieveTime = true, 500*time.Millisecond
	})
	requireFault(t, s.retrieve(t, remote.URL, "txt"), 502, "longer than is allowed")
	s.requireNothingLeft(t)
}
