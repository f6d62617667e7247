package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// status is what a plain GET of an address is answered with.
func status(t testing.TB, n *Node, url string, headers ...string) int {
	t.Helper()
	res, _ := fetch(t, n.Client(), http.MethodGet, url, headers...)
	return res.StatusCode
}

// A block holds at every node within a second: what is asked for from then on
// is refused, what is being sent finishes, and nothing comes back in by any
// door. Its end holds as fast.
func TestTakedownInACluster(t *testing.T) {
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		one := c.Prism1.Login()
		two := one.use(c.Prism2)
		data := noise(t, 8<<20)
		hash := one.Upload("film.mp4", "sha256", bytes.NewReader(data))
		note := one.Upload("note.txt", "sha256", strings.NewReader("it was taken down"))
		kept := one.Upload("kept.txt", "sha256", strings.NewReader("it was not"))
		token := one.Purchase(hash, "mp4", nil).Token
		urls := map[*Node][]string{}
		for _, n := range []*Node{c.Prism1, c.Prism2} {
			urls[n] = []string{n.URL("/" + token + "/film.mp4"), n.URL("/static/" + note + "/note.txt")}
			for _, url := range urls[n] {
				eventually(t, func() bool { return status(t, n, url) == http.StatusOK }, url)
			}
		}
		clones := detail(one, hash).Count
		require.Equal(t, 2, clones)

		// A viewer at the other prism is in the middle of it.
		req, err := http.NewRequest(http.MethodGet, urls[c.Prism2][0]+"?rate=4m", nil)
		require.NoError(t, err)
		running, err := two.HTTP.Do(req)
		require.NoError(t, err)
		defer running.Body.Close()
		first := make([]byte, 1000)
		_, err = io.ReadFull(running.Body, first)
		require.NoError(t, err)

		out := c.Prism1.MustRun("block", "--reason", "a court said so", hash, note)
		require.Contains(t, out, "blocked  "+hash)
		require.Contains(t, out, "known at ")
		for _, url := range urls[c.Prism1] {
			require.Equal(t, http.StatusForbidden, status(t, c.Prism1, url), "here at once")
		}
		began := time.Now()
		for _, url := range urls[c.Prism2] {
			eventually(t, func() bool { return status(t, c.Prism2, url) == http.StatusForbidden }, "elsewhere too")
		}
		t.Logf("the other prism refused %s after the command had ended", time.Since(began).Round(time.Millisecond))
		require.Equal(t, http.StatusForbidden, status(t, c.Prism2, urls[c.Prism2][0], `If-None-Match: "`+hash+`"`))
		require.Equal(t, http.StatusForbidden, status(t, c.Prism2, urls[c.Prism2][0], "Range: bytes=5-"))
		rest, err := io.ReadAll(running.Body)
		require.NoError(t, err, "what is being sent finishes")
		require.True(t, bytes.Equal(data, append(first, rest...)))

		for _, a := range []*API{one, two} {
			require.Equal(t, 0, detail(a, hash).Count)
			res, text := a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "mp4"})
			require.Equal(t, http.StatusForbidden, res.StatusCode, "%s", text)
			res, text = a.Post("/content/download", map[string]any{"hash": hash})
			require.Equal(t, http.StatusForbidden, res.StatusCode, "%s", text)
			res, text, err := a.SendUpload(Part{Field: "file", Name: "again.mp4", HashType: "sha256", Body: bytes.NewReader(data)})
			require.NoError(t, err)
			require.Equal(t, http.StatusForbidden, res.StatusCode, "%s", text)
		}
		res, _ := fetch(t, c.Prism2.Client(), http.MethodGet, c.Prism2.AdminURL("/oose/content/"+hash))
		require.Equal(t, http.StatusForbidden, res.StatusCode)
		require.Equal(t, http.StatusOK, status(t, c.Prism2, c.Prism2.URL("/static/"+kept+"/kept.txt")), "other content is not touched")
		files := 0
		for _, s := range []*Node{c.Store1, c.Store2, c.Store3, c.Store4} {
			if s != nil {
				found, err := filepath.Glob(s.Path("content", "content", "*", "*", hash+"*"))
				require.NoError(t, err)
				files += len(found)
			}
		}
		require.Equal(t, clones, files, "what is blocked is not removed, and not put there again")

		require.Contains(t, c.Prism2.MustRun("block", "--list"), "a court said so")
		c.Prism2.MustRun("block", "--hide", note)
		eventually(t, func() bool { return status(t, c.Prism1, urls[c.Prism1][1]) == http.StatusNotFound }, "hidden")

		c.Prism2.MustRun("unblock", hash, note)
		for n, list := range urls {
			for _, url := range list {
				eventually(t, func() bool { return status(t, n, url) == http.StatusOK }, "it is given again")
			}
		}
		require.Equal(t, hash, two.Upload("again.mp4", "sha256", bytes.NewReader(data)))

		require.Equal(t, []string{"content.block", "content.block"}, audited(t, c.Prism1), "each node has what was done through it")
		require.Equal(t, []string{"content.block", "content.unblock", "content.unblock"}, audited(t, c.Prism2))
	})
}

