package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

// engines are the engines that a cluster's nodes are tested with.
func engines(t *testing.T, test func(t *testing.T, config ClusterConfig)) {
	t.Run("badger", func(t *testing.T) {
		t.Parallel()
		test(t, ClusterConfig{})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, ClusterConfig{Engine: "engine redis " + redistest.Start(t).URL()})
	})
}

// Detail is what a prism knows of a content.
type Detail struct {
	Hash   string   `json:"hash"`
	Exists bool     `json:"exists"`
	Count  int      `json:"count"`
	Size   int64    `json:"size"`
	Map    []string `json:"map"`
}

// detail asks a prism about a content.
func detail(a *API, hash string) Detail {
	a.t.Helper()
	var d Detail
	a.MustPost("/content/detail", map[string]string{"hash": hash}, &d)
	return d
}

// use is the same session at another prism.
func (a *API) use(n *Node) *API {
	return &API{t: a.t, base: n.URL(""), HTTP: a.HTTP, Token: a.Token}
}

// What is made at one prism is there at the other at once.
func TestClusterSharesAtOnce(t *testing.T) {
	parallel(t)
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		a := c.Prism1.Login()
		b := a.use(c.Prism2)
		b.MustPost("/user/session/validate", map[string]string{}, nil)

		for i := range 30 {
			data := noise(t, 20_000+i)
			hash := a.Upload("f.bin", "sha256", bytes.NewReader(data))
			require.True(t, detail(b, hash).Exists, "content that was uploaded at the other prism")
			p := a.Purchase(hash, "bin", nil)
			res, body := fetch(t, a.HTTP, http.MethodGet, c.Prism2.URL("/"+p.Token+"/f.bin"))
			require.Equal(t, http.StatusOK, res.StatusCode, "purchase %d: %s", i, body)
			require.True(t, bytes.Equal(data, body))
		}
		d := detail(b, a.Upload("f.bin", "sha256", bytes.NewReader(noise(t, 1000))))
		require.Equal(t, 2, d.Count)
		require.Len(t, d.Map, 2)
		require.NotEqual(t, d.Map[0], d.Map[1], "on two stores")
		for _, at := range d.Map {
			require.Contains(t, []string{"prism1:store1", "prism1:store2", "prism2:store3", "prism2:store4"}, at)
		}

		a.MustPost("/user/logout", map[string]string{}, nil)
		eventually(t, func() bool {
			res, _ := b.Post("/user/session/validate", map[string]string{})
			return res.StatusCode == http.StatusUnauthorized
		}, "a session that ended is over everywhere")
	})
}

// A revocation holds at the other prism within a second.
func TestClusterRevocation(t *testing.T) {
	parallel(t)
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		a := c.Prism1.Login()
		hash := a.Upload("f.bin", "sha256", bytes.NewReader(noise(t, 1000)))
		var slowest time.Duration
		for range 20 {
			p := a.Purchase(hash, "bin", nil)
			url := c.Prism2.URL("/" + p.Token + "/f.bin")
			res, _ := fetch(t, a.HTTP, http.MethodGet, url)
			require.Equal(t, http.StatusOK, res.StatusCode)
			a.MustPost("/content/purchase/remove", map[string]string{"token": p.Token}, nil)
			began := time.Now()
			eventually(t, func() bool {
				res, _ := fetch(t, a.HTTP, http.MethodGet, url)
				return res.StatusCode == http.StatusNotFound
			}, "the revocation reaches the other prism")
			slowest = max(slowest, time.Since(began))
		}
		t.Logf("the slowest of 20 revocations took %s to hold at the other prism", slowest)
	})
}

// A token that nobody made is unknown, and a prism that is away does not make
// one of today unknown: what can't be told is not told wrongly.
func TestClusterNeverAFalseUnknown(t *testing.T) {
	parallel(t)
	c := StartCluster(t, ClusterConfig{})
	a := c.Prism1.Login()
	hash := a.Upload("f.bin", "sha256", bytes.NewReader(noise(t, 1000)))
	token := a.Purchase(hash, "bin", nil).Token

	invented := token[:9] + "AAAAAAAAAAA"
	res, _ := fetch(t, a.HTTP, http.MethodGet, c.Prism2.URL("/"+invented+"/f.bin"))
	require.Equal(t, http.StatusNotFound, res.StatusCode, "a token that nobody made")

	// What prism1 made while prism2 was down is asked for when prism2 is back.
	c.Prism2.Kill()
	late := a.Purchase(hash, "bin", nil).Token
	c.Prism2.Restart()
	res, _ = fetch(t, a.HTTP, http.MethodGet, c.Prism2.URL("/"+late+"/f.bin"))
	require.Equal(t, http.StatusOK, res.StatusCode, "a purchase made while this prism was down")

	// While prism1 is away, nobody can say what it has made today.
	c.Prism1.Kill()
	missing := plausibleToken(t, c, token)
	began := time.Now()
	res, body := fetch(t, a.HTTP, http.MethodGet, c.Prism2.URL("/"+missing+"/f.bin"))
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "%s", body)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	require.Less(t, time.Since(began), 10*time.Second)
	c.Prism1.Restart()
	eventually(t, func() bool {
		res, _ := fetch(t, a.HTTP, http.MethodGet, c.Prism2.URL("/"+missing+"/f.bin"))
		return res.StatusCode == http.StatusNotFound
	}, "with everybody back it is unknown")
}

// plausibleToken returns a token whose check characters are right and which
// names no purchase: a node of the same secret that is not of the cluster made it.
func plausibleToken(t *testing.T, c *Cluster, like string) string {
	t.Helper()
	alone := Start(t, Config{Oose: "cluster {\n secret \"" + clusterSecret + "\"\n}"})
	a := alone.Login()
	token := a.Purchase(a.Upload("x.bin", "sha256", bytes.NewReader(noise(t, 100))), "bin", nil).Token
	require.Equal(t, like[:9], token[:9])
	return token
}

// Every node ends up with the same records, whoever wrote them.
func TestClusterNodesAgree(t *testing.T) {
	parallel(t)
	c := StartCluster(t, ClusterConfig{})
	a := c.Prism1.Login()
	b := a.use(c.Prism2)
	for i, at := range []*API{a, b, a, b} {
		hash := at.Upload("f.bin", "", bytes.NewReader(noise(t, 5000+i)))
		at.Purchase(hash, "bin", map[string]any{"count": 3})
	}
	c.agree()
}

// digests is what a node says of all its records, by topic.
func digests(t testing.TB, n *Node) map[string]string {
	t.Helper()
	var status struct {
		Digests map[string]string `json:"digests"`
	}
	_, text := fetch(t, n.Client(), http.MethodGet, n.AdminURL("/oose/status"))
	require.NoError(t, json.Unmarshal(text, &status), "%s", text)
	require.NotEmpty(t, status.Digests)
	return status.Digests
}
