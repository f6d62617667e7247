package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSettingsOfUploadsAndPurchases: each setting does what the reference says.
func TestSettingsOfUploadsAndPurchases(t *testing.T) {
	parallel(t)
	n := Start(t, Config{
		Oose: `url https://cdn.example/media
		engine badger $DIR/elsewhere
		content {
			hash sha512
			copies 1
			max_size 100KB
		}
		purchase {
			life 90s
			zone q
		}`,
		Purchase: "deny_static zip\n cors https://player.example",
	})
	require.FileExists(t, n.Path("elsewhere", "MANIFEST"), "engine badger <folder>")
	require.NoFileExists(t, n.Path("data", "meta", "MANIFEST"))
	a := n.Login()
	data := noise(t, 100_000)
	res, text, err := a.SendUpload(Part{Field: "file", Name: "f.zip", Body: bytes.NewReader(data)})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	require.Equal(t, "1", res.Header.Get("OOSE-Durability"), "copies 1")
	hash, err := uploaded(text)
	require.NoError(t, err)
	require.Len(t, hash, 128, "hash sha512")
	require.Len(t, append(filesIn(t, n.Path("disk1", "content")), filesIn(t, n.Path("disk2", "content"))...), 1, "copies 1")

	for _, size := range []int{100_001, 200_000} {
		res, text, err = a.SendUpload(Part{Field: "file", Name: "f.zip", Body: bytes.NewReader(noise(t, size))})
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, "max_size: %s", text)
	}
	res, text, err = a.SendUpload(Part{Field: "file", Name: "f.zip", HashType: "sha3", Body: bytes.NewReader(data)})
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "an unknown hash type: %s", text)
	require.Contains(t, string(text), "sha512")
	requireNoTemporaries(t, n)

	var p struct{ Token, ExpirationDate, URL string }
	before := time.Now().UnixMilli()
	a.MustPost("/content/purchase", map[string]any{"hash": hash}, &p)
	expires, err := strconv.ParseInt(p.ExpirationDate, 10, 64)
	require.NoError(t, err)
	require.InDelta(t, 90_000, expires-before, 20_000, "life 90s")
	require.True(t, strings.HasPrefix(p.Token, "q20"), "zone q: %.9s", p.Token)
	require.Equal(t, "https://cdn.example/media/"+p.Token+"/file.zip", p.URL)
	require.Contains(t, n.MustRun("purchase", hash), "https://cdn.example/media/q20")

	url := n.URL("/static/" + hash + "/f.txt")
	res, text = fetch(t, a.HTTP, http.MethodGet, url, "Origin: https://player.example")
	require.Equal(t, http.StatusForbidden, res.StatusCode, "deny_static zip, whatever the name: %s", text)
	require.Equal(t, "https://player.example", res.Header.Get("Access-Control-Allow-Origin"), "a page may read why")
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.zip"), data), "a purchase may fetch it")

	n.Reload(Config{Oose: n.config.Oose, Purchase: "deny_static none"})
	eventually(t, func() bool { return getExactly(a.HTTP, url, data) == nil }, "deny_static none")
	res, _ = fetch(t, a.HTTP, http.MethodGet, url, "Origin: https://player.example")
	require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"), "without cors none may")
}

func TestSettingsOfSessions(t *testing.T) {
	parallel(t)
	const key = "a key that never ends, 0123456789"
	n := Start(t, Config{
		Oose: "session {\n life 3s\n header X-Ours\n key tester {env.TEST_KEY}\n }",
	}, WithEnv("TEST_KEY="+key))
	client := Client(t)
	validate := func(header, token string) int {
		t.Helper()
		res, _ := fetch(t, client, http.MethodPost, n.URL("/user/session/validate"), header+": "+token)
		return res.StatusCode
	}
	a := n.Login()
	require.Equal(t, 200, validate("X-Ours", a.Token))
	require.Equal(t, 401, validate("X-OOSE-Token", a.Token), "header X-Ours takes its place")
	require.Equal(t, 200, validate("X-Ours", key))
	require.Equal(t, 401, validate("X-Ours", key[1:]))
	eventually(t, func() bool { return validate("X-Ours", a.Token) == 401 }, "life 3s")
	require.Equal(t, 200, validate("X-Ours", key), "a key's session never ends")
	require.Contains(t, n.Log(), `"request>headers>X-Ours"`, "the log says what its filter has to delete")
	res, text := fetch(t, client, http.MethodPost, n.URL("/user/logout"), "X-Ours: "+key)
	require.NotEqual(t, http.StatusInternalServerError, res.StatusCode, "%s", text)
	require.Equal(t, 200, validate("X-Ours", key), "nor by its logout")
}

