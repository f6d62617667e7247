package export

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
	"github.com/ooseio/oose/redisdb/redistest"
)

// engine is an engine that runs.
type engine interface {
	Target
	Source() string
	Run(ctx context.Context) error
	Close() error
}

func run[E engine](t testing.TB, e E) E {
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

func openJournal(t testing.TB) engine {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: t.TempDir(), Floor: -1, Ballast: -1})
	require.NoError(t, err)
	return run(t, j)
}

func openRedis(t testing.TB, server *redistest.Server, prefix string) engine {
	t.Helper()
	e, err := redisdb.Open(redisdb.Options{URL: server.URL(), Prefix: prefix, Source: strings.ToLower(prefix) + "source"})
	require.NoError(t, err)
	return run(t, e)
}

// writeAll has an engine write records of every topic, with tombstones, what is
// final and what expires, some of them several times.
func writeAll(t testing.TB, e engine) {
	t.Helper()
	now := time.Now()
	for range 600 {
		topic := record.Topics()[rand.IntN(len(record.Topics()))]
		c := record.Change{Value: fmt.Appendf(nil, `{"n":%d}`, rand.IntN(1e6)), Delete: rand.IntN(20) == 0}
		if c.Delete {
			c.Value = nil
		}
		if topic == record.Inventory {
			c.Member = fmt.Sprint("store", rand.IntN(3))
		}
		if record.Expiring(topic) {
			c.Expires = now.Add(time.Duration(rand.IntN(100)+1) * time.Minute).UnixMilli()
			c.Final = rand.IntN(10) == 0
		}
		if topic == record.Certificate && !c.Delete {
			c.Value = bytes.Repeat([]byte{byte(rand.IntN(256))}, rand.IntN(3000))
		}
		_, err := e.Update(t.Context(), topic, fmt.Sprint("key ü ", rand.IntN(60)), record.Condition{}, c)
		require.NoError(t, err)
	}
}

// view is what readers see in an engine: the merged records of every topic, and
// the sums of the uses.
func view(t testing.TB, e record.Engine) map[string]string {
	t.Helper()
	seen := make(map[string]string)
	groups := make(map[string][]record.Record)
	for _, topic := range record.Topics() {
		for r, err := range e.List(t.Context(), topic, record.ByKey, "", "") {
			require.NoError(t, err)
			groups[string(topic)+" "+r.Key] = append(groups[string(topic)+" "+r.Key], r)
		}
	}
	for name, versions := range groups {
		for _, r := range record.Members(versions[0].Topic, versions) {
			seen[name+" "+r.Member] = fmt.Sprintf("%s %s %d %v %x", r.Source, r.Time, r.Expires, r.Final, r.Value)
		}
		if versions[0].Topic == record.Use {
			for _, r := range versions {
				seen[name+" of "+r.Source] = string(r.Value)
			}
		}
	}
	return seen
}

func move(t testing.TB, from record.Engine, to Target) Imported {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{})
	require.NoError(t, err)
	_, err = Export(t.Context(), from, nil, w, 0)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	r, err := NewReader(&b)
	require.NoError(t, err)
	done, err := Import(t.Context(), to, r, 0)
	require.NoError(t, err)
	return done
}

// TestBetweenEngines: badger to redis to badger, and what is seen stays the same.
func TestBetweenEngines(t *testing.T) {
	server := redistest.Start(t)
	first, second := openJournal(t), openJournal(t)
	writeAll(t, first)
	writeAll(t, second)
	move(t, second, first) // so that there are several sources
	want := view(t, first)
	require.NotEmpty(t, want)

	redis := openRedis(t, server, "A")
	done := move(t, first, redis)
	require.Equal(t, done.Records, done.Taken)
	require.Equal(t, want, view(t, redis))
	again := move(t, first, redis)
	require.Zero(t, again.Taken)
	require.Equal(t, done.Records, again.Left)

	back := openJournal(t)
	require.Equal(t, done.Taken, move(t, redis, back).Taken)
	require.Equal(t, want, view(t, back))
	require.Zero(t, move(t, redis, first).Taken, "the first one knows it all")
	require.Equal(t, want, view(t, first))

	other := openRedis(t, server, "B")
	move(t, redis, other)
	require.Equal(t, want, view(t, other))

	// What is written where it has come to counts from then on.
	writeAll(t, back)
	move(t, back, redis)
	require.Equal(t, view(t, back), view(t, redis))
}
