package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peerAt is what a node says of a store.
func (c *Cluster) peerAt(n *Node, store string) (found Peer) {
	c.t.Helper()
	for _, p := range c.Peers(n) {
		if p.Kind == "store" && p.Node == store {
			found = p
		}
	}
	return found
}

// viewers asks for contents at both prisms until stop is called, which fails
// the test where a request was not answered as it should.
func (c *Cluster) viewers(urls []string, data [][]byte) (stop func()) {
	var over atomic.Bool
	var all sync.WaitGroup
	var asked, failed atomic.Int64
	for i, prism := range []*Node{c.Prism1, c.Prism2, c.Prism1, c.Prism2} {
		client := prism.Login().HTTP
		all.Go(func() {
			for k := i; !over.Load(); k++ {
				res, body := fetch(c.t, client, http.MethodGet, prism.URL(urls[k%len(urls)]))
				asked.Add(1)
				if res.StatusCode != http.StatusOK || !bytes.Equal(body, data[k%len(urls)]) {
					failed.Add(1)
					c.t.Logf("at %s: %s", prism.URL(""), res.Status)
				}
			}
		})
	}
	return func() {
		c.t.Helper()
		over.Store(true)
		all.Wait()
		c.t.Logf("%d requests of viewers, %d failed", asked.Load(), failed.Load())
		require.Zero(c.t, failed.Load(), "requests of viewers")
	}
}

// unavailable waits until all these nodes take a store for unavailable.
func (c *Cluster) unavailable(at []*Node, store string) {
	c.t.Helper()
	for _, n := range at {
		n.Eventually(func() bool { return !c.peerAt(n, store).Available }, store+" is unavailable")
	}
}

// passive returns for how long a prism still chooses a store that is gone: until
// it takes it for unavailable, asked all the time.
func (c *Cluster) passive(prism *Node, store string) time.Duration {
	c.t.Helper()
	began := time.Now()
	end := began.Add(patience)
	for c.peerAt(prism, store).Available {
		require.True(c.t, time.Now().Before(end), store+" is unavailable")
	}
	return time.Since(began)
}

// contents uploads some contents and returns where they are bought, and what
// they are.
func (c *Cluster) contents(n int) (urls []string, data [][]byte) {
	c.t.Helper()
	a := c.Prism1.Login()
	for range n {
		data = append(data, noise(c.t, 60_000))
		hash := a.Upload("f.bin", "sha256", bytes.NewReader(data[len(data)-1]))
		urls = append(urls, "/"+a.Purchase(hash, "bin", nil).Token+"/f.bin")
	}
	for _, prism := range []*Node{c.Prism1, c.Prism2} {
		eventually(c.t, func() bool {
			for _, url := range urls {
				if res, _ := fetch(c.t, a.HTTP, http.MethodGet, prism.URL(url)); res.StatusCode != http.StatusOK {
					return false
				}
			}
			return true
		}, "every prism delivers them")
	}
	return urls, data
}

// A store's node that is killed, or frozen, is unavailable at all the others
// soon, whatever they ask of it, and no viewer notices.
func TestClusterHeartbeat(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		urls, data := c.contents(12)
		others := []*Node{c.Prism1, c.Prism2, c.Store1, c.Store2, c.Store3}
		for _, fault := range []struct {
			name        string
			strike, end func(*Node)
		}{
			{"killed", (*Node).Kill, (*Node).Restart},
			{"frozen", (*Node).Freeze, (*Node).Thaw},
		} {
			stop := c.viewers(urls, data)
			fault.strike(c.Store4)
			struck := time.Now()
			t.Logf("%s: not chosen any more, by who is asked for what it holds, after %s", fault.name, c.passive(c.Prism1, "store4").Round(time.Millisecond))
			c.unavailable(others, "store4")
			t.Logf("%s: unavailable at all others after %s", fault.name, time.Since(struck).Round(time.Millisecond))
			fault.end(c.Store4)
			began := time.Now()
			c.WaitKnown()
			t.Logf("%s: available again at all after %s", fault.name, time.Since(began).Round(time.Millisecond))
			stop()
		}
	})
}

// A node whose cable is pulled is unavailable to the others soon; it knows by
// itself that it reaches nobody, accuses nobody, and is available when it is back.
func TestClusterHeartbeatCut(t *testing.T) {
	t.Parallel()
	w := newNetwork(t, 5)
	c := prepareEdges(t, 5, "", func(i int) []Option { return []Option{w.within(i)} })
	c.start()
	available := func(at *Node, node string) (n int) {
		for _, p := range c.Peers(at) {
			if p.Available && (node == "" || p.Node == node) {
				n++
			}
		}
		return n
	}
	doubting := func(at *Node) bool {
		var status struct{ Heartbeat struct{ Doubting bool } }
		_, text := fetch(t, at.Client(), http.MethodGet, at.AdminURL("/oose/status")) // from within its network
		require.NoError(t, json.Unmarshal(text, &status), "%s", text)
		return status.Heartbeat.Doubting
	}
	cut := c.Nodes["edge5"]
	began := time.Now()
	w.Cut(5)
	for name, n := range c.Nodes {
		if n != cut {
			n.Eventually(func() bool { return available(n, "edge5") == 0 }, name+" takes edge5 for unavailable")
		}
	}
	t.Logf("cut off: unavailable at all others after %s", time.Since(began).Round(time.Millisecond))
	cut.Eventually(func() bool { return doubting(cut) && available(cut, "") == 2 }, "edge5 doubts itself, and asks only itself")
	began = time.Now()
	w.Heal(5)
	for name, n := range c.Nodes {
		n.Eventually(func() bool { return available(n, "") == 10 && !doubting(n) }, name+" takes all for available")
	}
	t.Logf("healed: available at all after %s", time.Since(began).Round(time.Millisecond))
}
