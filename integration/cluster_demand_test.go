package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// demand is what `oose status` says of copies on demand.
type demand struct{ Hot, Copies, Asked, Refused, Read, Taken, Lent int64 }

func (c *Cluster) demand(n *Node) demand {
	c.t.Helper()
	var answer struct{ Demand demand }
	res, text := fetch(c.t, n.Client(), http.MethodGet, n.AdminURL("/oose/status"))
	require.Equal(c.t, http.StatusOK, res.StatusCode, "%s", text)
	require.NoError(c.t, json.Unmarshal(text, &answer), "%s", text)
	return answer.Demand
}

// crowd has many clients ask for one content until end is called, which fails
// the test where one was not answered as it should. began and ended count their
// requests.
type crowd struct {
	began, ended atomic.Int64
	end          func()
}

func gather(t *testing.T, n *Node, url string, data []byte) *crowd {
	c := new(crowd)
	var over atomic.Bool
	var all sync.WaitGroup
	for range 24 {
		client := Client(t)
		all.Go(func() {
			for !over.Load() {
				c.began.Add(1)
				res, err := client.Get(n.URL(url))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if res.Body.Close(); err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(data, body) {
					t.Errorf("%s, %d bytes, %v", res.Status, len(body), err)
				}
				c.ended.Add(1)
			}
		})
	}
	c.end = sync.OnceFunc(func() { over.Store(true); all.Wait() })
	t.Cleanup(c.end)
	return c
}

// What very many ask a prism for is taken in by another store that has room for
// copies, and read there too: also when the only clone is gone. The copy counts
// for nothing, and is no more than a file in a cache when nobody asks any more,
// until a takedown takes that away as well.
func TestClusterDemand(t *testing.T) {
	parallel(t)
	settings := func(above string) ClusterConfig {
		return ClusterConfig{Only: []string{"prism1", "store1", "store2"}, Oose: "content {\n copies 1\n }\n demand {\n above " + above + "\n }"}
	}
	c := PrepareCluster(t, settings("10"))
	c.Store2.Configure(Config{Text: strings.Replace(c.text("store2", "prism1", settings("10")), "reserve 1MB", "reserve 1MB\n\t\tcache 1GB", 1)})
	for _, n := range c.Nodes {
		n.spawn()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	c.WaitKnown()
	a := c.Prism1.Login()
	data, hash := noise(t, 200<<10), ""
	for hash == "" || detail(a, hash).Map[0] != "prism1:store1" { // copies is 1: until it lies at store1
		data[0]++
		hash = a.Upload("f.bin", "sha256", bytes.NewReader(data))
	}
	copies := func() int {
		found, err := filepath.Glob(c.Store2.Path("content", "cache", "*", hash+"*"))
		require.NoError(t, err)
		return len(found)
	}

	viewers := gather(t, c.Prism1, "/"+a.Purchase(hash, "bin", nil).Token+"/f.bin?rate=400k", data)
	eventually(t, func() bool { return c.demand(c.Prism1).Copies == 1 }, "another store has taken it in")
	require.Equal(t, 1, copies())
	before, asked := c.demand(c.Prism1), viewers.ended.Load()
	eventually(t, func() bool {
		now, served := c.demand(c.Prism1).Read-before.Read, viewers.ended.Load()-asked
		return now > 20 && served > now+20
	}, "both serve")
	require.Positive(t, c.demand(c.Store2).Lent)
	require.EqualValues(t, 1, c.demand(c.Store2).Taken)
	require.Contains(t, c.Prism1.Log(), "content is hot")
	require.Contains(t, c.Prism1.MustRun("status"), "1 hot content, 1 copy at other stores")
	require.Contains(t, c.Store2.MustRun("status"), "1 copy taken in for other nodes")
	_, metrics := fetch(t, c.Prism1.Client(), http.MethodGet, c.Prism1.AdminURL("/metrics"))
	require.Contains(t, string(metrics), "caddy_oose_demand_copies 1\n")
	require.NotContains(t, string(metrics), hash)
	d := detail(a, hash)
	require.Equal(t, 1, d.Count, "a copy is no clone")
	require.Equal(t, []string{"prism1:store1"}, d.Map)

	c.Store1.Kill()
	asked = viewers.ended.Load()
	eventually(t, func() bool { return viewers.ended.Load() > asked+100 }, "they go on")
	viewers.end()
	t.Logf("%d requests of viewers; %+v", viewers.ended.Load(), c.demand(c.Prism1))
	require.False(t, t.Failed(), "no viewer has noticed")

	result := c.Prism1.Reload(Config{Text: c.text("prism1", "", settings("1000"))})
	require.Zero(t, result.Code, result.Err)
	eventually(t, func() bool { return c.demand(c.Prism1).Hot == 0 }, "it has cooled")
	require.Zero(t, c.demand(c.Prism1).Copies)
	require.Contains(t, c.Prism1.Log(), "content has cooled")
	require.Equal(t, 1, copies(), "it goes when its room is needed")

	c.Prism1.MustRun("block", hash)
	require.Equal(t, http.StatusForbidden, status(t, c.Prism1, c.Prism1.URL("/static/"+hash+"/f.bin")))
	eventually(t, func() bool { return copies() == 0 }, "a takedown holds for copies")
}
