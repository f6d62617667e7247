package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// repairing is what a node says of the clones that it makes.
type repairing struct {
	Copying []any  `json:"copying"`
	Copied  int64  `json:"copied"`
	Dropped int64  `json:"dropped"`
	Last    string `json:"lastError"`
}

func (c *Cluster) repairing(n *Node) repairing {
	c.t.Helper()
	var answer struct {
		Repair repairing `json:"repair"`
	}
	res, text := fetch(c.t, n.Client(), http.MethodGet, n.AdminURL("/oose/status"))
	require.Equal(c.t, http.StatusOK, res.StatusCode, "%s", text)
	require.NoError(c.t, json.Unmarshal(text, &answer), "%s", text)
	return answer.Repair
}

// library is contents that a test goes on reading.
type library struct {
	c      *Cluster
	a      *API
	hashes []string
	tokens []string
	bodies map[string][]byte // by token
}

func (c *Cluster) library(a *API, count, size int) *library {
	c.t.Helper()
	l := &library{c: c, a: a, bodies: map[string][]byte{}}
	for i := range count {
		body := noise(c.t, size+i)
		hash := a.Upload("f.bin", "sha1", bytes.NewReader(body))
		token := a.Purchase(hash, "bin", nil).Token
		l.hashes, l.tokens = append(l.hashes, hash), append(l.tokens, token)
		l.bodies[token] = body
	}
	return l
}

// read fetches one content from a prism; it tells what was wrong.
func (l *library) read(n *Node, token string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, n.URL("/"+token+"/f.bin"), nil)
	if err != nil {
		return err
	}
	res, err := l.a.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !bytes.Equal(body.Bytes(), l.bodies[token]) {
		return fmt.Errorf("status %d with %d bytes", res.StatusCode, body.Len())
	}
	return nil
}

// readers read everything at both prisms, over and over, as fast as leaves the
// machine room for the nodes; end tells what went wrong.
func (l *library) readers() (end func()) {
	stop := make(chan struct{})
	var reading sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	for _, prism := range []*Node{l.c.Prism1, l.c.Prism2} {
		reading.Go(func() {
			ticker := time.NewTicker(30 * time.Millisecond)
			defer ticker.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-ticker.C:
				}
				if err := l.read(prism, l.tokens[i%len(l.tokens)]); err != nil {
					mu.Lock()
					failures = append(failures, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	rest := sync.OnceFunc(func() {
		close(stop)
		reading.Wait()
	})
	l.c.t.Cleanup(rest) // before the nodes are stopped, also after a failure
	return func() {
		rest()
		require.Empty(l.c.t, failures, "every content could be read at any time")
	}
}

// beside is on how many stores, but for one, each content is at least, and at
// most.
func (l *library) beside(store string) (least, most int) {
	least = len(members)
	for _, h := range l.hashes {
		n := 0
		for _, at := range detail(l.a, h).Map {
			if store == "" || !strings.HasSuffix(at, ":"+store) {
				n++
			}
		}
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// A store that is killed is replaced by clones elsewhere; when it is back, what
// is too many goes. Everything can be read all the while.
func TestRepairLostStore(t *testing.T) {
	parallel(t)
	c := StartCluster(t, ClusterConfig{Oose: "repair {\n after 2s\n }"})
	l := c.library(c.Prism1.Login(), 16, 50_000)
	eventually(t, func() bool { least, most := l.beside(""); return least == 2 && most == 2 }, "everything has as many clones as are wanted")
	end := l.readers()
	c.Store1.Kill()
	eventually(t, func() bool { least, _ := l.beside("store1"); return least == 2 }, "two clones of everything beside the store that is lost")
	c.Store1.Restart()
	eventually(t, func() bool { least, most := l.beside(""); return least == 2 && most == 2 }, "no more clones than are wanted")
	end()
	c.agree()
	for i, token := range l.tokens {
		require.NoError(t, l.read([]*Node{c.Prism1, c.Prism2}[i%2], token))
	}
}

// on are the contents that a store holds.
func (l *library) on(store string) (hashes []string) {
	for _, h := range l.hashes {
		if slices.ContainsFunc(detail(l.a, h).Map, func(at string) bool { return strings.HasSuffix(at, ":"+store) }) {
			hashes = append(hashes, h)
		}
	}
	return hashes
}

// The node that makes the clones is killed while it does: another one goes on,
// with all that is not missing a clone in the one that was killed.
func TestRepairSurvivesItsWorker(t *testing.T) {
	parallel(t)
	c := StartCluster(t, ClusterConfig{Oose: "repair {\n after 2s\n bandwidth 400KB\n max_share 60%\n }\n content {\n copies 3\n }"})
	l := c.library(c.Prism1.Login(), 24, 300_000)
	eventually(t, func() bool { least, most := l.beside(""); return least == 3 && most == 3 }, "everything has as many clones as are wanted")
	end := l.readers()
	held := map[string][]string{}
	for _, name := range []string{"store2", "store3", "store4"} {
		held[name] = l.on(name)
	}
	c.Store1.Kill()
	name := ""
	eventually(t, func() bool {
		for store := range held {
			if len(c.repairing(c.Nodes[store]).Copying) > 0 {
				name = store
			}
		}
		return name != ""
	}, "a node makes clones")
	worker := c.Nodes[name]
	worker.Kill()
	both := func() bool { // the two stores that are left have all that it held
		for store := range held {
			if has := l.on(store); store != name && slices.ContainsFunc(held[name], func(h string) bool { return !slices.Contains(has, h) }) {
				return false
			}
		}
		return true
	}
	require.False(t, both(), "it was not done yet")
	eventually(t, both, "clones are made without it")
	end()
	worker.Restart()
	c.Store1.Restart()
	eventually(t, func() bool { least, most := l.beside(""); return least == 3 && most == 3 }, "no more clones than are wanted")
	for i, token := range l.tokens {
		require.NoError(t, l.read([]*Node{c.Prism1, c.Prism2}[i%2], token))
	}
}
