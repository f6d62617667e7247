package certstorage

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
	"github.com/ooseio/oose/redisdb/redistest"
)

// running runs an engine until the test ends.
func runEngine[E interface {
	record.Engine
	Run(ctx context.Context) error
	Close() error
}](t *testing.T, e E) E {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, e.Close())
	})
	return e
}

func openJournal(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: t.TempDir(), Floor: -1, Ballast: -1})
	require.NoError(t, err)
	return runEngine(t, j)
}

// openRedis returns an engine of a node of its own on a server.
func openRedis(t *testing.T, url, prefix, source string) *redisdb.Engine {
	t.Helper()
	e, err := redisdb.Open(redisdb.Options{URL: url, Prefix: prefix, Source: source})
	require.NoError(t, err)
	return runEngine(t, e)
}

func TestConformJournal(t *testing.T) {
	conform(t, func(t *testing.T) (a, b certmagic.Storage) {
		j := openJournal(t)
		return opened(t, j), opened(t, j)
	})
}

func TestConformRedis(t *testing.T) {
	server := redistest.Start(t)
	conform(t, func(t *testing.T) (a, b certmagic.Storage) {
		prefix := rand.Text()
		return opened(t, openRedis(t, server.URL(), prefix, "one")), opened(t, openRedis(t, server.URL(), prefix, "two"))
	})
}

// TestRedisAway: a node that starts without Redis serves what it knew; what it
// stored meanwhile is everybody's when Redis is back.
func TestRedisAway(t *testing.T) {
	server, prefix, dir := redistest.Start(t), rand.Text(), t.TempDir()
	k := keeperIn(dir)
	detach := k.Attach(openRedis(t, server.URL(), prefix, "one"), always)
	synced(t, k)
	store(t, k, "a", "1")
	store(t, k, "b", "1")
	detach()
	server.Kill()

	k = keeperIn(dir)
	t.Cleanup(k.Attach(openRedis(t, server.URL(), prefix, "one"), always))
	require.Equal(t, "1", load(t, k, "a"))
	require.NoError(t, k.Store(t.Context(), "a", []byte("2")))
	require.NoError(t, k.Delete(t.Context(), "b"))
	require.Equal(t, "2", load(t, k, "a"))
	ok, err := k.TryLock(t.Context(), "x")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.False(t, ok)

	server.Restart()
	synced(t, k)
	other := opened(t, openRedis(t, server.URL(), prefix, "two"))
	require.Equal(t, "2", load(t, other, "a"))
	require.Equal(t, "-", load(t, other, "b"))

	// Redis is emptied: the certificates come back from the copies.
	require.NoError(t, server.Client().FlushAll(t.Context()).Err())
	again := keeperIn(dir)
	t.Cleanup(again.Attach(openRedis(t, server.URL(), prefix, "one"), always))
	synced(t, again)
	require.Equal(t, "2", load(t, again, "a"))
	require.Equal(t, "2", load(t, opened(t, openRedis(t, server.URL(), prefix, "three")), "a"))
}