// audited lists the actions in a node's audit log.
func audited(t testing.TB, n *Node) (actions []string) {
	t.Helper()
	for line := range strings.Lines(n.MustRun("audit", "--json")) {
		var e struct{ Action, Node string }
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		actions = append(actions, e.Action)
	}
	return actions
}

// A node that was away learns of a block when it returns, before it gives
// anything; copies that it keeps go.
func TestTakedownReachesCopies(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "content {\n copies 1\n }")
	one, two := c.Nodes["edge1"], c.Nodes["edge2"]
	two.Configure(Config{Text: strings.Replace(edgeText("edge2", "join "+one.URL(""), "content {\n copies 1\n }"),
		"reserve 1MB", "reserve 1MB\n\t\t\tcache 1GB", 1)})
	c.start()
	a := one.Login()
	var data []byte
	var hash string
	for hash == "" || detail(a, hash).Map[0] != "edge1:edge1disk" {
		data = noise(t, 100_000)
		hash = a.Upload("f.txt", "sha256", bytes.NewReader(data))
	}
	copies := func() int {
		found, err := filepath.Glob(two.Path("disk", "cache", "*", hash+"*"))
		require.NoError(t, err)
		return len(found)
	}
	url := two.URL("/static/" + hash + "/f.txt")
	keep := func() {
		eventually(t, func() bool { return status(t, two, url) == http.StatusOK && copies() == 1 }, "a copy is kept")
	}
	keep()
	one.MustRun("block", hash)
	eventually(t, func() bool { return status(t, two, url) == http.StatusForbidden && copies() == 0 }, "the copy goes")
	one.MustRun("unblock", hash)
	keep()

	two.Stop()
	one.MustRun("block", hash)
	two.Restart()
	c.waitPeers()
	eventually(t, func() bool { return copies() == 0 }, "who was away learns of it")
	require.Equal(t, http.StatusForbidden, status(t, two, url))
}

// A single node: every way of taking content in refuses what is blocked, also
// with the statuses of OOSE 2.x, and the audit log tells who did what.
func TestTakedownAndAudit(t *testing.T) {
	parallel(t)
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "it was taken down") }))
	defer remote.Close()
	oose := "content {\n retrieve_private\n }"
	n := Start(t, Config{Oose: oose})
	a := n.Login()
	const body = "it was taken down"
	hash := a.Upload("note.txt", "sha1", strings.NewReader(body))
	p := a.Purchase(hash, "txt", nil)
	n.MustRun("block", hash)
	res, _ := a.Post("/content/retrieve", map[string]any{"request": remote.URL + "/x", "extension": "txt"})
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	file := n.Path("note.txt")
	require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
	put := n.Run("put", file)
	require.NotZero(t, put.Code)
	require.Contains(t, put.Err, "This content is blocked")
	require.Zero(t, n.Reload(Config{Oose: oose + "\n compat 2.x"}).Code)
	eventually(t, func() bool { return status(t, n, p.URL) == http.StatusNotFound }, "as OOSE 2.x would have it")
	require.Zero(t, n.Reload(Config{Oose: oose}).Code)
	n.Kill()
	n.Restart()
	require.Equal(t, http.StatusForbidden, status(t, n, p.URL), "a block survives")
	n.MustRun("unblock", hash)
	again := n.Run("unblock", hash)
	require.NotZero(t, again.Code)
	require.Contains(t, again.Err, "not blocked")

	n.MustRunWith([]byte("her own password\n"), "user", "add", "alice")
	a = n.LoginAs("alice", "her own password")
	a.MustPost("/content/purchase/remove", map[string]string{"token": p.Token}, nil)
	a.MustPost("/content/remove", map[string]string{"hash": hash}, nil)
	n.MustRun("user", "remove", "alice")
	log, err := os.ReadFile(n.Path("data", "audit.log"))
	require.NoError(t, err)
	require.NotContains(t, string(log), p.Token)
	require.NotContains(t, string(log), "password")
	info, err := os.Stat(n.Path("data", "audit.log"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, []string{"content.block", "content.unblock", "user.add", "purchase.remove", "content.remove", "user.remove"}, audited(t, n))
	out := n.MustRun("audit")
	require.Regexp(t, `purchase.remove +`+p.Token[:9]+`~[0-9a-f]{6}  `+hash+`  by session:alice  from 127\.0\.0\.1`, out)
	require.Regexp(t, `user.remove +user alice  by admin`, out)
	require.Empty(t, n.MustRun("audit", "--since", "2100-01-01"))
}
