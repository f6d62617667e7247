package integration

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node with room for copies keeps what it fetched for a viewer: one fetch for
// all who wait, and afterwards none. The copy counts for nothing, and goes with
// the content.
func TestClusterPullThrough(t *testing.T) {
	parallel(t)
	c := edges(t, 2, "content {\n copies 1\n }")
	two := c.Nodes["edge2"]
	two.Configure(Config{Text: strings.Replace(edgeText("edge2", "join "+c.Nodes["edge1"].URL(""), "content {\n copies 1\n }"),
		"reserve 1MB", "reserve 1MB\n\t\t\tcache 1GB", 1)})
	c.start()
	a := c.Nodes["edge1"].Login()
	atEdge1 := func(size int) (data []byte, hash, url string) {
		data = noise(t, size)
		for hash == "" || detail(a, hash).Map[0] != "edge1:edge1disk" { // copies is 1: until it lies at edge1
			data[0]++
			hash = a.Upload("f.bin", "sha256", bytes.NewReader(data))
		}
		return data, hash, two.URL("/" + a.Purchase(hash, "bin", nil).Token + "/f.bin")
	}
	copies := func(hash string) int {
		found, err := filepath.Glob(two.Path("disk", "cache", "*", hash+"*"))
		require.NoError(t, err)
		return len(found)
	}
	_, first, url := atEdge1(1000)
	eventually(t, func() bool {
		fetch(t, two.Client(), http.MethodGet, url)
		return copies(first) == 1
	}, "copies are kept, once the disk was looked at")

	data, hash, url := atEdge1(24 << 20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			res, body := fetch(t, two.Client(), http.MethodGet, url)
			if res.StatusCode != http.StatusOK || !bytes.Equal(data, body) {
				t.Errorf("%s with %d bytes", res.Status, len(body))
			}
		})
	}
	// Who leaves does not stop the others.
	res, err := two.Client().Get(url)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, res.Body, 1000)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	wg.Wait()
	eventually(t, func() bool { return copies(hash) == 1 }, "the copy is whole")
	require.Equal(t, 1, strings.Count(c.Nodes["edge1"].Log(), `"uri":"/cluster/clone/`+hash), "one fetch for all who waited")
	require.Equal(t, 1, detail(a, hash).Count, "a copy is no clone")

	c.Nodes["edge1"].Kill()
	res, body := fetch(t, two.Client(), http.MethodGet, url)
	require.Equal(t, http.StatusOK, res.StatusCode, "served from the copy while the only store is away")
	require.True(t, bytes.Equal(data, body))
	res, body = fetch(t, two.Client(), http.MethodGet, url, "Range: bytes=5000000-5000999")
	require.Equal(t, http.StatusPartialContent, res.StatusCode)
	require.Equal(t, data[5000000:5001000], body)

	c.Nodes["edge1"].Restart()
	c.waitPeers()
	a = c.Nodes["edge1"].Login()
	a.MustPost("/content/remove", map[string]string{"hash": hash}, nil)
	eventually(t, func() bool { return copies(hash) == 0 }, "the copy goes with the content")
	_, err = os.Stat(two.Path("disk", "oose.json"))
	require.NoError(t, err)
}
