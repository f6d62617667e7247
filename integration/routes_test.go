package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// routesOfStores is a site with a store of its own, and one for all stores by
// the names of their hosts.
const routesOfStores = `http://localhost:$TLS {
	bind 127.0.0.1
	oose_store disk1 $DIR/disk1 {
		basic_auth oose <hash>
	}
}
http://*.oose.test:$TLS {
	bind 127.0.0.1
	oose_store {
		basic_auth oose <hash>
	}
}
`

// basicAPI is a client with the credentials of private routes, and no session.
func basicAPI(t *testing.T, base string) *API {
	return &API{t: t, base: base, HTTP: &http.Client{Transport: credentials{Client(t).Transport}}}
}

type credentials struct{ http.RoundTripper }

func (c credentials) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth("oose", Password)
	return c.RoundTripper.RoundTrip(r)
}

// startWithCredentials starts a node whose prism and stores have private routes.
func startWithCredentials(t *testing.T) *Node {
	return Start(t, Config{
		Prism:  "basic_auth oose " + passwordHash(),
		Stores: "store disk2 $DIR/disk2 {\n reserve 1MB\n }\n store disk1 $DIR/disk1 {\n reserve 1MB\n }",
		Sites:  strings.ReplaceAll(routesOfStores, "<hash>", passwordHash()),
	})
}

// put sends bytes to a route that takes a file.
func (a *API) put(path string, data []byte) (*http.Response, []byte) {
	a.t.Helper()
	req, err := http.NewRequest(http.MethodPut, a.base+path, bytes.NewReader(data))
	require.NoError(a.t, err)
	return a.Do(req)
}

// TestWhoMayUseWhichRoute asks each route of the API without credentials, and
// with methods that it does not have.
func TestWhoMayUseWhichRoute(t *testing.T) {
	parallel(t)
	n := startWithCredentials(t)
	client := Client(t)
	prism, store := n.URL(""), n.Expand("http://localhost:$TLS")
	file := "/content/put/" + strings.Repeat("a", 40) + ".bin"
	for _, c := range []struct{ base, path, method, body string }{
		{prism, "/user/logout", "POST", ""}, {prism, "/user/session/validate", "POST", ""}, {prism, "/user/session/update", "POST", ""},
		{prism, "/user/password/reset", "POST", ""}, {prism, "/content/detail", "POST", ""}, {prism, "/content/upload", "POST", ""},
		{prism, "/content/retrieve", "POST", ""}, {prism, "/content/purchase", "POST", ""}, {prism, "/content/purchase/remove", "POST", ""},
		{prism, "/content/purchase/find", "POST", ""}, {prism, "/content/purchase/update", "POST", ""}, {prism, "/content/download", "POST", ""},
		{prism, "/content/remove", "POST", ""}, {prism, "/content/exists", "POST", ""}, {prism, file, "PUT", ""},
		{prism, "/cache/flush", "POST", ""}, {prism, "/cache/detail", "POST", ""},
		{store, file, "PUT", ""}, {store, "/content/download", "POST", ""}, {store, "/content/exists", "POST", ""}, {store, "/content/detail", "POST", ""},
		{store, "/content/remove", "POST", ""}, {store, "/content/send", "POST", ""}, {store, "/content/verify", "POST", ""},
	} {
		res, body := fetch(t, client, c.method, c.base+c.path)
		require.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s: %s", c.path, body)
		require.Equal(t, "Unauthorized", string(body), c.path)
		require.Equal(t, `Basic realm="Authorization Required"`, res.Header.Get("WWW-Authenticate"), c.path)
		res, _ = fetch(t, client, http.MethodDelete, c.base+c.path)
		require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode, c.path)
		require.Contains(t, res.Header.Get("Allow"), c.method, c.path)
		res, body = fetch(t, client, http.MethodOptions, c.base+c.path)
		require.Equal(t, http.StatusNoContent, res.StatusCode, c.path)
		require.Contains(t, res.Header.Get("Allow"), c.method, c.path)
		require.Empty(t, body, c.path)
	}
	for _, base := range []string{prism, store} {
		for path, want := range map[string]string{"/": `"message":"Welcome to OOSE version `, "/ping": `{"pong":"pong"}`, "/stats": `"stat":`} {
			res, body := fetch(t, client, http.MethodGet, base+path)
			require.Equal(t, http.StatusOK, res.StatusCode, path)
			require.Contains(t, string(body), want)
			head, body := fetch(t, client, http.MethodHead, base+path)
			require.Equal(t, http.StatusOK, head.StatusCode, path)
			require.Empty(t, body)
		}
	}
	res, body := fetch(t, client, http.MethodGet, n.URL("/crossdomain.xml"))
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Contains(t, string(body), `<allow-access-from domain="*"`)
	session := n.Login()
	session.Token = "no such session"
	session.HTTP = basicAPI(t, "").HTTP
	res, body = session.Post("/content/detail", map[string]string{"hash": "x"})
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "a bad token wins over good credentials")
	require.True(t, json.Valid(body), "%s", body)
}

