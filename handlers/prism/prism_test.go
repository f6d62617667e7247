package prism_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokenHeader carries a session.
const tokenHeader = "X-OOSE-Token"

// site is a prism with two stores, and a session.
type site struct {
	*handlertest.Rig
	handler *prism.Handler
	url     string
	session string
}

func newSite(t testing.TB, change func(*prism.Deps, *prism.Settings)) *site {
	t.Helper()
	rig := handlertest.New(t, "prism1:store1", "prism2:store2")
	d, set := deps(rig), settings(t)
	set.URL = func() string { return "https://cdn.oose.example/" }
	if change != nil {
		change(&d, &set)
	}
	h := prism.New(d, set)
	return &site{Rig: rig, handler: h, url: handlertest.Serve(t, h).URL, session: rig.Login(t)}
}

// post sends JSON with the session.
func (s *site) post(t testing.TB, path, body string) handlertest.Answer {
	t.Helper()
	return handlertest.Post(t, s.url+path, body, tokenHeader, s.session)
}

// private sends JSON with the prism's own credentials.
func (s *site) private(t testing.TB, path, body string) handlertest.Answer {
	t.Helper()
	return handlertest.Post(t, s.url+path, body, "Authorization", "Basic "+basicAuth(prismUser))
}

// object reads an answer's JSON object.
func object(t testing.TB, a handlertest.Answer) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.Body, &v), "%d %s", a.Status, a.Body)
	return v
}

// requireFault checks a failure in the modern way: its status, an error that is
// a string, and nothing of the machine in it.
func requireFault(t testing.TB, a handlertest.Answer, status int, part string) {
	t.Helper()
	require.Equal(t, status, a.Status, "%s", a.Body)
	message, ok := object(t, a)["error"].(string)
	require.True(t, ok, "%s", a.Body)
	require.Contains(t, message, part)
	for _, leak := range []string{"/tmp", ".go:", "goroutine", "store1"} {
		require.NotContains(t, string(a.Body), leak)
	}
}

// requireNothingLeft checks that the stores hold neither clones nor temporary files.
func (s *site) requireNothingLeft(t testing.TB) {
	t.Helper()
	require.Empty(t, s.files(t, "content"))
	s.requireNoTemp(t)
}

func (s *site) requireNoTemp(t testing.TB) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Empty(c, s.files(t, "tmp")) }, 10*time.Second, 5*time.Millisecond)
}

func (s *site) files(t testing.TB, folder string) []string {
	t.Helper()
	var files []string
	for _, v := range s.Volumes() {
		err := filepath.WalkDir(filepath.Join(v.Root(), folder), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Name() != "health.part" { // which the disk's own tests write
				files = append(files, path)
			}
			return nil //nolint:nilerror // what vanishes meanwhile is not there
		})
		require.NoError(t, err)
	}
	return files
}

// routes are those that need a session (true) or the prism's credentials.
var routes = map[string]bool{
	"/user/logout": true, "/user/session/validate": true, "/user/session/update": true, "/user/password/reset": true,
	"/content/detail": true, "/content/upload": true, "/content/retrieve": true, "/content/purchase": true,
	"/content/purchase/remove": true, "/content/purchase/find": true, "/content/purchase/update": true,
	"/content/download": true, "/content/remove": true,
	"/content/exists": false, "/cache/flush": false, "/cache/detail": false,
}

// untouchable fails the test when it is read.
type untouchable struct{ t testing.TB }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read before the caller was authenticated")
	return 0, io.EOF
}

