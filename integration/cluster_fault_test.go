package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edges prepares nodes on this machine that are prism and store each.
func edges(t *testing.T, n int, more string) *Cluster {
	t.Helper()
	return prepareEdges(t, n, more, func(i int) []Option { return []Option{WithHost(fmt.Sprintf("127.0.3.%d", i))} })
}

// connections is what a node says of those with others.
func connections(t testing.TB, n *Node) (list []struct{ Name, State, LastError, Address string }, conflict string) {
	t.Helper()
	var answer struct {
		Connections []struct{ Name, State, LastError, Address string }
		Conflict    string
	}
	_, text := fetch(t, n.Client(), http.MethodGet, n.AdminURL("/oose/peers"))
	require.NoError(t, json.Unmarshal(text, &answer), "%s", text)
	return answer.Connections, answer.Conflict
}

// refusedBecause waits until a node tells why it can't connect.
func refusedBecause(t testing.TB, n *Node, words ...string) {
	t.Helper()
	n.Eventually(func() bool {
		list, conflict := connections(t, n)
		all := conflict
		for _, c := range list {
			all += "\n" + c.LastError
		}
		for _, w := range words {
			if !strings.Contains(all, w) {
				return false
			}
		}
		return true
	}, fmt.Sprintf("the node tells of %q", words))
}

// Nodes that are not of the cluster stay out, and say why.
func TestClusterRefusesStrangers(t *testing.T) {
	parallel(t)
	c := edges(t, 1, "")
	c.start()
	one := c.Nodes["edge1"]
	token := one.Login().Purchase(one.Login().Upload("f.bin", "", strings.NewReader("ours")), "bin", nil).Token

	for i, s := range []struct {
		name, from, to string
		why            []string
	}{
		{"another secret", clusterSecret, "a secret of somebody else", []string{"secret"}},
		{"another domain", "domain oose.test", "domain other.test", []string{"other.test", "oose.test"}},
		{"a name that is taken", "name stranger", "name edge1", []string{"edge1", one.URL("")}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := Prepare(t, Config{Text: "# not yet"}, WithHost(fmt.Sprintf("127.0.3.%d", 10+i)))
			n.Configure(Config{Text: strings.ReplaceAll(edgeText("stranger", "join "+one.URL(""), ""), s.from, s.to)})
			n.SpawnOnly()
			refusedBecause(t, n, s.why...)
			res, _ := fetch(t, n.Client(), http.MethodGet, n.URL("/"+token+"/f.bin"))
			require.NotEqual(t, http.StatusOK, res.StatusCode)
			require.NotEqual(t, http.StatusOK, pingStatus(t, n), "a node that waits for its cluster is not ready")
			require.Len(t, c.Peers(one), 2, "and is not in the registry")
		})
	}
}

func pingStatus(t testing.TB, n *Node) int {
	t.Helper()
	res, _ := fetch(t, n.Client(), http.MethodGet, n.URL("/ping"))
	return res.StatusCode
}

// What answers garbage, for ever, or never, holds nobody up.
func TestClusterBadNeighbours(t *testing.T) {
	parallel(t)
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(noise(t, 100_000))
	}))
	t.Cleanup(garbage.Close)
	flood := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(flood.CloseClientConnections)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })

	c := edges(t, 2, "")
	two := c.Nodes["edge2"]
	two.Configure(Config{Text: edgeText("edge2", strings.Join([]string{"join", garbage.URL, flood.URL, "http://" + silent.Addr().String(),
		c.Nodes["edge1"].URL("")}, " "), "")})
	c.start()
	a := c.Nodes["edge1"].Login()
	token := a.Purchase(a.Upload("f.bin", "", strings.NewReader("hello")), "bin", nil).Token
	require.Equal(t, http.StatusOK, c.get("edge2", token))
}