// TestPrivateRoutesOfAPrism does with its credentials what takes no session.
func TestPrivateRoutesOfAPrism(t *testing.T) {
	parallel(t)
	n := startWithCredentials(t)
	a := basicAPI(t, n.URL(""))
	data := noise(t, 70_000)
	hash := sha1Of(data)

	res, text := a.put("/content/put/"+hash+".zip", data)
	require.Equal(t, http.StatusCreated, res.StatusCode, "%s", text)
	require.JSONEq(t, `{"success":"File uploaded","file":"`+hash+`.zip"}`, string(text))
	res, text = a.put("/content/put/"+hash+".zip", data[1:])
	require.Equal(t, http.StatusConflict, res.StatusCode, "%s", text)
	for _, name := range []string{"abc.zip", hash, "..%2f" + hash + ".zip", strings.Repeat("g", 40) + ".zip"} {
		res, text = a.put("/content/put/"+name, data)
		require.GreaterOrEqual(t, res.StatusCode, 400, "%s: %s", name, text)
		require.Less(t, res.StatusCode, 500, "%s: %s", name, text)
	}
	requireNoTemporaries(t, n)

	res, text = a.Post("/content/download", map[string]string{"hash": hash})
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	require.True(t, bytes.Equal(data, text))

	var one struct {
		Exists bool
		Count  int
		Map    []string
	}
	a.MustPost("/content/exists", map[string]any{"sha1": hash, "timeout": 10, "retryCount": 2}, &one)
	require.True(t, one.Exists)
	require.Equal(t, 1, one.Count, "it was put to one of the stores")
	require.Len(t, one.Map, 1)
	var many map[string]struct{ Exists bool }
	a.MustPost("/content/exists", map[string]any{"hash": []string{hash, strings.Repeat("0", 40), "", "../x"}}, &many)
	require.Len(t, many, 4)
	require.True(t, many[hash].Exists)
	require.False(t, many["../x"].Exists)

	var counted struct {
		Success string
		Count   int
		Data    map[string]int
	}
	a.MustPost("/cache/detail", map[string]string{"command": "all"}, &counted)
	require.Equal(t, "ok", counted.Success)
	require.Equal(t, 70_000, counted.Data["stat.prism.content.bytesUploaded"])
	a.MustPost("/cache/flush", map[string]string{"command": "all"}, &counted)
	require.Positive(t, counted.Count)
	counted.Data = nil
	a.MustPost("/cache/detail", map[string]string{"command": "stats"}, &counted)
	require.Zero(t, counted.Data["stat.prism.content.bytesUploaded"])
	res, text = a.Post("/cache/flush", map[string]string{"command": "everything"})
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "%s", text)
	require.NoError(t, getExactly(a.HTTP, n.URL("/static/"+hash+"/f.zip"), data), "what was flushed is read again")
}

// TestRoutesOfAStore does all that a store's own API has.
func TestRoutesOfAStore(t *testing.T) {
	parallel(t)
	n := startWithCredentials(t)
	a := basicAPI(t, n.Expand("http://localhost:$TLS"))
	data := noise(t, 50_000)
	hash := sha256Of(data)
	file := hash + ".zip"
	n.Eventually(func() bool { return n.Run("inventory", "disk2").Code == 0 && n.Run("inventory", "disk1").Code == 0 }, "the stores are there")

	res, text := a.put("/content/put/"+file, data)
	require.Equal(t, http.StatusCreated, res.StatusCode, "%s", text)
	require.JSONEq(t, `{"hash":"`+hash+`"}`, string(text))
	res, text = a.put("/content/put/"+file, data[:100])
	require.Equal(t, http.StatusConflict, res.StatusCode, "%s", text)
	require.Len(t, filesIn(t, n.Path("disk1", "content")), 1)
	require.Empty(t, filesIn(t, n.Path("disk2", "content")), "a store's own route fills no other store")

	res, text = a.Post("/content/download", map[string]string{"hash": hash})
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.True(t, bytes.Equal(data, text))
	_, text = a.Post("/content/exists", map[string]any{"hash": []string{hash, "00"}})
	require.JSONEq(t, `{"`+hash+`":{"exists":true,"ext":"zip"},"00":{"exists":false,"ext":""}}`, string(text))
	_, text = a.Post("/content/exists", map[string]any{"hash": hash})
	require.JSONEq(t, `{"exists":{"exists":true,"ext":"zip"}}`, string(text))
	_, text = a.Post("/content/detail", map[string]any{"hash": hash})
	require.Equal(t, "disk1", jsonAt(t, text, "store"))
	require.Equal(t, "edge1", jsonAt(t, text, "prism"))
	require.Equal(t, "zip", jsonAt(t, text, "hashDetail", "ext"))

	_, text = a.Post("/content/send", map[string]string{"file": file, "store": "edge1:disk2"})
	require.Equal(t, "Clone sent", jsonAt(t, text, "success"), "%s", text)
	require.Len(t, filesIn(t, n.Path("disk2", "content")), 1)
	_, text = a.Post("/content/verify", map[string]any{"file": file})
	require.Contains(t, string(text), `"verifySkipped":true`, "it was verified when it was written")
	_, text = a.Post("/content/verify", map[string]any{"file": file, "force": true})
	require.Equal(t, "ok", jsonAt(t, text, "status"))
	require.Equal(t, hash, jsonAt(t, text, "actualHash"))

	_, text = a.Post("/content/remove", map[string]string{"hash": hash})
	require.Equal(t, "File removed", jsonAt(t, text, "success"), "%s", text)
	require.Empty(t, filesIn(t, n.Path("disk1", "content")))
	require.Len(t, filesIn(t, n.Path("disk2", "content")), 1, "only this store's clone is removed")
	require.NoError(t, getExactly(Client(t), n.URL("/static/"+hash+"/f.zip"), data))
	for path, body := range map[string]any{
		"/content/remove": map[string]string{"hash": hash}, "/content/detail": map[string]string{"hash": hash},
		"/content/verify": map[string]string{"file": file}, "/content/download": map[string]string{"hash": hash},
	} {
		res, text = a.Post(path, body)
		require.Equal(t, http.StatusNotFound, res.StatusCode, "%s: %s", path, text)
	}
}

