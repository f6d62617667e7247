package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clonesRun runs `oose clones --json` and returns the contents that it told and
// what it added up.
func clonesRun(t testing.TB, n *Node, args ...string) (contents map[string][]string, sum map[string]any) {
	t.Helper()
	contents = map[string][]string{}
	out := n.MustRun(append([]string{"clones", "--json"}, args...)...)
	for line := range strings.Lines(out) {
		var c struct {
			Hash   string
			Clones []struct{ Store, Standing string }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &c), line)
		if c.Hash == "" {
			require.NoError(t, json.Unmarshal([]byte(line), &sum), line)
			continue
		}
		contents[c.Hash] = []string{}
		for _, clone := range c.Clones {
			contents[c.Hash] = append(contents[c.Hash], clone.Store)
		}
	}
	require.NotNil(t, sum, out)
	return contents, sum
}

// An operator counts clones, has more and fewer of them, moves them, and empties
// a store, all through a prism that holds none of them.
func TestCloneTool(t *testing.T) {
	engines(t, func(t *testing.T, config ClusterConfig) {
		config.Oose = "repair {\n after 20s\n }"
		c := StartCluster(t, config)
		a := c.Prism1.Login()
		data := map[string][]byte{}
		for range 8 {
			b := noise(t, 100_000)
			data[a.Upload("f.bin", "sha256", bytes.NewReader(b))] = b
		}
		served := func() {
			t.Helper()
			for hash, want := range data {
				require.NoError(t, getExactly(c.Prism2.Client(), c.Prism2.URL("/static/"+hash+"/f.bin"), want))
			}
		}
		onDisk := func(n *Node, hash string) int {
			found, err := filepath.Glob(n.Path("content", "content", "*", "*", hash+"*"))
			require.NoError(t, err)
			return len(found)
		}
		total := func(hash string) (files int) {
			for _, n := range []*Node{c.Store1, c.Store2, c.Store3, c.Store4} {
				files += onDisk(n, hash)
			}
			return files
		}

		var sum map[string]any
		eventually(t, func() bool { // a store that was left behind may have made its clone all the same
			_, sum = clonesRun(t, c.Prism2)
			return fmt.Sprint(sum["byCount"]) == "map[2:8]"
		}, "everything has two clones")
		require.EqualValues(t, 8, sum["contents"])
		listed, _ := clonesRun(t, c.Prism2, "--at", "2")
		require.Len(t, listed, 8)
		listed, _ = clonesRun(t, c.Prism2, "--store", "store1")
		inStore1 := len(listed)
		for hash, stores := range listed {
			require.Contains(t, stores, "prism1:store1")
			require.Equal(t, 1, onDisk(c.Store1, hash))
		}
		var one string
		for hash := range data {
			one = hash
			break
		}
		require.Contains(t, c.Prism1.MustRun("clones", "--detail", one), "verified 20")
		listed, _ = clonesRun(t, c.Prism1, "--folder", one[:2]+"/"+one[2:4])
		require.Contains(t, listed, one)

		_, sum = clonesRun(t, c.Prism1, "--desired", "3", "--pretend", one)
		require.EqualValues(t, 1, sum["copied"])
		require.Equal(t, 2, total(one), "nothing was done")
		_, sum = clonesRun(t, c.Prism1, "--desired", "3", one)
		require.EqualValues(t, 1, sum["copied"])
		require.Equal(t, 3, total(one))
		listed, _ = clonesRun(t, c.Prism2, "--above", "2")
		require.Len(t, listed, 1, "the other prism knows it")
		_, sum = clonesRun(t, c.Prism2, "--verify", "--force", one)
		require.EqualValues(t, 3, sum["verified"], "on all nodes")

		// Every other way to select, and several together.
		everything, _ := clonesRun(t, c.Prism2, "--all")
		require.Len(t, everything, 8)
		var another string
		for hash := range data {
			if hash != one {
				another = hash
			}
		}
		list := filepath.Join(t.TempDir(), "list")
		require.NoError(t, os.WriteFile(list, []byte(one+" f.bin\n"+another+".bin\n"), 0o600))
		listed, _ = clonesRun(t, c.Prism2, "--input", list)
		require.ElementsMatch(t, []string{one, another}, slices.Collect(maps.Keys(listed)))
		out := c.Prism1.RunWith([]byte(one+"\n"+another+"\n"), "clones", "--json", "--input", "-", "--at", "2")
		require.Zero(t, out.Code, out.Err)
		require.Contains(t, out.Out, another)
		require.NotContains(t, out.Out, one, "it has three")
		at := func(hash, prism string) bool {
			return slices.ContainsFunc(everything[hash], func(store string) bool { return strings.HasPrefix(store, prism+":") })
		}
		listed, _ = clonesRun(t, c.Prism1, "--prism", "prism2")
		for hash := range data {
			require.Equal(t, at(hash, "prism2"), listed[hash] != nil, "%v", everything[hash])
		}

		// What is protected stays.
		for _, protection := range [][]string{{"--protect-hash", one}, {"--protect", list}} {
			_, sum = clonesRun(t, c.Prism1, append(protection, "--drop-from", everything[one][0], "--force", one)...)
			require.EqualValues(t, 1, sum["kept"], protection)
			require.Equal(t, 3, total(one))
		}
		refused := c.Prism1.Run("clones", "--drop-from", everything[one][0], "--force", "--protect-store", everything[one][0], one)
		require.NotZero(t, refused.Code)
		require.Contains(t, refused.Err, "the store is protected")

		var free, from string
		listed, _ = clonesRun(t, c.Prism1, "--detail", one)
		for _, name := range []string{"prism1:store1", "prism1:store2", "prism2:store3", "prism2:store4"} {
			if strings.Contains(fmt.Sprint(listed[one]), name) {
				from = name
			} else {
				free = name
			}
		}
		clonesRun(t, c.Prism2, "--clone-to", free, "--drop-from", from, one)
		listed, _ = clonesRun(t, c.Prism2, "--detail", one)
		require.Contains(t, listed[one], free)
		require.NotContains(t, listed[one], from, "it has moved")
		require.Equal(t, 3, total(one))
		refused = c.Prism1.Run("clones", "--all", "--desired", "1")
		require.NotZero(t, refused.Code)
		require.Contains(t, refused.Err, "force it")

		// A clone that has gone bad is found, and replaced.
		holders, _ := clonesRun(t, c.Prism1, "--detail", another)
		holder := c.Nodes[strings.SplitN(holders[another][0], ":", 2)[1]]
		found, err := filepath.Glob(holder.Path("content", "content", "*", "*", another+"*"))
		require.NoError(t, err)
		require.Len(t, found, 1)
		info, err := os.Stat(found[0])
		require.NoError(t, err)
		rotten := bytes.Clone(data[another])
		rotten[len(rotten)/2] ^= 1
		require.NoError(t, os.WriteFile(found[0], rotten, 0o600))
		require.NoError(t, os.Chtimes(found[0], time.Time{}, info.ModTime()))
		bad := c.Prism2.Run("clones", "--verify", "--force", another)
		require.Equal(t, 4, bad.Code, bad.Out+bad.Err)
		require.Contains(t, bad.Out, "clones damaged")
		eventually(t, func() bool {
			listed, _ := clonesRun(t, c.Prism2, "--detail", another)
			return len(listed[another]) == 2 && total(another) == 2
		}, "it has as many good clones again")
		c.Prism2.MustRun("clones", "--verify", "--force", another)

		// A store is emptied, and everything stays there for viewers.
		served()
		require.Contains(t, c.Prism1.MustRun("drain", "store1"), "prism1:store1 is safe to remove")
		served()
		listed, _ = clonesRun(t, c.Prism1, "--below", "2")
		require.Empty(t, listed)
		t.Logf("of %d contents, %d lay in the store that was drained", len(data), inStore1)
		require.Contains(t, c.Prism2.MustRun("drain", "--no-wait", "store1"), "safe to remove", "asked elsewhere, and again")
		for range 3 { // nothing comes to it any more
			b := noise(t, 1000)
			hash := a.Upload("f.bin", "sha256", bytes.NewReader(b))
			require.Zero(t, onDisk(c.Store1, hash))
			data[hash] = b
		}
		forget := c.Prism1.Run("forget", "store1")
		require.NotZero(t, forget.Code, "it answers")
		require.Contains(t, forget.Err, "stop its node first")
		c.Store1.Stop()
		eventually(t, func() bool { return c.Prism1.Run("forget", "store1").Code == 0 }, "forgotten")
		eventually(t, func() bool {
			for _, p := range c.Peers(c.Prism2) {
				if p.Name == "prism1:store1" {
					return false
				}
			}
			return true
		}, "nobody knows it any more")
		served()

		require.Contains(t, c.Prism1.MustRun("switch", "store2", "readonly"), "writable no")
		require.Contains(t, c.Prism1.MustRun("switch", "store2", "writable"), "writable yes")
		c.Prism1.MustRun("clones", "repair")
		actions := strings.Join(audited(t, c.Prism1), " ")
		for _, action := range []string{"content.want", "clone.add", "store.drain", "store.forget", "peer.switch"} {
			require.Contains(t, actions, action)
		}
		res, text := fetch(t, c.Prism1.Client(), http.MethodGet, c.Prism1.AdminURL("/oose/audit"))
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Contains(t, string(text), `"store":"prism1:store1"`)
	})
}
