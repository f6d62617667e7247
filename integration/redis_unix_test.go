//go:build unix

package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

// Without Redis a node serves what it knows, says of the rest that it can't
// tell, and takes no writes; with Redis back, all goes on.
func TestRedisAway(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	n := Start(t, Config{Oose: "engine redis " + server.URL()})
	a := n.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	known := n.URL("/" + a.Purchase(hash, "bin", nil).Token + "/f.bin")
	get := func(url string) *http.Response {
		began := time.Now()
		res, _ := fetch(t, a.HTTP, http.MethodGet, url)
		t.Logf("%d after %s", res.StatusCode, time.Since(began).Round(time.Millisecond))
		return res
	}
	require.Equal(t, http.StatusOK, get(known).StatusCode)
	unknown := n.URL("/" + plausibleTokenAlone(t) + "/f.bin")
	require.Equal(t, http.StatusNotFound, get(unknown).StatusCode)

	for _, away := range []struct {
		name        string
		strike, end func()
	}{
		{"frozen", server.Freeze, server.Thaw},
		{"killed", server.Kill, server.Restart},
	} {
		t.Run(away.name, func(t *testing.T) {
			require.Equal(t, http.StatusOK, get(known).StatusCode)
			away.strike()
			require.Equal(t, http.StatusOK, get(known).StatusCode, "what is known is served")
			res := get(unknown)
			require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "what is not known is not denied")
			require.NotEmpty(t, res.Header.Get("Retry-After"))
			res, _ = a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
			require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "nothing is promised that is not kept")
			away.end()
			eventually(t, func() bool { return get(unknown).StatusCode == http.StatusNotFound }, "Redis is asked again")
			eventually(t, func() bool {
				res, _ := a.Post("/content/purchase", map[string]any{"hash": hash, "ext": "bin"})
				return res.StatusCode == http.StatusOK
			}, "purchases are made again")
		})
	}

	t.Run("at the start", func(t *testing.T) {
		n.Stop()
		server.Kill()
		n.SpawnOnly()
		eventually(t, func() bool { return pingStatus(t, n) == http.StatusServiceUnavailable }, "not ready")
		require.Equal(t, http.StatusServiceUnavailable, get(known).StatusCode, "nothing is known, and nothing denied")
		server.Restart()
		n.WaitReady()
		eventually(t, func() bool { return get(known).StatusCode == http.StatusOK }, "it serves")
	})
}

// A disk that is not mounted when a node starts without Redis is not taken for a
// new store: nothing is written where it belongs, and it goes on when it is back.
func TestRedisAwayAndADiskTooAtTheStart(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	n := Start(t, Config{Oose: "engine redis " + server.URL()})
	a := n.Login()
	hash := a.Upload("f.bin", "sha256", strings.NewReader("hello"))
	url := n.URL("/" + a.Purchase(hash, "bin", nil).Token + "/f.bin")
	n.Stop()
	server.Kill()
	roots, err := filepath.Glob(n.Path("disk*"))
	require.NoError(t, err)
	require.NotEmpty(t, roots)
	for _, root := range roots {
		require.NoError(t, os.Rename(root, root+".away"))
		require.NoError(t, os.Mkdir(root, 0o755))
	}
	n.SpawnOnly()
	eventually(t, func() bool { return pingStatus(t, n) == http.StatusServiceUnavailable }, "not ready")
	server.Restart()
	eventually(t, func() bool {
		stores, _ := statusOf(t, n)["stores"].([]any)
		waiting := 0
		for _, s := range stores {
			if reason, _ := s.(map[string]any)["reason"].(string); strings.Contains(reason, "not mounted") {
				waiting++
			}
		}
		return waiting == len(roots)
	}, "all stores miss their disks")
	for _, root := range roots {
		entries, err := os.ReadDir(root)
		require.NoError(t, err)
		require.Empty(t, entries, "nothing was written there")
		require.NoError(t, os.Remove(root))
		require.NoError(t, os.Rename(root+".away", root))
	}
	n.WaitReady()
	eventually(t, func() bool {
		res, _ := fetch(t, n.Client(), http.MethodGet, url)
		return res.StatusCode == http.StatusOK
	}, "it serves what it has had before")
}

// plausibleTokenAlone is a token that nobody knows.
func plausibleTokenAlone(t *testing.T) string {
	t.Helper()
	other := Start(t, Config{})
	a := other.Login()
	return a.Purchase(a.Upload("x.bin", "", strings.NewReader("x")), "bin", nil).Token
}