func TestAuthenticationComesBeforeTheBody(t *testing.T) {
	s := newSite(t, nil)
	hosts := 0
	send := func(method, path string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, untouchable{t})
		r.ContentLength = -1
		hosts++ // each from another address, since wrong passwords are limited by it
		r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(hosts >> 8), byte(hosts)}), 1000).String()
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		require.NoError(t, s.handler.Serve(w, r))
		return w
	}
	good, bad := "Basic "+basicAuth(prismUser), "Basic "+basicAuth("somebody")
	for path, bySession := range routes {
		w := send("POST", path)
		require.Equal(t, 401, w.Code, path)
		require.Equal(t, "Unauthorized", w.Body.String())
		require.Equal(t, `Basic realm="Authorization Required"`, w.Header().Get("WWW-Authenticate"))
		require.Equal(t, 401, send("POST", path, "Authorization", bad).Code, path)
		for _, malformed := range []string{"Basic", "Bearer abc", "Basic YWJj", "Basic !!!", "Basic " + strings.Repeat("A", 5000)} {
			require.Equal(t, 400, send("POST", path, "Authorization", malformed).Code, "%s %s", path, malformed)
		}
		if !bySession {
			require.Equal(t, 401, send("POST", path, tokenHeader, s.session).Code, "a session does not open %s", path)
			continue
		}
		w = send("POST", path, tokenHeader, "garbage", "Authorization", good)
		require.Equal(t, 401, w.Code, "a bad token wins over good credentials on %s", path)
		require.Contains(t, w.Body.String(), `"error"`)
		require.Empty(t, w.Header().Get("WWW-Authenticate"))
	}
	require.Equal(t, 401, send("PUT", "/content/put/"+strings.Repeat("a", 40)+".txt").Code)
	require.Equal(t, 401, send("PUT", "/content/put/"+strings.Repeat("a", 40)+".txt", tokenHeader, s.session).Code)
}

func TestNobodyHasCredentialsThatAreNotConfigured(t *testing.T) {
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.Basic = nil })
	require.Equal(t, 401, s.private(t, "/cache/detail", `{"command":"all"}`).Status)
	require.Equal(t, 200, s.post(t, "/content/detail", `{"hash":"x"}`).Status)
}

func TestNodesOfTheClusterPassPrivateRoutes(t *testing.T) {
	s := newSite(t, func(d *prism.Deps, _ *prism.Settings) {
		d.Node = func(r *http.Request) bool { return r.Header.Get("X-Node") == "yes" }
	})
	a := handlertest.Post(t, s.url+"/content/exists", `{"hash":"x"}`, "X-Node", "yes")
	require.Equal(t, 200, a.Status)
	a = handlertest.Post(t, s.url+"/content/detail", `{"hash":"x"}`, "X-Node", "yes")
	require.Equal(t, 401, a.Status)
}

func TestMethods(t *testing.T) {
	s := newSite(t, nil)
	do := func(method, path string) handlertest.Answer {
		r, err := http.NewRequest(method, s.url+path, nil)
		require.NoError(t, err)
		r.Header.Set(tokenHeader, s.session)
		return handlertest.Do(t, r)
	}
	for path := range routes {
		a := do("GET", path)
		requireFault(t, a, 405, "use POST")
		require.Equal(t, "POST, OPTIONS", a.Header.Get("Allow"))
		a = do("OPTIONS", path)
		require.Equal(t, 204, a.Status)
		require.Equal(t, "POST, OPTIONS", a.Header.Get("Allow"))
		require.Empty(t, a.Body)
	}
	put := "/content/put/" + strings.Repeat("a", 40) + ".txt"
	require.Equal(t, "PUT, OPTIONS", do("POST", put).Header.Get("Allow"))
	for _, path := range []string{"/", "/ping", "/ping/", "/stats", "/stats/"} {
		for _, method := range []string{"GET", "POST"} {
			require.Equal(t, 200, do(method, path).Status, path)
		}
		a := do("HEAD", path)
		require.Equal(t, 200, a.Status)
		require.Empty(t, a.Body)
		require.NotEqual(t, "0", a.Header.Get("Content-Length"))
		require.Equal(t, "GET, HEAD, POST, OPTIONS", do("DELETE", path).Header.Get("Allow"))
	}
	require.Equal(t, 405, do("GET", "/user/login").Status)
}