// TestScanComesBack: a store is scanned again and again without being told.
func TestScanComesBack(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Oose: "scan {\n every 1s\n workers 1\n }"})
	data := noise(t, 1000)
	hash := sha256Of(data)
	folder := n.Path("disk1", "content", hash[:2], hash[2:4])
	require.NoError(t, os.MkdirAll(folder, 0o755))
	file := filepath.Join(folder, hash+".zip")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	client := Client(t)
	eventually(t, func() bool { return getExactly(client, n.URL("/static/"+hash+"/f.zip"), data) == nil }, "what appeared is served")
	require.NoError(t, os.Remove(file))
	eventually(t, func() bool {
		res, _ := fetch(t, client, http.MethodGet, n.URL("/static/"+hash+"/f.zip"))
		return res.StatusCode == http.StatusNotFound
	}, "what vanished is unknown")
}

// TestStatusesOfOOSE2 asks one node twice, with and without `compat 2.x`.
func TestStatusesOfOOSE2(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	hash := a.Upload("f.mp4", "", strings.NewReader("no movie"))
	bound := a.Purchase(hash, "mp4", map[string]any{"referrer": []string{"^https://ours"}})
	expired := a.Purchase(hash, "mp4", map[string]any{"life": 1})
	check := func(static, referrer, gone, invalid, fetched int) {
		t.Helper()
		for path, want := range map[string]int{
			"/static/" + hash + "/f.mp4": static, "/" + bound.Token + "/f.mp4": referrer, "/" + expired.Token + "/f.mp4": gone,
		} {
			eventually(t, func() bool {
				res, _ := a.Get(n.URL(path))
				return res.StatusCode == want && res.Header.Get("OOSE-Code") == strconv.Itoa(want)
			}, fmt.Sprintf("%s answers %d", path[:9], want))
		}
		res, text := a.Post("/content/purchase", map[string]string{"hash": "abc"})
		require.Equal(t, invalid, res.StatusCode, "%s", text)
		require.Equal(t, invalid == 500, strings.Contains(string(text), `{"error":{"message":`), "%s", text)
		res, text = a.Post("/content/retrieve", map[string]any{"request": map[string]string{"url": "ftp://x/"}, "extension": "txt"})
		require.Equal(t, fetched, res.StatusCode, "%s", text)
	}
	check(403, 403, 410, 422, 400)
	require.Zero(t, n.Reload(Config{Oose: "compat 2.x"}).Code)
	check(500, 500, 404, 500, 501)
}

// TestAddressesBehindAProxy: what a proxy says of the client counts only where
// it is trusted.
func TestAddressesBehindAProxy(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := []byte("for one address")
	p := a.Purchase(a.Upload("f.txt", "", bytes.NewReader(data)), "txt", map[string]any{"ip": "192.0.2.7"})
	const forwarded = "X-Forwarded-For: 192.0.2.7"
	res, _ := a.Get(n.URL("/"+p.Token+"/f.txt"), forwarded)
	require.Equal(t, http.StatusForbidden, res.StatusCode, "nobody is trusted")
	require.Zero(t, n.Reload(Config{Options: "servers {\n trusted_proxies static 127.0.0.1/32\n }"}).Code)
	res, text := a.Get(n.URL("/"+p.Token+"/f.txt"), forwarded)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	res, _ = a.Get(n.URL("/"+p.Token+"/f.txt"), "X-Forwarded-For: 192.0.2.8")
	require.Equal(t, http.StatusForbidden, res.StatusCode)

	// Guessing is bounded, for each address apart.
	var limited *http.Response
	for i := range 100 {
		res, _ := a.Get(n.URL(fmt.Sprintf("/a20260101guess%06d/f.txt", i)), "X-Forwarded-For: 198.51.100.1")
		if res.StatusCode == http.StatusTooManyRequests {
			limited = res
			require.Equal(t, 60, i, "misses a minute")
			break
		}
		require.Equal(t, http.StatusNotFound, res.StatusCode)
	}
	require.NotNil(t, limited, "100 guesses")
	require.NotEmpty(t, limited.Header.Get("Retry-After"))
	res, _ = a.Get(n.URL("/a20260101guess999999/f.txt"), "X-Forwarded-For: 198.51.100.2")
	require.Equal(t, http.StatusNotFound, res.StatusCode, "another address")
	res, _ = a.Get(n.URL("/"+p.Token+"/f.txt"), forwarded)
	require.Equal(t, http.StatusOK, res.StatusCode)
}

