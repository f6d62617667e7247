package journal

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/record"
)

// roleVariable makes this test binary a part of a test: something that will be killed.
const roleVariable = "OOSE_JOURNAL_TEST_ROLE"

// roles are what a re-exec'd test binary may be, by name.
var roles = map[string]func() error{}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// wallClock is a clock that tests set.
type wallClock struct{ now atomic.Int64 }

func newWallClock() *wallClock {
	c := new(wallClock)
	c.set(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	return c
}

func (c *wallClock) set(t time.Time)         { c.now.Store(t.UnixNano()) }
func (c *wallClock) advance(d time.Duration) { c.now.Add(int64(d)) }
func (c *wallClock) time() time.Time         { return time.Unix(0, c.now.Load()) }

// running is a journal whose committer runs. It takes what others wrote as the
// suite wants it.
type running struct {
	*Journal
	tb   testing.TB
	opts Options
	done chan struct{}
	end  context.CancelFunc
}

func start(tb testing.TB, opts Options) *running {
	tb.Helper()
	if opts.every == 0 {
		opts.every = time.Hour // tests sweep when they want
	}
	if opts.Dir == "" {
		opts.Dir = tb.TempDir()
	}
	if opts.Logger == nil {
		opts.Logger = zaptest.NewLogger(tb, zaptest.Level(zap.WarnLevel))
	}
	j, err := Open(opts)
	require.NoError(tb, err)
	r := &running{Journal: j, tb: tb, opts: opts, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	go func() {
		defer close(r.done)
		if err := j.Run(ctx); err != nil {
			tb.Error(err)
		}
	}()
	tb.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.end()
	<-r.done
	require.NoError(r.tb, r.Close())
}

func (r *running) reopen() *running {
	r.stop()
	return start(r.tb, r.opts)
}

func (r *running) Inject(records ...record.Record) {
	for i := range records {
		queue := r.live
		if i%2 == 0 {
			queue = r.background
		}
		require.NoError(r.tb, r.take(context.Background(), queue, nil, []incoming{makeIncoming(records[i])}, nil, nil))
	}
}

func (r *running) put(topic record.Topic, key string, c record.Change) record.Ack {
	r.tb.Helper()
	ack, err := r.Update(context.Background(), topic, key, record.Condition{}, c)
	require.NoError(r.tb, err)
	return ack
}

// putMany writes n records, in no order: those that wait share a sync.
func (r *running) putMany(topic record.Topic, n int, one func(i int) (key string, c record.Change)) {
	r.tb.Helper()
	var writers errgroup.Group
	writers.SetLimit(100)
	for i := range n {
		writers.Go(func() error {
			key, c := one(i)
			_, err := r.Update(context.Background(), topic, key, record.Condition{}, c)
			return err
		})
	}
	require.NoError(r.tb, writers.Wait())
}

func (r *running) get(topic record.Topic, key string) []record.Record {
	r.tb.Helper()
	versions, err := r.Get(context.Background(), topic, key)
	require.NoError(r.tb, err)
	return versions
}

func (r *running) sweep() int {
	r.tb.Helper()
	n, err := r.Sweep(context.Background())
	require.NoError(r.tb, err)
	return n
}

func (r *running) walk() []record.Record {
	r.tb.Helper()
	var all []record.Record
	for one, err := range r.Walk(context.Background(), nil) {
		require.NoError(r.tb, err)
		all = append(all, one)
	}
	return all
}

// seen collects what a watcher is told.
type seen struct {
	mu      sync.Mutex
	records []record.Record
}

func (s *seen) add(records []record.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, records...)
}

func (s *seen) take() []record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.records
	s.records = nil
	return records
}