func TestWhatIsNotAPrismsRoute(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{
		"/nope", "/content", "/content/put", "/content/put/", "/content/put/a/b", "/static/" + strings.Repeat("a", 40) + "/x.txt",
		"/crossdomain.xml", "/a20261120a7ch2nx9djn/x.mp4", "/content%2Fdetail", "/CONTENT/detail", "/user/login//",
		"/cluster/journal",
	} {
		r := httptest.NewRequest("POST", "http://host", nil)
		r.URL.Opaque, r.URL.Path = "", ""
		u, err := r.URL.Parse("http://host" + path)
		require.NoError(t, err)
		r.URL = u
		require.Equal(t, handlers.ErrNotMine, s.handler.Serve(httptest.NewRecorder(), r), path)
	}
}

func TestPingWhileSyncing(t *testing.T) {
	ready := false
	s := newSite(t, func(d *prism.Deps, _ *prism.Settings) { d.Ready = func() bool { return ready } })
	a := handlertest.Post(t, s.url+"/ping", "")
	require.Equal(t, 503, a.Status)
	require.JSONEq(t, `{"pong":"syncing"}`, string(a.Body))
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	ready = true
	require.JSONEq(t, `{"pong":"pong"}`, string(handlertest.Post(t, s.url+"/ping", "").Body))
}

func TestStatsAndCaches(t *testing.T) {
	s := newSite(t, nil)
	s.post(t, "/content/detail", `{"hash":"`+strings.Repeat("a", 40)+`"}`)
	s.post(t, "/content/purchase", `{}`)
	stats := object(t, handlertest.Post(t, s.url+"/stats", ""))
	at := func(path string) any {
		var v any = stats
		for _, part := range strings.Split(path, ".") {
			v = v.(map[string]any)[part]
		}
		return v
	}
	require.EqualValues(t, 1, at("stat.prism.content.detail"))
	require.EqualValues(t, 1, at("stat.prism.content.purchase"))
	require.EqualValues(t, 1, at("error.prism.content.purchase"))
	require.EqualValues(t, 3, at("stat.prism.requests"))

	detail := object(t, s.private(t, "/cache/detail", `{"command":"all"}`))
	require.Equal(t, "ok", detail["success"])
	data := detail["data"].(map[string]any)
	require.EqualValues(t, len(data), detail["count"])
	require.EqualValues(t, 1, data["stat.prism.content.detail"])
	require.EqualValues(t, 1, data["cache.placements"])
	require.Len(t, object(t, s.private(t, "/cache/detail", `{"command":"storeHits"}`))["data"], 1)
	require.EqualValues(t, 1, object(t, s.private(t, "/cache/flush", `{"command":"storeHits"}`))["count"])
	require.EqualValues(t, 0, object(t, s.private(t, "/cache/flush", `{"command":"prismHits"}`))["count"])
	require.NotZero(t, object(t, s.private(t, "/cache/flush", `{"command":"stats"}`))["count"])
	data = object(t, s.private(t, "/cache/detail", `{"command":"all"}`))["data"].(map[string]any)
	require.EqualValues(t, 0, data["cache.placements"])
	require.NotContains(t, data, "stat.prism.content.detail")
	for name := range s.Counters.Flat() {
		require.NotContains(t, name, s.session)
	}
}

