package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilledNodeKeepsWhatItAcknowledged kills a node (SIGKILL) in the middle of
// uploads and purchases, several times, and looks for what was acknowledged.
func TestKilledNodeKeepsWhatItAcknowledged(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	n.MustRunWith([]byte("her own password\n"), "user", "add", "alice")
	session := n.LoginAs("alice", "her own password")
	session.MustPost("/user/session/update", map[string]any{"data": map[string]string{"theme": "dark"}}, nil)
	keep := session.Upload("keep.txt", "sha512", strings.NewReader("kept"))
	bought := session.Purchase(keep, "txt", nil)
	revoked := session.Purchase(keep, "txt", nil)
	session.MustPost("/content/purchase/remove", map[string]string{"token": revoked.Token}, nil)
	ended := n.LoginAs("alice", "her own password")
	ended.MustPost("/user/logout", map[string]any{}, nil)

	contents := map[string][]byte{keep: []byte("kept")}
	purchases := map[string]string{bought.Token: keep}
	for range 4 {
		killWhileWriting(t, n, session, contents, purchases)
		n.Restart()
		requireNoTemporaries(t, n)

		var valid struct {
			Session struct{ Data map[string]any }
		}
		session.MustPost("/user/session/validate", map[string]any{}, &valid)
		require.Equal(t, "dark", valid.Session.Data["theme"])
		res, _ := ended.Post("/user/session/validate", map[string]any{})
		require.Equal(t, http.StatusUnauthorized, res.StatusCode, "a session that was ended stays so")
		res, _ = session.Get(n.URL("/" + revoked.Token + "/f.txt"))
		require.Equal(t, http.StatusNotFound, res.StatusCode, "a revoked purchase stays so")
		n.LoginAs("alice", "her own password")
		for hash := range contents {
			var detail struct{ Count int }
			session.MustPost("/content/detail", map[string]string{"hash": hash}, &detail)
			require.Positive(t, detail.Count, "a store holds %s", hash)
		}
		for token, hash := range purchases {
			res, body := session.Get(n.URL("/" + token + "/f.txt"))
			require.Equal(t, http.StatusOK, res.StatusCode, "%s", body)
			require.True(t, bytes.Equal(contents[hash], body))
		}
	}
	for _, disk := range []string{"disk1", "disk2"} {
		out := n.MustRun("verify", disk, "--force")
		require.NotContains(t, strings.ToLower(out), "mismatch")
	}
}

// killWhileWriting uploads and purchases on several connections, kills the
// node while they go on, and notes what it had acknowledged.
func killWhileWriting(t *testing.T, n *Node, a *API, contents map[string][]byte, purchases map[string]string) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	acknowledged := make(chan struct{}, 1000)
	for range 3 {
		wg.Go(func() {
			for {
				data := noise(t, 1+rand.IntN(300_000))
				hash, err := upload(a, data)
				if err != nil {
					return
				}
				token, err := purchase(a, hash)
				mu.Lock()
				contents[hash] = data
				if err == nil {
					purchases[token] = hash
				}
				mu.Unlock()
				if err != nil {
					return
				}
				acknowledged <- struct{}{}
			}
		})
	}
	for range 5 + rand.IntN(10) {
		select {
		case <-acknowledged:
		case <-time.After(patience):
			t.Fatal("nothing was acknowledged")
		}
	}
	n.Kill()
	wg.Wait()
}

// requireNoTemporaries waits until the stores hold no unfinished file.
func requireNoTemporaries(t *testing.T, n *Node) {
	t.Helper()
	for _, disk := range []string{"disk1", "disk2"} {
		eventually(t, func() bool { return len(unfinished(t, n.Path(disk))) == 0 }, "unfinished files are removed from "+disk)
	}
}

// unfinished lists the files that a store's root holds of uploads that go on,
// or that were broken off.
func unfinished(t *testing.T, root string) []string {
	t.Helper()
	return slices.DeleteFunc(filesIn(t, filepath.Join(root, "tmp")), func(name string) bool {
		return filepath.Base(name) == "health.part" // what the disk's test writes
	})
}

// filesIn lists the files below a folder, which may be missing.
func filesIn(t *testing.T, folder string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // removed meanwhile
		}
		return err
	})
	require.NoError(t, err)
	return files
}
