package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clusterSecret is what the nodes of the clusters in these tests share.
const clusterSecret = "a secret of tests, long enough"

// Cluster is the topology that OOSE 2.x was tested with: two prisms with two
// stores each, every one of them a process with an address of its own.
type Cluster struct {
	Prism1, Prism2                 *Node
	Store1, Store2, Store3, Store4 *Node
	Nodes                          map[string]*Node

	t      testing.TB
	engine string // the setting of every node, "" for badger
}

// members is who is in a cluster, and the prism that a store belongs to.
var members = []struct{ name, host, prism string }{
	{"prism1", "127.0.2.2", ""},
	{"store1", "127.0.2.3", "prism1"},
	{"store2", "127.0.2.4", "prism1"},
	{"prism2", "127.0.2.5", ""},
	{"store3", "127.0.2.6", "prism2"},
	{"store4", "127.0.2.7", "prism2"},
}

// ClusterConfig changes what the nodes of a cluster are told.
type ClusterConfig struct {
	Engine string // the line (and block) of the engine, "" for badger
	Oose   string // further lines of every oose block
	Only   []string

	Place func(i int, n *Node) // where the i-th node runs, from 1; nil: at an address of its own on this machine
}

// StartCluster starts all nodes of a cluster at the same time and waits until
// each of them is ready and knows all the others.
func StartCluster(t testing.TB, config ClusterConfig) *Cluster {
	t.Helper()
	c := PrepareCluster(t, config)
	for _, n := range c.Nodes {
		n.spawn()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Nodes)) {
		c.Nodes[name].WaitReady()
	}
	c.WaitKnown()
	return c
}

// PrepareCluster is StartCluster without starting.
func PrepareCluster(t testing.TB, config ClusterConfig) *Cluster {
	t.Helper()
	c := &Cluster{t: t, engine: config.Engine, Nodes: map[string]*Node{}}
	for i, m := range members {
		if len(config.Only) == 0 || slices.Contains(config.Only, m.name) {
			place := WithHost(m.host)
			if config.Place != nil {
				place = func(n *Node) { config.Place(i+1, n) }
			}
			c.Nodes[m.name] = Prepare(t, Config{Text: "# not yet"}, place)
		}
	}
	for _, m := range members {
		if n := c.Nodes[m.name]; n != nil {
			n.Configure(Config{Text: c.text(m.name, m.prism, config)})
		}
	}
	c.Prism1, c.Prism2 = c.Nodes["prism1"], c.Nodes["prism2"]
	c.Store1, c.Store2 = c.Nodes["store1"], c.Nodes["store2"]
	c.Store3, c.Store4 = c.Nodes["store3"], c.Nodes["store4"]
	return c
}

// text is the Caddyfile of one node. Everyone is told of the two prisms, as an
// operator would.
func (c *Cluster) text(name, prism string, config ClusterConfig) string {
	var join []string
	for _, other := range []string{"prism1", "prism2"} {
		if n := c.Nodes[other]; n != nil && other != name {
			join = append(join, n.URL(""))
		}
	}
	role, sites := "oose_purchase\n\toose_prism "+name, httpsSite
	if prism != "" {
		role = "oose_store " + name + " $DIR/content {\n\t\treserve 1MB\n\t\tprism " + prism + "\n\t}"
		sites = ""
	}
	line := ""
	if len(join) > 0 {
		line = "join " + strings.Join(join, " ")
	}
	return strings.NewReplacer("<name>", name, "<engine>", config.Engine, "<join>", line, "<oose>", config.Oose,
		"<role>", role, "<sites>", sites, "<user>", User+" "+passwordHash(), "<filter>", filter, "<secret>", clusterSecret).Replace(`{
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
		<engine>
		cluster {
			secret "<secret>"
			address http://$HOST:$PORT
			<join>
		}
		user <user>
		<oose>
	}
}

http://$HOST:$PORT {
	bind $HOST
	log {
		<filter>
	}
	<role>
}

<sites>
`)
}

// Peer is one line of what `oose peers` says of the registry.
type Peer struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Node      string `json:"node"`
	Available bool   `json:"available"`
	Writable  bool   `json:"writable"` // by the operator's word, and not drained
	Room      bool   `json:"room"`     // by its own
}

// usable tells whether a peer answers, and where it is a store takes clones.
func (p Peer) usable() bool { return p.Available && (p.Kind == "prism" || p.Room) }

// Peers returns what a node knows of the peers.
func (c *Cluster) Peers(n *Node) []Peer {
	c.t.Helper()
	var answer struct {
		Peers []Peer `json:"peers"`
	}
	res, text := fetch(c.t, n.asks(), "GET", n.AdminURL("/oose/peers"))
	require.Equal(c.t, 200, res.StatusCode, "%s", text)
	require.NoError(c.t, json.Unmarshal(text, &answer), "%s", text)
	return answer.Peers
}

// WaitKnown waits until every running node takes every peer of the cluster for
// available.
func (c *Cluster) WaitKnown() {
	c.t.Helper()
	for name, n := range c.Nodes {
		n.Eventually(func() bool {
			available := 0
			for _, p := range c.Peers(n) {
				if p.usable() {
					available++
				}
			}
			return available == len(c.Nodes)
		}, fmt.Sprintf("%s knows all %d peers", name, len(c.Nodes)))
	}
}

// agree waits until all nodes hold the same records.
func (c *Cluster) agree() {
	c.t.Helper()
	eventually(c.t, func() bool {
		var first string
		for _, n := range c.Nodes {
			all := fmt.Sprint(digests(c.t, n))
			if first == "" {
				first = all
			}
			if all != first {
				return false
			}
		}
		return true
	}, "all nodes hold the same records")
}