func TestUsersAndSessions(t *testing.T) {
	s := newSite(t, nil)
	s.AddUser(t, "alice", "first password")
	login := func(password string) handlertest.Answer {
		return handlertest.Post(t, s.url+"/user/login", fmt.Sprintf(`{"username":"alice","password":%q}`, password))
	}
	requireFault(t, login("wrong"), 401, "Invalid username or password")
	answer := object(t, login("first password"))
	require.Equal(t, "User logged in", answer["success"])
	session := answer["session"].(map[string]any)
	require.Equal(t, "127.0.0.1", session["ip"])
	token := session["token"].(string)
	post := func(path, body string) handlertest.Answer {
		return handlertest.Post(t, s.url+path, body, tokenHeader, token)
	}
	valid := object(t, post("/user/session/validate", ""))
	require.Equal(t, "Session valid", valid["success"])
	require.Equal(t, session, valid["session"])

	updated := object(t, post("/user/session/update", `{"data":{"cart":[1,12345678901234567890],"userCtx":"forged"}}`))
	require.Equal(t, "Session updated", updated["success"])
	a := post("/user/session/validate", "{}")
	require.Contains(t, string(a.Body), `"cart":[1,12345678901234567890]`)
	require.Contains(t, string(a.Body), `"userCtx":{"name":"alice","roles":[]}`)
	requireFault(t, post("/user/session/update", `{"data":5}`), 400, "nvalid session data")
	requireFault(t, post("/user/session/update", `{}`), 400, `"data" is missing`)

	reset := object(t, post("/user/password/reset", ""))
	require.Equal(t, "User password reset", reset["success"])
	requireFault(t, post("/user/session/validate", ""), 401, "not valid")
	require.NotEmpty(t, reset["password"])
	requireFault(t, s.post(t, "/user/password/reset", ""), 409, "declared")
	token = s.session

	out := object(t, post("/user/logout", ""))
	require.Equal(t, "User logged out", out["success"])
	require.Contains(t, out, "data")
	for _, path := range []string{"/user/session/validate", "/user/logout", "/content/detail"} {
		requireFault(t, post(path, `{"hash":"x"}`), 401, "not valid")
	}
	requireFault(t, s.private(t, "/user/session/validate", ""), 401, "needs a session")
}

func TestSessionHeaderIsConfigurable(t *testing.T) {
	s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.SessionHeader = "X-Other" })
	require.Equal(t, 401, s.post(t, "/content/detail", `{"hash":""}`).Status)
	require.Equal(t, 200, handlertest.Post(t, s.url+"/content/detail", `{"hash":""}`, "X-Other", s.session).Status)
}