// TestStoresByTheirHosts asks one site for several stores.
func TestStoresByTheirHosts(t *testing.T) {
	parallel(t)
	n := startWithCredentials(t)
	a := n.Login()
	data := noise(t, 5000)
	hash := a.Upload("f.zip", "", bytes.NewReader(data))
	p := a.Purchase(hash, "zip", nil)
	var pairs []string
	for i := 0; i < len(hash); i += 2 {
		pairs = append(pairs, hash[i:i+2])
	}
	path := strings.Join(pairs, "/") + ".zip"
	base := n.Expand("http://127.0.0.1:$TLS")
	for _, store := range []string{"disk1", "disk2"} {
		host := "Host: " + n.Expand(store+".oose.test:$TLS")
		for _, at := range []string{"/static/" + path, "/play/" + p.Token + "/video.zip"} {
			res, body := fetch(t, a.HTTP, http.MethodGet, base+at, host, "Range: bytes=100-")
			require.Equal(t, http.StatusPartialContent, res.StatusCode, "%s: %s", at, body)
			require.True(t, bytes.Equal(data[100:], body))
		}
		res, body := fetch(t, a.HTTP, http.MethodGet, base+"/purchase/uri/play/"+p.Token+"/video.zip", host)
		require.Equal(t, http.StatusOK, res.StatusCode)
		inRoot, found := strings.CutPrefix(string(body), "/../content/")
		require.True(t, found, "%s", body)
		require.FileExists(t, n.Path(store, "content", inRoot), "nginx finds the file where it lies")
		res, body = fetch(t, a.HTTP, http.MethodGet, base+"/purchase/uri/play/a20200101aaaaaaaaaaa/video.zip", host)
		require.Equal(t, http.StatusNotFound, res.StatusCode)
		require.Equal(t, "/404", string(body))
	}
	res, _ := fetch(t, a.HTTP, http.MethodGet, base+"/ping", "Host: "+n.Expand("disk3.oose.test:$TLS"))
	require.Equal(t, http.StatusNotFound, res.StatusCode, "no such store")
}

// TestSessionsOfAPerson walks through what a session can do.
func TestSessionsOfAPerson(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	n.MustRunWith([]byte("her own password\n"), "user", "add", "alice")
	a, other := n.LoginAs("alice", "her own password"), n.LoginAs("alice", "her own password")
	var answer struct {
		Session struct{ Data map[string]any }
	}
	a.MustPost("/user/session/update", map[string]any{"data": map[string]any{"volume": 7}}, nil)
	a.MustPost("/user/session/validate", map[string]any{}, &answer)
	require.EqualValues(t, 7, answer.Session.Data["volume"])
	res, text := a.Post("/user/session/update", map[string]any{"data": "text"})
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "%s", text)

	var reset struct{ Password string }
	a.MustPost("/user/password/reset", map[string]any{}, &reset)
	require.GreaterOrEqual(t, len(reset.Password), 12)
	res, _ = other.Post("/user/session/validate", map[string]any{})
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "sessions end with the password they began with")
	n.LoginAs("alice", reset.Password)
	declared := n.Login()
	res, text = declared.Post("/user/password/reset", map[string]any{})
	require.Equal(t, http.StatusConflict, res.StatusCode, "the configuration declares this user: %s", text)
	n.MustRun("user", "remove", "alice")
	res, _ = a.Post("/user/session/validate", map[string]any{})
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
}
