package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// streamed is how large the content of the unbroken streams is.
const streamed = 1 << 30

// A download goes on, byte for byte, when in each of its quarters the store that
// serves it is killed, and the one that takes over is frozen; over every
// protocol, and where it is a range.
func TestClusterUnbrokenStream(t *testing.T) {
	early(t)
	// With three clones there is one left to go on from.
	c := StartCluster(t, ClusterConfig{Oose: "content {\n copies 3\n }"})
	a := c.Prism1.Login()
	source, want := bigFile(t)
	hash := a.Upload("big.bin", "sha256", source)
	require.Equal(t, want, hash)
	holders := detail(a, hash).Map
	require.Len(t, holders, 3)
	path := "/" + a.Purchase(hash, "bin", nil).Token + "/big.bin"
	for _, p := range protocols(t, c.Prism1) {
		t.Run(p.name, func(t *testing.T) {
			res, err := p.http.Get(p.base + path)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.EqualValues(t, streamed, res.ContentLength)
			sum := sha256.New()
			for quarter := range int64(4) {
				c.strikeTwice(t, sum, res.Body, streamed/4, holders, fmt.Sprintf("quarter %d", quarter+1))
			}
			n, err := io.Copy(sum, res.Body)
			require.NoError(t, err)
			require.Zero(t, n)
			require.Equal(t, want, hex.EncodeToString(sum.Sum(nil)))
		})
	}
	t.Run("range", func(t *testing.T) {
		const start, length = streamed/3 + 1, streamed / 4
		req, err := http.NewRequest(http.MethodGet, c.Prism1.URL(path), nil)
		require.NoError(t, err)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, start+length-1))
		res, err := a.HTTP.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, http.StatusPartialContent, res.StatusCode)
		require.EqualValues(t, length, res.ContentLength)
		got := sha256.New()
		c.strikeTwice(t, got, res.Body, length, holders, "the range")
		whole, _ := bigFile(t)
		expected := sha256.New()
		_, err = io.Copy(expected, io.NewSectionReader(whole, start, length))
		require.NoError(t, err)
		require.Equal(t, expected.Sum(nil), got.Sum(nil))
	})
}

// strikeTwice copies n bytes of a download. After the first quarter of them the
// store that sends is killed, after five eighths the one that sends then is
// frozen. Both are there again for the next time.
func (c *Cluster) strikeTwice(t *testing.T, to io.Writer, from io.Reader, n int64, holders []string, what string) {
	t.Helper()
	_, err := io.CopyN(to, from, n/4)
	require.NoError(t, err, what)
	c.waitOthers(t, holders, 3)
	killed := c.serving(t)
	killed.Kill()
	afterKill := copyTimed(t, to, from, n*3/8, time.Now())
	killed.spawn()
	frozen := c.serving(t)
	require.NotSame(t, killed, frozen, "it has just been started again")
	frozen.Freeze()
	afterFreeze := copyTimed(t, to, from, n*3/8, time.Now())
	frozen.Thaw()
	t.Logf("%s: the longest gap was %s after the kill, %s after the freeze", what,
		afterKill.Round(time.Millisecond), afterFreeze.Round(time.Millisecond))
}

// waitOthers waits until the first prism takes so many of the stores that hold a
// content ("prism:store") for available.
func (c *Cluster) waitOthers(t *testing.T, holders []string, want int) {
	t.Helper()
	eventually(t, func() bool {
		available := 0
		for _, p := range c.Peers(c.Prism1) {
			if p.Kind == "store" && p.Available && slices.Contains(holders, p.Name) {
				available++
			}
		}
		return available >= want
	}, fmt.Sprintf("%d of %v are available", want, holders))
}

// copyTimed copies n bytes and returns the longest time in which none came.
func copyTimed(t *testing.T, to io.Writer, from io.Reader, n int64, began time.Time) (longest time.Duration) {
	t.Helper()
	buf := make([]byte, 256<<10)
	for n > 0 {
		got, err := from.Read(buf[:min(n, int64(len(buf)))])
		now := time.Now()
		longest = max(longest, now.Sub(began))
		began = now
		_, _ = to.Write(buf[:got])
		n -= int64(got)
		if n > 0 {
			require.NoError(t, err)
		}
	}
	return longest
}

// bigFile is a content of the size of streamed that cost little to make, and
// its digest.
func bigFile(t *testing.T) (*os.File, string) {
	t.Helper()
	bigOnce.Do(func() { bigOnce.sum, bigOnce.err = makeBig(filepath.Join(shared, "big")) })
	require.NoError(t, bigOnce.err)
	f, err := os.Open(filepath.Join(shared, "big"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f, bigOnce.sum
}

// bigOnce is made once for all tests.
var bigOnce struct {
	sync.Once
	sum string
	err error
}

// makeBig writes the content of bigFile: pseudo-random, so that no part is like another.
func makeBig(path string) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{7}), streamed); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), f.Close()
}

// serving returns the store that is sending a content now: the only one, once
// those before it have noticed that nobody reads.
func (c *Cluster) serving(t *testing.T) *Node {
	t.Helper()
	client := Client(t)
	client.Timeout = 5 * time.Second
	var found []*Node
	eventually(t, func() bool {
		found = nil
		for _, m := range members {
			n := c.Nodes[m.name]
			if m.prism == "" || n == nil || !n.Running() {
				continue
			}
			var status struct {
				Stores []struct {
					InFlight int `json:"inFlight"`
				} `json:"stores"`
			}
			res, err := client.Get(n.AdminURL("/oose/status"))
			if err != nil {
				continue // it is about to start
			}
			err = json.NewDecoder(res.Body).Decode(&status)
			res.Body.Close()
			if err == nil && len(status.Stores) == 1 && status.Stores[0].InFlight > 0 {
				found = append(found, n)
			}
		}
		return len(found) == 1
	}, "one store is sending")
	return found[0]
}

// Freeze stops the process without ending it, as a machine that hangs.
func (n *Node) Freeze() {
	n.t.Helper()
	require.NoError(n.t, n.cmd.Process.Signal(syscall.SIGSTOP))
}

// Thaw has it go on.
func (n *Node) Thaw() {
	n.t.Helper()
	require.NoError(n.t, n.cmd.Process.Signal(syscall.SIGCONT))
}

// With a store down, uploads and downloads go on.
func TestClusterWithAStoreDown(t *testing.T) {
	parallel(t)
	engines(t, func(t *testing.T, config ClusterConfig) {
		c := StartCluster(t, config)
		a := c.Prism1.Login()
		var urls []string
		var data [][]byte
		for range 12 {
			data = append(data, noise(t, 50_000))
			hash := a.Upload("f.bin", "sha256", bytes.NewReader(data[len(data)-1]))
			urls = append(urls, "/"+a.Purchase(hash, "bin", nil).Token+"/f.bin")
		}
		c.Store1.Kill()
		for i, url := range urls {
			for _, prism := range []*Node{c.Prism1, c.Prism2} {
				res, body := fetch(t, a.HTTP, http.MethodGet, prism.URL(url))
				require.Equal(t, http.StatusOK, res.StatusCode, "%s", body)
				require.True(t, bytes.Equal(data[i], body))
			}
		}
		for range 4 {
			more := noise(t, 100_000)
			hash := a.Upload("f.bin", "sha256", bytes.NewReader(more))
			require.Equal(t, 2, detail(a, hash).Count, "two clones on the stores that are left")
		}
		c.Store1.Restart()
		c.WaitKnown()
	})
}