func TestBadInput(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	tests := []struct {
		path, body string
		status     int
		message    string
	}{
		{"/user/login", `{"username":`, 400, "not valid JSON"},
		{"/user/login", `[]`, 400, "must be a JSON object"},
		{"/user/login", `"x"`, 400, "must be a JSON object"},
		{"/user/login", `{"username":5,"password":"x"}`, 400, `"username" must be a string, not a number`},
		{"/user/login", `{"username":"oose"}`, 401, "Invalid username or password"},
		{"/user/login", `{"username":"oose","password":"` + strings.Repeat("x", 100) + `"}`, 401, "Invalid username or password"},
		{"/user/login", `{} {}`, 400, "not valid JSON"},
		{"/user/login", `{"username":"` + strings.Repeat("x", handlers.MaxJSON) + `"}`, 413, "larger than"},
		{"/content/detail", `{}`, 400, `"hash" is missing`},
		{"/content/detail", ``, 400, `"hash" is missing`},
		{"/content/detail", `{"hash":null}`, 400, "must be a string or an array"},
		{"/content/detail", `{"hash":{"a":1}}`, 400, "must be a string or an array"},
		{"/content/detail", `{"hash":[["x"]]}`, 400, "must hold strings only"},
		{"/content/detail", `{"hash":["x"`, 400, "ended before"},
		{"/content/detail", `{"hash":["x"]} x`, 400, "behind its JSON object"},
		{"/content/detail", `["x"]`, 400, "must be a JSON object"},
		{"/content/detail", `{"hash":"x","timeout":"soon"}`, 400, `"timeout" must be a whole number, not a string`},
		{"/content/detail", `{"hash":"x","retryCount":-1}`, 400, "must not be negative"},
		{"/content/purchase", `{}`, 422, "Invalid HASH passed for purchase"},
		{"/content/purchase", `{"hash":"brown"}`, 422, "Invalid HASH passed for purchase"},
		{"/content/purchase", `{"hash":"../../etc/passwd"}`, 422, "Invalid HASH passed for purchase"},
		{"/content/purchase", `{"hash":"` + fox[:39] + `\u0000"}`, 422, "Invalid HASH passed for purchase"},
		{"/content/purchase", `{"hash":5}`, 400, "must be a string, not a number"},
		{"/content/purchase", `{"hash":"` + strings.Repeat("a", 40) + `"}`, 404, "File not found"},
		{"/content/purchase", `{"hash":"` + fox + `","referrer":["(unclosed"]}`, 400, "Invalid referrer"},
		{"/content/purchase", `{"hash":"` + fox + `","referrer":{"a":1}}`, 400, `"referrer" must be a string or an array of strings, not an object`},
		{"/content/purchase", `{"hash":"` + fox + `","referrer":[5]}`, 400, `"referrer" must be a string or an array of strings`},
		{"/content/purchase", `{"hash":"` + fox + `","ext":"../x"}`, 400, "xtension"},
		{"/content/purchase", `{"hash":"` + fox + `","life":-1}`, 400, `"life" must be`},
		{"/content/purchase", `{"hash":"` + fox + `","life":"soon"}`, 400, `"life" must be a whole number, not a string`},
		{"/content/purchase", `{"hash":"` + fox + `","life":1e300}`, 400, `"life" must be`},
		{"/content/purchase", `{"hash":"` + fox + `","count":-1}`, 400, "nvalid count"},
		{"/content/purchase", `{"hash":"` + fox + `","ip":"nowhere"}`, 400, "nvalid address"},
		{"/content/purchase/remove", `{}`, 400, "Could not validate purchase token"},
		{"/content/purchase/remove", `{"token":"foo"}`, 400, "Could not validate purchase token"},
		{"/content/purchase/remove", `{"token":"a20261120abcdefghijk"}`, 404, "Purchase not found"},
		{"/content/purchase/find", `{"token":"a20261120abcdefghijk"}`, 404, "Purchase not found"},
		{"/content/purchase/update", `{"token":"a20261120abcdefghijk","life":5}`, 404, "Purchase not found"},
		{"/content/download", `{}`, 422, "No store candidates found"},
		{"/content/download", `{"hash":"` + strings.Repeat("a", 40) + `"}`, 404, "No store candidates found"},
		{"/content/remove", `{}`, 422, "Invalid hash"},
		{"/content/remove", `{"hash":"` + strings.Repeat("a", 40) + `"}`, 404, "File not found"},
		{"/content/upload", `{}`, 415, "multipart/form-data"},
		{"/content/retrieve", `{}`, 400, `"request" is missing`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %.60s", tt.path, tt.body), func(t *testing.T) {
			requireFault(t, s.post(t, tt.path, tt.body), tt.status, tt.message)
		})
	}
	for path := range routes {
		a := handlertest.Post(t, s.url+path, "a=1", tokenHeader, s.session, "Authorization", "Basic "+basicAuth(prismUser),
			"Content-Type", "text/plain")
		if a.Status != 415 {
			require.Contains(t, []string{"/user/logout", "/user/session/validate", "/user/password/reset"}, path, "%d", a.Status)
			s.session = s.Login(t)
		}
		a = handlertest.Post(t, s.url+path, "{}", tokenHeader, s.session, "Authorization", "Basic "+basicAuth(prismUser),
			"Content-Type", "application/json; charset=klingon")
		require.Equal(t, 415, a.Status, path)
		a = handlertest.Post(t, s.url+path, "{}", tokenHeader, s.session, "Authorization", "Basic "+basicAuth(prismUser),
			"Content-Encoding", "gzip")
		require.Equal(t, 415, a.Status, path)
	}
}

