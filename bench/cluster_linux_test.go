package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
)

// keeper is an engine of records as a node uses it.
type keeper interface {
	purchase.Engine
	record.Engine
	record.Confirmer
	Run(ctx context.Context) error
	Close() error
}

// member is one node's records: its engine, and a book of purchases over it.
type member struct {
	keeper
	book  *purchase.Book
	close func() // may be called before the benchmark's end
}

// run runs an engine until the benchmark's end, and opens the book.
func run(b *testing.B, e keeper, clock *record.Clock) *member {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	key, err := purchase.CheckKey([]byte("a secret of the benchmarks"))
	require.NoError(b, err)
	minter, err := purchase.NewMinter('a', key, clock)
	require.NoError(b, err)
	book := purchase.NewBook(e, minter, clock, purchase.Options{})
	m := &member{e, book, sync.OnceFunc(func() {
		book.Close()
		cancel()
		<-ended
		require.NoError(b, e.Close())
	})}
	b.Cleanup(m.close)
	return m
}

// onBadger opens a journal of its own.
func onBadger(b *testing.B, folder string) (*member, *journal.Journal) {
	b.Helper()
	clock := record.NewClock(nil)
	j, err := journal.Open(journal.Options{Dir: filepath.Join(folder, "meta"), Clock: clock})
	require.NoError(b, err)
	return run(b, j, clock), j
}

// onRedis opens an engine on a Redis.
func onRedis(b *testing.B, url, source string) *member {
	b.Helper()
	clock := record.NewClock(nil)
	e, err := redisdb.Open(redisdb.Options{URL: url, Source: source, Clock: clock, Logger: zap.NewNop()})
	require.NoError(b, err)
	m := run(b, e, clock)
	require.Eventually(b, func() bool {
		_, err := m.Get(b.Context(), record.Purchase, "none")
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	return m
}

// pair is two nodes' journals that follow each other, by signed calls over HTTP.
func pair(b *testing.B) (first, second *member) {
	b.Helper()
	first, one := linked(b, "one", nil)
	second, _ = linked(b, "two", []string{one})
	require.Eventually(b, func() bool {
		ack, err := first.Update(b.Context(), record.User, "hello", record.Condition{}, record.Change{Value: []byte("{}")})
		require.NoError(b, err)
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		return first.Confirm(ctx, ack).Copies == 2
	}, 30*time.Second, 50*time.Millisecond)
	return first, second
}

// linked starts one journal that joins others, and returns its address.
func linked(b *testing.B, name string, join []string) (*member, string) {
	b.Helper()
	m, j := onBadger(b, b.TempDir())
	keys := cluster.NewKeys([]string{"a secret of the benchmarks"})
	handler := cluster.NewHandler(cluster.Deps{Keys: keys, Self: func() string { return name }})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = handler.Serve(w, r)
	}))
	client := cluster.NewClient(cluster.Options{Node: name, Keys: keys})
	self := swarm.Self{ID: name, Name: name, Domain: "oose.example", Address: server.URL, Started: time.Now().UnixMilli()}
	s := swarm.New(swarm.Options{Journal: j, Self: func() swarm.Self { return self }, Join: join, Client: client})
	handler.Handle("/cluster/hello", s)
	handler.Handle("/cluster/journal", s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-ended
		server.CloseClientConnections()
		server.Close()
		client.Close()
	})
	return m, server.URL
}
