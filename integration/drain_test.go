package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// drained is what `oose drain --json` tells.
type drained struct {
	Needed, Left int64
	Safe         bool
}

// draining asks a node how far the emptying of a store is.
func draining(n *Node, store string) (d drained) {
	n.t.Helper()
	require.NoError(n.t, json.Unmarshal([]byte(n.MustRun("drain", "--no-wait", "--json", store)), &d))
	return d
}

// broken runs a command and interrupts it as soon as a condition holds. It is
// run again where it ends before: on a busy machine Redis may answer too late.
func broken(n *Node, condition func() bool, what string, args ...string) Result {
	n.t.Helper()
	for range 20 {
		cmd := n.command(context.Background(), args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(n.t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // its exit code tells
		}()
		met := false
		eventually(n.t, func() bool {
			select {
			case <-ended:
				return true
			default:
				met = condition()
				return met
			}
		}, what)
		if met {
			require.NoError(n.t, cmd.Process.Signal(os.Interrupt))
		}
		<-ended
		r := Result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
		if met {
			return r
		}
		n.t.Logf("oose %s ended before %s, with %d: %s%s", strings.Join(args, " "), what, r.Code, r.Out, r.Err)
	}
	n.t.Fatalf("it ends each time before: %s", what)
	return Result{}
}

// obstruct lays files where other stores would have folders for a content, so
// that none but those that hold it can take it; clear takes them away.
func (c *Cluster) obstruct(hash string) (clear func()) {
	c.t.Helper()
	var laid []string
	for _, n := range []*Node{c.Store1, c.Store2, c.Store3, c.Store4} {
		root := n.Path("content", "content")
		if held, _ := filepath.Glob(filepath.Join(root, hash[:2], hash[2:4], hash+"*")); len(held) > 0 {
			continue
		}
		path := filepath.Join(root, hash[:2])
		if _, err := os.Stat(path); err == nil {
			path = filepath.Join(path, hash[2:4])
		}
		require.NoError(c.t, os.WriteFile(path, nil, 0o600))
		laid = append(laid, path)
	}
	require.Len(c.t, laid, 2)
	return func() {
		for _, path := range laid {
			require.NoError(c.t, os.Remove(path))
		}
	}
}

// recorded is how many live records of a store's clones a node has.
func recorded(n *Node, store string) (count int) {
	n.t.Helper()
	for line := range strings.Lines(n.MustRun("export")) {
		var r struct {
			Topic, Member string
			Deleted       bool
		}
		require.NoError(n.t, json.Unmarshal([]byte(line), &r), line)
		if r.Topic == "inventory" && r.Member == store && !r.Deleted {
			count++
		}
	}
	return count
}

// forgetJSON forgets a store as soon as it is away.
func forgetJSON(n *Node, store string) (answer struct {
	ID           string
	Alone, Short int64
	Lost         []string
}) {
	n.t.Helper()
	var out string
	eventually(n.t, func() bool {
		r := n.Run("forget", "--json", store)
		out = r.Out
		return r.Code == 0
	}, "it is forgotten once it is away")
	require.NoError(n.t, json.Unmarshal([]byte(out), &answer))
	return answer
}

// A store of another node is emptied under viewers' load, in spite of an
// interruption and of a content that can't move; it is taken away for good, and
// forgotten. Then one is forgotten that has something alone, and comes back.
func TestDrainAndForget(t *testing.T) {
	engines(t, func(t *testing.T, config ClusterConfig) {
		config.Oose = "repair {\n after 2s\n bandwidth 500KB\n }"
		c := StartCluster(t, config)
		a := c.Prism1.Login()
		l := c.library(a, 24, 100_000)
		eventually(t, func() bool { least, most := l.beside(""); return least == 2 && most == 2 }, "everything has as many clones as are wanted")
		there := len(l.on("store1"))
		stuck := l.on("store1")[0]
		clear := c.obstruct(stuck)
		end := l.readers()

		r := broken(c.Prism2, func() bool { least, _ := l.beside("store1"); return least == 1 && len(l.on("store1")) < there },
			"some of it has moved", "drain", "store1")
		require.NotZero(t, r.Code)
		require.Contains(t, r.Err, "goes on by itself")
		eventually(t, func() bool { d := draining(c.Prism1, "store1"); return d.Needed == 1 && !d.Safe }, "all but one have moved, without anybody who waits")
		clear()
		require.Contains(t, c.Prism2.MustRun("drain", "store1"), "prism1:store1 is safe to remove", "it goes on where it was")
		d := draining(c.Prism1, "store1")
		require.Zero(t, d.Needed)
		require.True(t, d.Safe)

		c.Store1.Stop()
		answer := forgetJSON(c.Prism2, "store1")
		require.Zero(t, answer.Alone)
		require.Zero(t, answer.Short)
		end()
		alive := []*Node{c.Prism1, c.Prism2, c.Store2, c.Store3, c.Store4}
		for _, n := range alive {
			eventually(t, func() bool { return recorded(n, answer.ID) == 0 }, "what was recorded of it is gone everywhere")
		}
		eventually(t, func() bool { least, most := l.beside(""); return least == 2 && most == 2 }, "there are as many clones as are wanted")
		listed, _ := clonesRun(t, c.Prism1, "--below", "2")
		require.Empty(t, listed)
		c.requireClean("prism1:store1")

		// What only one store has is told when that is forgotten, and is back with it.
		only := l.hashes[0]
		_, sum := clonesRun(t, c.Prism1, "--desired", "1", "--force", only)
		require.Zero(t, sum["kept"], "it goes at once, by this or by repair: %v", sum)
		var at string
		eventually(t, func() bool {
			on := detail(a, only).Map
			at = strings.TrimPrefix(strings.TrimPrefix(on[0], "prism1:"), "prism2:")
			return len(on) == 1
		}, "it has one clone")
		c.Nodes[at].Stop()
		answer = forgetJSON(c.Prism1, at)
		require.EqualValues(t, 1, answer.Alone)
		require.Equal(t, []string{only}, answer.Lost)
		require.False(t, detail(a, only).Exists)
		c.Nodes[at].Restart()
		eventually(t, func() bool { return detail(a, only).Exists }, "its disk came back, as a new store")
		for i, token := range l.tokens {
			require.NoError(t, l.read([]*Node{c.Prism1, c.Prism2}[i%2], token))
		}
	})
}

// requireClean wants every node that is left to say that all is well, and nothing
// of a store that is gone.
func (c *Cluster) requireClean(gone string) {
	c.t.Helper()
	for name, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		eventually(c.t, func() bool {
			var s struct {
				Repair struct {
					Missing, Urgent, Waiting int64
					Walking                  bool
					Stores                   []struct{ Standing string }
				}
			}
			_, text := fetch(c.t, n.Client(), "GET", n.AdminURL("/oose/status"))
			require.NoError(c.t, json.Unmarshal(text, &s), "%s", text)
			clean := s.Repair.Missing+s.Repair.Urgent+s.Repair.Waiting == 0 && !s.Repair.Walking
			for _, store := range s.Repair.Stores {
				clean = clean && store.Standing == "good"
			}
			for _, p := range c.Peers(n) {
				clean = clean && p.Available && p.Name != gone
			}
			return clean
		}, name+" says that all is well")
	}
}