// TestAdminSocketAndJSON: the commands find an admin endpoint that is a socket,
// and a configuration in JSON is as good as its Caddyfile.
func TestAdminSocketAndJSON(t *testing.T) {
	parallel(t)
	// The path of a socket has at most about 100 bytes, the test's folder more.
	folder, err := os.MkdirTemp("", "oose")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := "unix/" + filepath.Join(folder, "admin.sock")
	n := Prepare(t, Config{})
	config := strings.Replace(n.config.String(), "admin 127.0.0.1:$ADMIN", "admin "+socket, 1)
	n.Configure(Config{Text: config})
	n.Begin()
	require.NoError(t, os.WriteFile(n.Path("f.txt"), []byte("by a socket"), 0o600))
	var put struct{ Hash, URL string }
	require.NoError(t, json.Unmarshal([]byte(n.MustRun("put", "--json", "--address", socket, n.Path("f.txt"))), &put))
	require.NoError(t, getExactly(Client(t), put.URL, []byte("by a socket")))
	require.Contains(t, n.MustRun("status", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile"), "disk1", "the socket that the configuration names")

	adapted := n.MustRun("adapt", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile")
	require.NoError(t, os.WriteFile(n.Path("caddy.json"), []byte(adapted), 0o600))
	n.MustRun("validate", "--config", n.Path("caddy.json"))
	n.MustRun("reload", "--address", socket, "--config", n.Path("caddy.json"), "--force")
	require.NoError(t, getExactly(Client(t), put.URL, []byte("by a socket")))
	require.Contains(t, n.MustRun("inventory", "--address", socket, "disk2"), put.Hash)
}

// TestRetrieveReachesNoAdminEndpoint: who may fetch from private addresses may
// not read or change the configuration.
func TestRetrieveReachesNoAdminEndpoint(t *testing.T) {
	parallel(t)
	// The node knows its usual endpoint, and not that a configuration has another.
	n := Start(t, Config{Oose: "content {\n retrieve_private\n }"}, WithEnv("CADDY_ADMIN=127.0.0.1:1"))
	a := n.Login()
	for _, request := range []map[string]any{
		{"url": n.AdminURL("/config/")},
		{"url": n.AdminURL("/config/"), "headers": map[string]string{"Sec-Fetch-Mode": "cors", "sec-fetch-mode": "navigate"}},
		{"url": n.AdminURL("/stop"), "method": "POST"},
		{"url": strings.Replace(n.AdminURL("/oose/users/mallory"), "127.0.0.1", "localhost", 1), "method": "PUT", "body": `{"password":"x"}`},
	} {
		res, text := a.Post("/content/retrieve", map[string]any{"request": request, "extension": "json"})
		require.Contains(t, []int{http.StatusForbidden, http.StatusBadGateway}, res.StatusCode, "%s: %s", request, text)
	}
	require.NotContains(t, n.MustRun("user", "list", "--address", n.Expand("127.0.0.1:$ADMIN")), "mallory")
	require.Empty(t, filesIn(t, n.Path("disk1", "content")))
}

// TestCommandsRefuse: a command that can't do what it is told says why, and
// tells it by its exit status.
func TestCommandsRefuse(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"put"}, "arg"},
		{[]string{"put", n.Path("none")}, "no such file"},
		{[]string{"get", "abc"}, "invalid hash"},
		{[]string{"get", strings.Repeat("0", 40)}, "No store"},
		{[]string{"purchase", strings.Repeat("0", 40)}, "No store"},
		{[]string{"revoke", "abc"}, "token"},
		{[]string{"inventory", "none"}, "no store"},
		{[]string{"scan"}, "arg"},
		{[]string{"verify", "none"}, "no store"},
		{[]string{"adopt", "none"}, "no store"},
		{[]string{"user"}, "name one of the commands"},
		{[]string{"user", "promote"}, "unknown command"},
		{[]string{"oose", "putt"}, "unknown command"},
		{[]string{"drain", "none"}, "none"},
		{[]string{"forget", "disk1"}, "disk1"},
		{[]string{"status", "--address", "127.0.0.1:1"}, "oose run"},
	} {
		r := n.Run(c.args...)
		require.NotZero(t, r.Code, "oose %s: %s", c.args, r.Out)
		require.Contains(t, r.Err, c.says, "oose %s", c.args)
		require.NotContains(t, r.Err, "goroutine", "oose %s", c.args)
	}
}
