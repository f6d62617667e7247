package redisdb

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// example is the program that docs/redis.md shows.
func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/redis.md")
	require.NoError(t, err)
	_, program, found := strings.Cut(string(text), "```sh\n")
	require.True(t, found)
	program, _, found = strings.Cut(program, "```")
	require.True(t, found)
	return program
}

// TestDocumentedPurchase runs what docs/redis.md shows, as it is written there.
func TestDocumentedPurchase(t *testing.T) {
	t.Parallel()
	program := example(t)
	s := redistest.Start(t)
	c := redistest.StartCluster(t)
	for name, at := range map[string]struct{ url, cli string }{
		"single":  {s.URL(), "redis-cli"},
		"cluster": {c.URL(), "redis-cli -c"},
	} {
		t.Run(name, func(t *testing.T) {
			n := open(t, at.url, "me").ready(t)
			minter, err := purchase.NewMinter('a', make([]byte, 32), n.clock)
			require.NoError(t, err)
			book := purchase.NewBook(n, minter, n.clock, purchase.Options{})
			defer book.Close()
			seen := watch(n, record.Purchase)

			cmd := exec.Command("sh", "-e", "-c", strings.Replace(program, "redis-cli ", at.cli+" ", 1))
			cmd.Env = append(os.Environ(), "REDIS=redis://"+strings.Split(strings.TrimPrefix(at.url[strings.Index(at.url, "://")+3:], ""), ",")[0])
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "this test needs sh, gzip and redis-cli (Debian: apt-get install redis-tools): %s", out)
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			require.Equal(t, []string{"OK"}, lines[:len(lines)-1], "%s", out)
			text, found := strings.CutPrefix(lines[len(lines)-1], "/")
			require.True(t, found)
			token, err := purchase.ParseToken(strings.TrimSuffix(text, "/movie.mp4"))
			require.NoError(t, err)

			p, err := book.Find(t.Context(), token)
			require.NoError(t, err)
			require.Equal(t, "a03f181dc7dedcfb577511149b8844711efdb04f", p.Hash.String())
			require.Equal(t, "mp4", p.Ext)
			require.InDelta(t, time.Now().Add(2*time.Hour).UnixMilli(), p.Expires, 5000)
			require.InDelta(t, time.Now().UnixMilli(), p.Made.Milli(), 5000)
			seen.await(t, "the purchase", func(r record.Record) bool { return r.Key == string(token) && r.Source == "shop" })
			var listed int
			for r, err := range n.List(t.Context(), record.Purchase, record.ByKey, string(token), "") {
				require.NoError(t, err)
				require.Equal(t, "shop", r.Source)
				listed++
			}
			require.Equal(t, 1, listed)
			require.NoError(t, book.Revoke(t.Context(), token))
			_, err = book.Find(t.Context(), token)
			require.ErrorIs(t, err, purchase.ErrRevoked)
		})
	}
}

// TestDocumentedUser: the rights that docs/redis.md names are enough.
func TestDocumentedUser(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/redis.md")
	require.NoError(t, err)
	_, rule, found := strings.Cut(string(text), "`ACL SETUSER oose ")
	require.True(t, found)
	rule, _, _ = strings.Cut(rule, "`")
	s := redistest.Start(t)
	args := []any{"acl", "setuser", "oose"}
	for _, word := range strings.Fields(rule) {
		args = append(args, word)
	}
	s.Do(args...)
	n := open(t, strings.Replace(s.URL(), "://", "://oose:password@", 1), "me").ready(t)
	put(t, n, record.User, "a", "1")
	require.Equal(t, "1", value(t, n, record.User, "a"))
	for _, err := range n.List(t.Context(), record.User, record.ByKey, "", "") {
		require.NoError(t, err)
	}
	require.NoError(t, n.Import(t.Context(), []record.Record{{Topic: record.User, Key: "b", Source: "x", Time: 1, Revision: 1}}))
	for tag := range tags {
		_, err := n.sweepTag(t.Context(), tag)
		require.NoError(t, err)
	}
	require.True(t, n.health.examine(t.Context(), true))
}