func TestDetailOfMany(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox)
	s.Put(t, "store2", "txt", handlertest.Fox)
	upper := strings.ToUpper(fox.String())
	body := fmt.Sprintf(`{"timeout":1000,"retryCount":"2","other":{"a":[1,{}]},"hash":["%s","%s","","zzz",7,"%s"]}`, fox, upper, fox)
	all := object(t, s.post(t, "/content/detail", body))
	require.Len(t, all, 5)
	for _, key := range []string{fox.String(), upper} {
		rec := all[key].(map[string]any)
		require.Equal(t, key, rec["hash"])
		require.Equal(t, true, rec["exists"])
		require.Equal(t, "text/plain", rec["mimeType"])
		require.Equal(t, "a0/3f/18/1d/c7/de/dc/fb/57/75/11/14/9b/88/44/71/1e/fd/b0/4f.txt", rec["relativePath"])
		require.ElementsMatch(t, []any{"prism1:store1", "prism2:store2"}, rec["map"])
	}
	require.EqualValues(t, 7, all["7"].(map[string]any)["hash"])
	require.Equal(t, false, all[""].(map[string]any)["exists"])
	require.Nil(t, all["zzz"].(map[string]any)["mimeType"])
	require.JSONEq(t, `{}`, string(s.post(t, "/content/detail", `{"hash":[]}`).Body))

	var many strings.Builder
	many.WriteString(`{"hash":[""`)
	const n = 6_000 // more than what is held back
	for i := range n {
		fmt.Fprintf(&many, `,"%040x"`, i)
	}
	many.WriteString(`]}`)
	all = object(t, s.private(t, "/content/exists", many.String()))
	require.Len(t, all, n+1)

	huge := `{"hash":["` + strings.Repeat("a", handlers.MaxHashes) + `"]}`
	requireFault(t, s.post(t, "/content/detail", huge), 413, "larger than")
}

func TestDetailCountsWhatCanBeHad(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox)
	s.Put(t, "store2", "md", handlertest.Fox)
	detach := s.Registry.Attach(s.Store(t, "store1").ID(), func() bool { return false })
	defer detach()
	rec := object(t, s.post(t, "/content/detail", `{"hash":"`+fox.String()+`"}`))
	require.EqualValues(t, 1, rec["count"])
	require.Equal(t, []any{"prism2:store2"}, rec["map"])
	require.Equal(t, "md", rec["mimeExtension"])
}

