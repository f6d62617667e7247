package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb/redistest"
)

// TestMoveBetweenEngines is the way of docs/operations.md: a node that runs is
// exported, started on Redis, given its records, and taken back to badger; what
// worked before works after each step.
func TestMoveBetweenEngines(t *testing.T) {
	parallel(t)
	server := redistest.Start(t)
	n := Start(t, Config{})
	api := n.Login()
	n.MustRunWith([]byte("a good password\n"), "user", "add", "alice")
	content := noise(t, 100_000)
	hash := api.Upload("film.mp4", "sha256", bytes.NewReader(content))
	kept := api.Purchase(hash, "mp4", nil)
	counted := api.Purchase(hash, "mp4", map[string]any{"count": 2})
	revoked := api.Purchase(hash, "mp4", nil)
	removed := api.Upload("gone.bin", "sha256", strings.NewReader("to be removed"))
	gone := api.Purchase(removed, "bin", nil)
	api.MustPost("/content/purchase/remove", map[string]string{"token": revoked.Token}, nil)
	api.MustPost("/content/remove", map[string]string{"hash": removed}, nil)
	spend := func(agent string) int {
		res, _ := api.Get(n.URL("/"+counted.Token+"/film.mp4"), "User-Agent: "+agent)
		return res.StatusCode
	}
	require.Equal(t, http.StatusOK, spend("one"))

	works := func() {
		t.Helper()
		res, body := api.Get(n.URL("/" + kept.Token + "/film.mp4"))
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.True(t, bytes.Equal(content, body))
		for _, token := range []string{revoked.Token, gone.Token} {
			res, _ := api.Get(n.URL("/" + token + "/x"))
			require.Equal(t, http.StatusNotFound, res.StatusCode)
		}
		api.MustPost("/user/session/validate", map[string]string{}, nil) // the session of before
		n.LoginAs("alice", "a good password")
		r := n.Run("user", "list")
		require.Contains(t, r.Out, "alice")
	}
	works()
	require.Equal(t, http.StatusOK, spend("one"), "the same client again")
	export := func(name string) string {
		t.Helper()
		file := n.Path(name)
		require.Contains(t, n.MustRun("export", "--output", file), "records")
		return file
	}
	imported := func(file string) (a struct{ Records, Taken, Left, Expired, Ahead int }) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(n.MustRun("import", "--input", file, "--json")), &a))
		return a
	}
	recorded := func(uses int) { // which happens a moment later
		t.Helper()
		n.Eventually(func() bool {
			return strings.Count(n.Run("export").Out, `"topic":"use"`) == uses
		}, "the uses are recorded")
	}
	recorded(1)
	first := export("first.ndjson")
	again := imported(first)
	require.Zero(t, again.Taken, "into itself: nothing is newer")

	use := func(engine string) {
		t.Helper()
		n.Stop()
		n.Configure(Config{Oose: engine})
		n.Restart()
	}
	use("engine redis " + server.URL())
	require.Positive(t, imported(first).Taken)
	works()
	require.Equal(t, http.StatusOK, spend("two"), "the second use")
	n.Eventually(func() bool { return spend("three") == http.StatusGone }, "uses of before count")
	recorded(2)
	second := export("second.ndjson")

	use("engine badger $DIR/data/meta2")
	require.Positive(t, imported(second).Taken)
	works()
	n.Eventually(func() bool { return spend("four") == http.StatusGone }, "uses of before count")
	require.Zero(t, imported(second).Taken)
	require.Zero(t, imported(first).Taken)

	// The commands stand in pipes as well, and say when something is missing.
	out := n.MustRun("export")
	require.Contains(t, n.MustRunWith([]byte(out), "import"), " 0 taken")
	r := n.RunWith([]byte(out[:len(out)/2]), "import")
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "not complete")
	half := n.Path("half.ndjson")
	require.NoError(t, os.WriteFile(half, []byte(out[:len(out)/2]), 0o600))
	r = n.Run("import", "--input", half)
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Err, "--incomplete")
	require.Contains(t, n.MustRun("export", "--output", half), "half.ndjson: ", "it is continued")
	require.Contains(t, n.MustRun("import", "--input", half), " 0 taken")
	require.Equal(t, 1, n.Run("export", "--output", half).Code, "it is complete")
}

// TestExportOfABusyNode: while purchases are made, an export has all that were
// made before it.
func TestExportOfABusyNode(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	api := n.Login()
	hash := api.Upload("a.bin", "sha256", strings.NewReader("hello"))
	before := make([]string, 300)
	for i := range before {
		before[i] = api.Purchase(hash, "bin", nil).Token
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, err := purchase(api, hash); err != nil {
				ended <- err
				return
			}
		}
	}()
	for i := range 3 {
		file := n.Path(fmt.Sprint("busy", i))
		n.MustRun("export", "--output", file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, token := range before {
			require.Contains(t, string(text), token)
		}
	}
	close(stop)
	require.NoError(t, <-ended)
}

// TestImportReachesTheCluster: what one node takes, the others have a moment
// later, and after a restart as well.
func TestImportReachesTheCluster(t *testing.T) {
	parallel(t)
	from := Start(t, Config{})
	for i := range 5 {
		from.MustRunWith([]byte("a good password\n"), "user", "add", fmt.Sprint("alice", i))
	}
	file := from.Path("records.ndjson")
	from.MustRun("export", "--output", file)

	c := StartCluster(t, ClusterConfig{Only: []string{"prism1", "prism2"}})
	require.Contains(t, c.Prism1.MustRun("import", "--input", file), " taken")
	has := func() bool {
		out := c.Prism2.Run("user", "list").Out
		return strings.Contains(out, "alice0") && strings.Contains(out, "alice4")
	}
	c.Prism2.Eventually(has, "the other node has the users")
	c.Prism2.LoginAs("alice3", "a good password")
	require.Contains(t, c.Prism2.MustRun("import", "--input", file), " 0 taken")
}
