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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// streamed is how large the content of the unbroken streams is.
const streamed = 1 << 30

// A download goes on, byte for byte, when the store that serves it is killed or
// frozen, in each of its quarters, over every protocol.
func TestClusterUnbrokenStream(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name        string
		strike, end func(*Node)
	}{
		{"killed", (*Node).Kill, (*Node).Restart},
		{"frozen", (*Node).Freeze, (*Node).Thaw},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			c := StartCluster(t, ClusterConfig{})
			a := c.Prism1.Login()
			source, want := bigFile(t)
			hash := a.Upload("big.bin", "sha256", source)
			require.Equal(t, want, hash)
			path := "/" + a.Purchase(hash, "bin", nil).Token + "/big.bin"
			for _, p := range protocols(t, c.Prism1) {
				t.Run(p.name, func(t *testing.T) {
					res, err := p.http.Get(p.base + path)
					require.NoError(t, err)
					defer res.Body.Close()
					require.Equal(t, http.StatusOK, res.StatusCode)
					require.EqualValues(t, streamed, res.ContentLength)
					sum := sha256.New()
					var gaps []time.Duration
					for quarter := range int64(4) {
						_, err := io.CopyN(sum, res.Body, streamed/8)
						require.NoError(t, err, "in quarter %d", quarter+1)
						store := c.serving(t)
						fault.strike(store)
						began := time.Now()
						longest := copyTimed(t, sum, res.Body, streamed/8, began)
						gaps = append(gaps, longest.Round(time.Millisecond))
						fault.end(store)
						c.WaitKnown()
					}
					require.Equal(t, want, hex.EncodeToString(sum.Sum(nil)))
					t.Logf("the longest gaps of the four quarters: %v", gaps)
				})
			}
			t.Run("ranges", func(t *testing.T) {
				start, end := int64(streamed/3), int64(streamed-1000)
				req, err := http.NewRequest(http.MethodGet, c.Prism1.URL(path), nil)
				require.NoError(t, err)
				req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, end))
				res, err := a.HTTP.Do(req)
				require.NoError(t, err)
				defer res.Body.Close()
				require.Equal(t, http.StatusPartialContent, res.StatusCode)
				got := sha256.New()
				_, err = io.CopyN(got, res.Body, 64<<20)
				require.NoError(t, err)
				store := c.serving(t)
				fault.strike(store)
				_, err = io.Copy(got, res.Body)
				require.NoError(t, err)
				fault.end(store)
				whole, _ := bigFile(t)
				defer whole.Close()
				expected := sha256.New()
				_, err = io.Copy(expected, io.NewSectionReader(whole, start, end-start+1))
				require.NoError(t, err)
				require.Equal(t, expected.Sum(nil), got.Sum(nil))
			})
		})
	}
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

// serving returns the store that is sending a content now.
func (c *Cluster) serving(t *testing.T) *Node {
	t.Helper()
	var found *Node
	eventually(t, func() bool {
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
			_, text := fetch(t, Client(t), http.MethodGet, n.AdminURL("/oose/status"))
			require.NoError(t, json.Unmarshal(text, &status), "%s", text)
			if len(status.Stores) == 1 && status.Stores[0].InFlight > 0 {
				found = n
			}
		}
		return found != nil
	}, "a store is sending")
	return found
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
	t.Parallel()
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
