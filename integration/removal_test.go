package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// clonesOnDisk is in which of the running stores' roots a content lies.
func (c *Cluster) clonesOnDisk(hash string) (stores []string) {
	c.t.Helper()
	for name, n := range c.Nodes {
		found, err := filepath.Glob(n.Path("content", "content", hash[:2], hash[2:4], hash+"*"))
		require.NoError(c.t, err)
		if len(found) > 0 && n.Running() {
			stores = append(stores, name)
		}
	}
	slices.Sort(stores)
	return stores
}

// settled waits until both prisms say the same of a content as the disks do: it
// is there, whole, or it is not; and returns which.
func (c *Cluster) settled(a *API, hash string, data []byte) (there bool) {
	c.t.Helper()
	prisms := []*Node{c.Prism1, c.Prism2}
	eventually(c.t, func() bool {
		files := c.clonesOnDisk(hash)
		there = len(files) > 0
		for _, n := range prisms {
			res, text := a.use(n).Post("/content/detail", map[string]string{"hash": hash})
			if res.StatusCode != http.StatusOK {
				return false // one that may know it does not answer yet
			}
			var d Detail
			require.NoError(c.t, json.Unmarshal(text, &d))
			var said []string
			for _, at := range d.Map {
				said = append(said, at[len("prism1:"):])
			}
			slices.Sort(said)
			if d.Exists != there || !slices.Equal(said, files) {
				return false
			}
			if there && getExactly(n.Client(), n.URL("/static/"+hash+"/f.bin"), data) != nil {
				return false
			}
		}
		return slices.Equal(files, c.clonesOnDisk(hash))
	}, "records, prisms and disks agree about "+hash)
	if !there {
		for _, n := range prisms {
			require.Equal(c.t, http.StatusNotFound, status(c.t, n, n.URL("/static/"+hash+"/f.bin")))
		}
	}
	return there
}

// Uploads of one content at two prisms, removals and repair go on at the same
// time: it ends there or not there, everywhere, and what is asked for after all
// of that has been answered is what holds.
func TestRemovalBesideUploads(t *testing.T) {
	engines(t, func(t *testing.T, config ClusterConfig) {
		config.Oose = "repair {\n after 1s\n }"
		c := StartCluster(t, config)
		session := c.Prism1.Login()
		apis := []*API{session, session.use(c.Prism2)}
		data := noise(t, 60_000)
		hash := session.Upload("f.bin", "sha256", bytes.NewReader(data))
		remove := func(a *API) int {
			res, _ := a.Post("/content/remove", map[string]string{"hash": hash})
			return res.StatusCode
		}
		outcomes := map[bool]int{}
		for round := range 12 {
			var racing sync.WaitGroup
			acks := make([]error, 2)
			for i, a := range apis {
				racing.Go(func() { _, acks[i] = upload(a, data) })
			}
			codes := make([]int, 2)
			for i := range 1 + round%2 {
				racing.Go(func() { codes[i] = remove(apis[(round+i)%2]) })
			}
			racing.Wait()
			for _, err := range acks {
				require.NoError(t, err)
			}
			for _, code := range codes {
				require.Contains(t, []int{0, http.StatusOK, http.StatusNotFound}, code)
			}
			// The last word is said at the prism that the word before was not.
			switch last := apis[round/3%2]; round % 3 {
			case 0:
				_, err := upload(last, data)
				require.NoError(t, err)
				require.True(t, c.settled(session, hash, data), "round %d: an upload that was acknowledged after the removals stays", round)
			case 1:
				c.settled(session, hash, data)
				code := remove(last)
				require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, code)
				require.False(t, c.settled(session, hash, data), "round %d: it was removed after the uploads", round)
			default:
				outcomes[c.settled(session, hash, data)]++
			}
		}
		t.Logf("rounds that ended with the content there, and without: %d, %d", outcomes[true], outcomes[false])

		// A store that was away learns of the removal when it returns.
		_, err := upload(session, data)
		require.NoError(t, err)
		require.True(t, c.settled(session, hash, data))
		away := c.Nodes[c.clonesOnDisk(hash)[0]]
		away.Kill()
		eventually(t, func() bool { return remove(apis[1]) == http.StatusOK }, "it is removed")
		away.Restart()
		require.False(t, c.settled(session, hash, data), "not the store that was away brings it back")
		_, err = upload(apis[1], data)
		require.NoError(t, err)
		require.True(t, c.settled(session, hash, data))
	})
}
