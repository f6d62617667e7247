package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edgeText is a node that is everything: a prism and a store. join is who it is
// told of.
func edgeText(name, join, more string) string {
	return strings.NewReplacer("<name>", name, "<join>", join, "<more>", more, "<user>", User+" "+passwordHash(),
		"<filter>", filter, "<secret>", clusterSecret).Replace(`{
	admin 127.0.0.1:$ADMIN
	skip_install_trust
	auto_https disable_redirects
	log {
		level DEBUG
		<filter>
	}
	oose {
		name <name>
		domain oose.test
		data $DIR/data
		store <name>disk $DIR/disk {
			reserve 1MB
		}
		cluster {
			secret "<secret>"
			address http://$HOST:$PORT
			<join>
		}
		user <user>
		<more>
	}
}

http://$HOST:$PORT {
	bind $HOST
	log {
		<filter>
	}
	oose_purchase
	oose_prism
}
`)
}

// prepareEdges prepares n such nodes with options for each; all are told of the first.
func prepareEdges(t testing.TB, n int, more string, options func(i int) []Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Nodes: map[string]*Node{}}
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("edge%d", i)
		node := Prepare(t, Config{Text: "# not yet"}, options(i)...)
		join := ""
		if i > 1 {
			join = "join " + c.Nodes["edge1"].URL("")
		}
		c.Nodes[name] = node
		node.Configure(Config{Text: edgeText(name, join, more)})
	}
	return c
}

func (c *Cluster) start() {
	for _, n := range c.Nodes {
		n.spawn()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	c.waitPeers()
}

// waitPeers waits until every node takes all prisms and stores for available.
func (c *Cluster) waitPeers() {
	c.t.Helper()
	for name, n := range c.Nodes {
		n.Eventually(func() bool {
			available := 0
			for _, p := range c.Peers(n) {
				if p.usable() {
					available++
				}
			}
			return available == 2*len(c.Nodes)
		}, fmt.Sprintf("%s knows all peers", name))
	}
}

// waitHeard waits until every node has been told by the present run of every
// other one how its stores are.
func (c *Cluster) waitHeard() {
	c.t.Helper()
	for name, n := range c.Nodes {
		n.Eventually(func() bool {
			var status struct {
				Heartbeat struct {
					Nodes []struct {
						Name    string
						Started int64
						Ready   bool
					}
				}
			}
			res, text := fetch(c.t, n.asks(), http.MethodGet, n.AdminURL("/oose/status"))
			require.Equal(c.t, http.StatusOK, res.StatusCode, "%s", text)
			require.NoError(c.t, json.Unmarshal(text, &status), "%s", text)
			heard := 0
			for _, other := range status.Heartbeat.Nodes {
				if started, _ := statusOf(c.t, c.Nodes[other.Name])["started"].(float64); other.Ready && other.Started == int64(started) {
					heard++
				}
			}
			return heard == len(c.Nodes)-1
		}, fmt.Sprintf("%s has heard all others", name))
	}
}

// get fetches a purchase at a node and returns the status.
func (c *Cluster) get(node, token string) int {
	c.t.Helper()
	n := c.Nodes[node]
	res, _ := fetch(c.t, n.Client(), http.MethodGet, n.URL("/"+token+"/f.bin"))
	return res.StatusCode
}