func TestNothingIsDeniedWhileAStoreIsScanned(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	unknown := strings.Repeat("b", 40)
	s.SetScanning(true)
	for _, path := range []string{"/content/detail", "/content/purchase", "/content/download", "/content/remove"} {
		a := s.post(t, path, `{"hash":"`+unknown+`"}`)
		requireFault(t, a, 503, "scanned")
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	requireFault(t, s.post(t, "/content/detail", `{"hash":["","`+unknown+`"]}`), 503, "scanned")
	require.Equal(t, 200, s.post(t, "/content/detail", `{"hash":["","`+fox+`"]}`).Status)
}

func TestRecordsAway(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	require.Equal(t, 200, s.post(t, "/content/detail", `{"hash":"`+fox+`"}`).Status)
	s.Engine.Fail(errAway)
	for path, body := range map[string]string{
		"/content/purchase": `{"hash":"` + fox + `"}`,
		"/content/detail":   `{"hash":"` + strings.Repeat("c", 40) + `"}`,
	} {
		a := s.post(t, path, body)
		requireFault(t, a, 503, "")
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	s.Engine.Fail(nil)
	require.Equal(t, 200, s.post(t, "/content/purchase", `{"hash":"`+fox+`"}`).Status)
}

func TestPutAndDownload(t *testing.T) {
	s := newSite(t, nil)
	put := func(name, body string) handlertest.Answer {
		r, err := http.NewRequest("PUT", s.url+"/content/put/"+name, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Basic "+basicAuth(prismUser))
		return handlertest.Do(t, r)
	}
	fox := handlertest.HashOf(t, content.SHA1, handlertest.Fox).String()
	a := put(fox+".txt", handlertest.Fox)
	require.Equal(t, 201, a.Status)
	require.JSONEq(t, `{"success":"File uploaded","file":"`+fox+`.txt"}`, string(a.Body))
	require.Equal(t, "1", a.Header.Get("OOSE-Durability"))
	require.Len(t, s.files(t, "content"), 1)
	md5 := handlertest.HashOf(t, content.MD5, handlertest.Fox).String()
	require.Equal(t, 201, put(strings.ToUpper(md5)+".txt", handlertest.Fox).Status)

	requireFault(t, put(fox+".txt", "another body"), 409, "not those of the hash")
	requireFault(t, put(fox, handlertest.Fox), 400, "no extension")
	requireFault(t, put(fox+".tar.gz", handlertest.Fox), 400, "extension")
	requireFault(t, put("..%2F..%2F"+fox+".txt", handlertest.Fox), 422, "hash")
	requireFault(t, put(fox+"%00.txt", handlertest.Fox), 422, "hash")
	requireFault(t, put(strings.Repeat("a", 4000)+".txt", handlertest.Fox), 422, "hash")
	s.requireNoTemp(t)

	a = s.post(t, "/content/download", `{"hash":"`+fox+`"}`)
	require.Equal(t, 200, a.Status)
	require.Equal(t, handlertest.Fox, string(a.Body))
	require.Equal(t, `"`+fox+`"`, a.Header.Get("ETag"))
	a = handlertest.Post(t, s.url+"/content/download", `{"sha1":"`+fox+`"}`, tokenHeader, s.session, "Range", "bytes=4-6")
	require.Equal(t, 206, a.Status)
	require.Equal(t, "fox", string(a.Body))
	a = handlertest.Post(t, s.url+"/content/download", `{"hash":"`+fox+`"}`, tokenHeader, s.session, "Range", "bytes=400-")
	requireFault(t, a, 416, "outside")
	require.Equal(t, "bytes */16", a.Header.Get("Content-Range"))
}

func TestDownloadTakesTheNextClone(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	s.Put(t, "store2", "txt", handlertest.Fox)
	for _, file := range s.files(t, "content") {
		require.NoError(t, os.Remove(file))
		if strings.Contains(file, s.Store(t, "store1").Root()) {
			a := s.post(t, "/content/download", `{"hash":"`+fox+`"}`)
			require.Equal(t, 200, a.Status)
			require.Equal(t, handlertest.Fox, string(a.Body))
		}
	}
	a := s.post(t, "/content/download", `{"hash":"`+fox+`"}`)
	require.Contains(t, []int{503, 404}, a.Status, "the index learns of the loss in the background")
}

func TestRemoveContent(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	s.Put(t, "store2", "txt", handlertest.Fox)
	hash := `{"hash":"` + fox + `"}`
	token := object(t, s.post(t, "/content/purchase", hash))["token"].(string)
	require.Equal(t, 200, s.post(t, "/content/purchase/find", `{"token":"`+token+`"}`).Status)

	a := s.post(t, "/content/remove", hash)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, "Content removed", object(t, a)["success"])
	require.Empty(t, s.files(t, "content"))
	require.Equal(t, false, object(t, s.post(t, "/content/detail", hash))["exists"])
	requireFault(t, s.post(t, "/content/download", hash), 404, "No store")
	requireFault(t, s.post(t, "/content/remove", hash), 404, "File not found")
	requireFault(t, s.post(t, "/content/purchase", hash), 404, "File not found")
	requireFault(t, s.post(t, "/content/purchase/find", `{"token":"`+token+`"}`), 404, "Purchase not found")

	s.Put(t, "store1", "txt", handlertest.Fox)
	require.Equal(t, true, object(t, s.post(t, "/content/detail", hash))["exists"])
	requireFault(t, s.post(t, "/content/purchase/find", `{"token":"`+token+`"}`), 404, "Purchase not found")
}

func TestPurchase(t *testing.T) {
	s := newSite(t, nil)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	s.Put(t, "store1", "mp4", "a film")
	buy := func(fields string) map[string]any {
		a := s.post(t, "/content/purchase", `{"hash":" `+strings.ToUpper(fox)+` "`+fields+`}`)
		require.Equal(t, 200, a.Status, "%s", a.Body)
		require.Equal(t, "1", a.Header.Get("OOSE-Durability"))
		return object(t, a)
	}
	p := buy(``)
	require.Len(t, p["token"], 20)
	require.Equal(t, fox, p["hash"])
	require.Equal(t, "txt", p["ext"])
	require.Equal(t, "", p["referrer"])
	require.Equal(t, "https://cdn.oose.example/"+p["token"].(string)+"/file.txt", p["url"])
	expires := func(p map[string]any) time.Duration {
		var ms int64
		_, err := fmt.Sscan(p["expirationDate"].(string), &ms)
		require.NoError(t, err)
		return time.Until(time.UnixMilli(ms)).Round(time.Minute)
	}
	require.Equal(t, 2*time.Hour, expires(p))
	require.Equal(t, 2*time.Hour, expires(buy(`,"life":0`)))
	require.Equal(t, time.Hour, expires(buy(`,"life":3600000`)))
	require.Equal(t, time.Hour, expires(buy(`,"life":"3600000"`)))
	require.Equal(t, time.Hour, expires(buy(`,"life":3600000.7`)))
	p = buy(`,"ext":".MP4","referrer":["a{1,3}z","localhost"],"ip":["9.9.9.9","10.0.0.0/8"],"count":"3"`)
	require.Equal(t, "mp4", p["ext"])
	require.Equal(t, "a{1,3}z,localhost", p["referrer"])
	require.Equal(t, []any{"9.9.9.9", "10.0.0.0/8"}, p["ip"])
	require.EqualValues(t, 3, p["count"])
	require.True(t, strings.HasSuffix(p["url"].(string), "/video.mp4"))
	require.Equal(t, "localhost", buy(`,"referrer":"localhost"`)["referrer"])
	require.Equal(t, "", buy(`,"referrer":null,"ip":"","ext":null,"count":null`)["referrer"])

	token := `"token":"` + p["token"].(string) + `"`
	found := object(t, s.post(t, "/content/purchase/find", `{`+token+`}`))
	require.Equal(t, p, found)
	updated := object(t, s.post(t, "/content/purchase/update", `{`+token+`,"life":60000,"referrer":[],"ip":"1.2.3.4"}`))
	require.Equal(t, time.Minute, expires(updated))
	require.Equal(t, "", updated["referrer"])
	require.Equal(t, []any{"1.2.3.4"}, updated["ip"])
	updated = object(t, s.post(t, "/content/purchase/update", `{`+token+`,"referrer":"x"}`))
	require.Equal(t, time.Minute, expires(updated))
	require.Equal(t, []any{"1.2.3.4"}, updated["ip"])
	requireFault(t, s.post(t, "/content/purchase/update", `{`+token+`,"referrer":"("}`), 400, "Invalid referrer")

	removed := s.post(t, "/content/purchase/remove", `{`+token+`}`)
	require.JSONEq(t, `{`+token+`,"count":1,"success":"Purchase removed"}`, string(removed.Body))
	requireFault(t, s.post(t, "/content/purchase/remove", `{`+token+`}`), 404, "Purchase not found")
	requireFault(t, s.post(t, "/content/purchase/find", `{`+token+`}`), 404, "Purchase not found")
}

func TestPurchaseFaultsTellTheirHeaders(t *testing.T) {
	for _, compat := range []bool{false, true} {
		s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.Compat = compat })
		a := s.post(t, "/content/purchase", `{"hash":"brown"}`)
		status, body := "422", `{"error":"Invalid HASH passed for purchase"}`
		if compat {
			status, body = "500", `{"error":{"message":"Invalid HASH passed for purchase","name":"UserError"}}`
		}
		require.Equal(t, status, a.Header.Get("OOSE-Code"))
		require.Equal(t, "UserError", a.Header.Get("OOSE-Reason"))
		require.Equal(t, "Invalid HASH passed for purchase", a.Header.Get("OOSE-Message"))
		require.JSONEq(t, body, string(a.Body))
	}
}

var errAway = fmt.Errorf("test: %w", record.ErrUnavailable)