// A node whose database was lost goes on as a new writer, and the others give
// it back what it knew.
func TestClusterLostDatabase(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	one := c.Nodes["edge1"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	token := a.Purchase(hash, "bin", nil).Token
	c.agree()
	one.Kill()
	require.NoError(t, os.RemoveAll(one.Path("data", "meta")))
	// It has to be told of somebody, as everyone is who begins anew.
	one.Configure(Config{Text: edgeText("edge1", "join "+c.Nodes["edge2"].URL(""), "")})
	one.Restart()
	require.Equal(t, http.StatusOK, c.get("edge1", token), "its own purchase from before")
	a = one.Login()
	more := a.Purchase(hash, "bin", nil).Token
	require.Equal(t, http.StatusOK, c.get("edge2", more))
	c.waitPeers()
	c.agree()
	require.Equal(t, 2, detail(a, hash).Count)
}

// A database that was restored from an old copy does not take back what was
// written since.
func TestClusterRestoredDatabase(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	one := c.Nodes["edge1"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	before := a.Purchase(hash, "bin", nil).Token
	c.agree()
	one.Stop()
	require.NoError(t, os.CopyFS(one.Path("copy"), os.DirFS(one.Path("data", "meta"))))
	one.Restart()
	a = one.Login()
	since := a.Purchase(hash, "bin", nil).Token
	a.MustPost("/content/purchase/remove", map[string]string{"token": before}, nil)
	later := a.Upload("g.bin", "sha256", strings.NewReader("hello again"))
	c.agree()
	one.Stop()
	require.NoError(t, os.RemoveAll(one.Path("data", "meta")))
	require.NoError(t, os.CopyFS(one.Path("data", "meta"), os.DirFS(one.Path("copy"))))
	one.Restart()
	require.Equal(t, http.StatusOK, c.get("edge1", since), "made after the copy")
	eventually(t, func() bool { return c.get("edge1", before) == http.StatusNotFound }, "revoked after the copy")
	a = one.Login()
	eventually(t, func() bool { return detail(a, later).Count == 2 }, "its store's inventory is known anew")
	again := a.Purchase(later, "bin", nil).Token
	require.Equal(t, http.StatusOK, c.get("edge2", again), "what it writes from now on")
	require.Equal(t, http.StatusNotFound, c.get("edge2", before))
	c.waitPeers()
	c.agree()
}

// A medium that moves to another node is served there, also when the former owner
// comes back with a copy of it.
func TestClusterMediumMoves(t *testing.T) {
	parallel(t)
	c := edges(t, 3, "content {\n copies 1\n }")
	c.start()
	a := c.Nodes["edge1"].Login()
	var tokens []string
	for i := range 12 {
		hash := a.Upload("f.bin", "sha256", bytes.NewReader(noise(t, 1000+i)))
		tokens = append(tokens, a.Purchase(hash, "bin", nil).Token)
	}
	two, three := c.Nodes["edge2"], c.Nodes["edge3"]
	two.Kill()
	moved := filepath.Join(three.Dir, "moved")
	require.NoError(t, os.CopyFS(moved, os.DirFS(two.Path("disk"))))
	r := three.Reload(Config{Text: edgeText("edge3", "join "+c.Nodes["edge1"].URL(""), "content {\n copies 1\n }\n store edge2disk $DIR/moved {\n reserve 1MB\n }")})
	require.Zero(t, r.Code, r.Err)
	for i, token := range tokens {
		eventually(t, func() bool { return c.get("edge1", token) == http.StatusOK }, fmt.Sprintf("content %d is served from where its medium is now", i))
	}
	for _, p := range c.Peers(c.Nodes["edge1"]) {
		if strings.HasSuffix(p.Name, ":edge2disk") {
			require.Equal(t, "edge3", p.Node)
			require.True(t, p.Available)
		}
	}

	// The former owner comes back with the old copy of the medium.
	two.SpawnOnly()
	two.Eventually(func() bool {
		status := statusOf(t, two)
		stores, _ := status["stores"].([]any)
		first, _ := stores[0].(map[string]any)
		return first["state"] == "offline" && strings.Contains(fmt.Sprint(first["reason"]), "edge3")
	}, "the copy is refused, naming who has it")
	c.waitHeard()
	c.waitPeers()
	for _, token := range tokens {
		for name := range c.Nodes {
			eventually(t, func() bool {
				status := c.get(name, token)
				require.NotEqual(t, http.StatusNotFound, status)
				return status == http.StatusOK
			}, name+" serves it from where its medium is now")
		}
	}
}

// A node that is gone may know what nobody else does, and is asked for it until it
// is back or forgotten.
func TestForgetANodeThatIsGone(t *testing.T) {
	parallel(t)
	c := edges(t, 3, "")
	c.start()
	one, three := c.Nodes["edge1"], c.Nodes["edge3"]
	r := one.Run("forget", "edge3")
	require.NotZero(t, r.Code)
	require.Contains(t, r.Err, "stop its node first")
	three.Kill()
	login := func(node string) int {
		n := c.Nodes[node]
		a := &API{t: t, base: n.URL(""), HTTP: n.Client()}
		res, _ := a.Post("/user/login", map[string]string{"username": "nobody", "password": "nothing"})
		return res.StatusCode
	}
	eventually(t, func() bool { return login("edge1") == http.StatusServiceUnavailable }, "it may know that user")
	for _, name := range []string{"edge3", "edge3disk"} {
		eventually(t, func() bool { return one.Run("forget", name).Code == 0 }, name+" is forgotten")
	}
	for _, node := range []string{"edge1", "edge2"} {
		eventually(t, func() bool { return login(node) == http.StatusUnauthorized }, "nobody else may know")
		eventually(t, func() bool { return c.Nodes[node].Run("status").Code == 0 }, "nothing is missed")
	}
	three.Restart()
	c.waitPeers()
}

// A purchase's answer tells when no other node has it yet.
func TestClusterDurability(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	a := c.Nodes["edge1"].Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	res, _ := a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NotEqual(t, "1", res.Header.Get("OOSE-Durability"), "another node has it")
	c.Nodes["edge2"].Kill()
	res, _ = a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "1", res.Header.Get("OOSE-Durability"), "nobody is there to have it")
}

// A reload ends no node's following of another for longer than a moment.
func TestClusterReload(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "")
	c.start()
	one := c.Nodes["edge1"]
	a := one.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	for i := range 4 {
		r := one.Reload(Config{Text: edgeText("edge1", "", fmt.Sprintf("purchase {\n life %dm\n }", 10+i))})
		require.Zero(t, r.Code, r.Err)
		token := a.Purchase(hash, "bin", nil).Token
		require.Equal(t, http.StatusOK, c.get("edge2", token))
		a.MustPost("/content/purchase/remove", map[string]string{"token": token}, nil)
		eventually(t, func() bool { return c.get("edge2", token) == http.StatusNotFound }, "it is followed after the reload")
		one.Eventually(func() bool { return statusOf(t, one)["configurations"] == 1.0 }, "the old configuration is let go")
	}
}

// Who knows no secret gets nothing from the routes between nodes.
func TestClusterRoutesAreClosed(t *testing.T) {
	parallel(t)
	c := edges(t, 1, "")
	c.start()
	one := c.Nodes["edge1"]
	for _, path := range []string{"/cluster/journal", "/cluster/journal/x?since=0", "/cluster/hello", "/cluster/records", "/cluster/clone/" + strings.Repeat("a", 40), "/cluster/upload/x", "/cluster/renew", "/cluster/demand", "/cluster/"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			res, body := fetch(t, one.Client(), method, one.URL(path))
			require.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s %s: %s", method, path, body)
		}
	}
	alone := Start(t, Config{})
	res, body := fetch(t, alone.Client(), http.MethodGet, alone.URL("/cluster/journal"))
	require.Equal(t, http.StatusNotFound, res.StatusCode, "%s", body)
}
