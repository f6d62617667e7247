package redisdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// mustBeAway checks all that is promised of an engine whose Redis is away:
// known is a user with the value 1 that is in memory.
func (n *node) mustBeAway(t testing.TB, known string) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, n.timed(t, "a hit", func() error {
		versions, err := n.Get(ctx, record.User, known)
		if err == nil && (len(versions) != 1 || string(versions[0].Value) != "1") {
			err = fmt.Errorf("got %v", versions)
		}
		return err
	}), "what is in memory is served")
	require.ErrorIs(t, n.timed(t, "a miss", func() error {
		_, err := n.Get(ctx, record.User, "not in memory")
		return err
	}), record.ErrUnavailable, "it is not known to be missing")
	require.ErrorIs(t, n.timed(t, "a write", func() error {
		_, err := n.Update(ctx, record.User, "new", record.Condition{}, record.Change{Value: []byte("1")})
		return err
	}), record.ErrUnavailable)
	require.ErrorIs(t, n.timed(t, "an import", func() error {
		return n.Import(ctx, []record.Record{{Topic: record.User, Key: "new", Source: "x", Time: 1, Revision: 1}})
	}), record.ErrUnavailable)
	for _, all := range []func(func(record.Record, error) bool){
		n.List(ctx, record.User, record.ByKey, "", ""), n.List(ctx, record.Inventory, record.ByMember, "s", ""), n.Walk(ctx, nil),
	} {
		require.ErrorIs(t, n.timed(t, "a listing", func() error {
			for _, err := range all {
				return err
			}
			return nil
		}), record.ErrUnavailable)
	}
	began := time.Now()
	ack := n.Confirm(ctx, record.Ack{Revision: n.commits.head.Load(), Copies: 1})
	require.Equal(t, 1, ack.Copies)
	n.lag.check(t, "confirming", began)
}

// TestAway takes Redis away in many ways. Each call is answered in time, what
// is known is served, and all goes on by itself when Redis is back.
func TestAway(t *testing.T) {
	for name, c := range map[string]struct {
		leave, back func(*redistest.Server, *redistest.Proxy)
	}{
		"killed":    {func(s *redistest.Server, _ *redistest.Proxy) { s.Kill() }, func(s *redistest.Server, _ *redistest.Proxy) { s.Restart() }},
		"frozen":    {func(s *redistest.Server, _ *redistest.Proxy) { s.Freeze() }, func(s *redistest.Server, _ *redistest.Proxy) { s.Thaw() }},
		"slow":      {func(_ *redistest.Server, p *redistest.Proxy) { p.Delay(2 * time.Second) }, func(_ *redistest.Server, p *redistest.Proxy) { p.Delay(0) }},
		"swallowed": {func(_ *redistest.Server, p *redistest.Proxy) { p.Swallow(true) }, func(_ *redistest.Server, p *redistest.Proxy) { p.Swallow(false); p.Cut() }},
		"paused":    {func(s *redistest.Server, _ *redistest.Proxy) { s.Do("client", "pause", 3000, "all") }, func(*redistest.Server, *redistest.Proxy) {}},
		"password": {func(s *redistest.Server, p *redistest.Proxy) {
			s.Do("config", "set", "requirepass", "hunter2")
			p.Cut()
		},
			func(s *redistest.Server, _ *redistest.Proxy) { s.Restart() }},
	} {
		t.Run(name, func(t *testing.T) {
			// With everysec, who is killed while an earlier sync goes on has not even
			// written what came since.
			s := redistest.Start(t, "--appendfsync", "always")
			p := redistest.NewProxy(t, s)
			n := open(t, p.URL(), "me", strict).ready(t)
			put(t, n, record.User, "known", "1")
			put(t, n, record.User, "known too", "1")
			require.Equal(t, "1", value(t, n, record.User, "known"))
			c.leave(s, p)
			stop := n.underLoad(t)
			for range 20 {
				n.mustBeAway(t, "known")
			}
			redistest.Await(t, func() error {
				if n.Stats().Away != tags {
					return errors.New("it is not away")
				}
				return nil
			})
			require.NoError(t, n.timed(t, "a hit", func() error { n.mustBeAway(t, "known"); return nil }), "at once by now")
			c.back(s, p)
			n.ready(t)
			stop()
			require.Equal(t, "1", value(t, n, record.User, "known too"), "it was written")
			put(t, n, record.User, "known", "2")
			require.Equal(t, "2", value(t, n, record.User, "known"))
			require.Zero(t, n.Stats().Away)
			for _, entry := range n.logs.All() {
				require.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), "hunter2")
			}
		})
	}
}

// underLoad has many ask and write at once until stop is called, each of which
// must be answered in time.
func (n *node) underLoad(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				if w%2 == 0 {
					_, _ = n.Get(context.Background(), record.Purchase, fmt.Sprint("miss", w, i))
				} else {
					_, _ = n.Update(context.Background(), record.Purchase, fmt.Sprint("load", w), record.Condition{}, record.Change{Value: []byte("1")})
				}
				n.lag.check(t, "a call under load", began)
				// At once is too fast for two cores that a race detector has too.
				pause := time.NewTimer(5 * time.Millisecond)
				<-pause.C
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestAwayAtStart: Redis may come later than the engine.
func TestAwayAtStart(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	n := open(t, s.URL(), "me", strict)
	for range 3 {
		_, err := n.Get(t.Context(), record.User, "a")
		require.ErrorIs(t, err, record.ErrUnavailable)
		require.ErrorIs(t, n.timed(t, "a write", func() error {
			_, err := n.Update(context.Background(), record.User, "a", record.Condition{}, record.Change{})
			return err
		}), record.ErrUnavailable)
	}
	s.Restart()
	n.ready(t)
	put(t, n, record.User, "a", "1")
}

// TestAllAway: Sentinels and all servers stop answering, or all of a Cluster do,
// while an engine runs and while another starts.
func TestAllAway(t *testing.T) {
	for name, start := range map[string]func() (string, []*redistest.Server){
		"sentinel": func() (string, []*redistest.Server) {
			s := redistest.StartSentinel(t)
			return s.URL(), append(slices.Clone(s.Servers), s.Sentinels...)
		},
		"cluster": func() (string, []*redistest.Server) {
			c := redistest.StartCluster(t)
			return c.URL(), c.Masters
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, servers := start()
			n := open(t, url, "me", strict).ready(t)
			put(t, n, record.User, "known", "1")
			require.Equal(t, "1", value(t, n, record.User, "known"))
			for _, s := range servers {
				s.Freeze()
				defer s.Thaw()
			}
			late := open(t, url, "late", strict)
			for range 5 {
				n.mustBeAway(t, "known")
				require.ErrorIs(t, late.timed(t, "a miss", func() error {
					_, err := late.Get(context.Background(), record.User, "known")
					return err
				}), record.ErrUnavailable)
				require.ErrorIs(t, late.timed(t, "a write", func() error {
					_, err := late.Update(context.Background(), record.User, "new", record.Condition{}, record.Change{})
					return err
				}), record.ErrUnavailable)
			}
			for _, s := range servers {
				s.Thaw()
			}
			put(t, n, record.User, "known", "2")
			require.Equal(t, "2", value(t, late.ready(t), record.User, "known"))
		})
	}
}

func TestWithoutRun(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	put(t, open(t, s.URL(), "other").ready(t), record.User, "a", "1")
	e, err := Open(Options{URL: s.URL(), Source: "me"})
	require.NoError(t, err)
	require.Equal(t, "1", value(t, e, record.User, "a"))
	_, err = e.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Run(t.Context()), errRunning)
	_, err = e.Get(t.Context(), record.User, "a")
	require.ErrorIs(t, err, record.ErrUnavailable)
	_, err = e.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.ErrorIs(t, e.Import(t.Context(), nil), record.ErrUnavailable)
}

// TestFull: when its memory is full, Redis takes nothing more, and is read.
func TestFull(t *testing.T) {
	s := redistest.Start(t)
	n := open(t, s.URL(), "me", strict).ready(t)
	put(t, n, record.User, "known", "1")
	s.Do("config", "set", "maxmemory", "1")
	for i := range 10 {
		require.ErrorIs(t, n.timed(t, "a write", func() error {
			_, err := n.Update(context.Background(), record.User, "new", record.Condition{}, record.Change{Value: []byte("1")})
			return err
		}), record.ErrUnavailable)
		require.Equal(t, "1", value(t, n, record.User, "known"), i)
		require.Empty(t, get(t, n, record.User, "new"), "nothing by halves")
	}
	b := open(t, s.URL(), "other")
	require.Equal(t, "1", value(t, b, record.User, "known"), "a new node reads it too")
	s.Do("config", "set", "maxmemory", "0")
	put(t, n, record.User, "new", "1")
	require.Equal(t, "1", value(t, b.ready(t), record.User, "new"))
}

// TestWaitOnce: a request that asks for several things that are in memory waits
// for a frozen Redis once, not for each.
func TestWaitOnce(t *testing.T) {
	s := redistest.Start(t)
	n := open(t, s.URL(), "me", strict).ready(t)
	for i := range 5 {
		put(t, n, record.User, fmt.Sprint("known", i), "1")
		require.Equal(t, "1", value(t, n, record.User, fmt.Sprint("known", i)))
	}
	s.Freeze()
	defer s.Thaw()
	for tag := range tags { // as if the last news were older than a second, which the follower has not noticed
		n.states[tag].confirmed.Store(1)
	}
	require.NoError(t, n.timed(t, "five hits", func() error {
		for i := range 5 {
			if _, err := n.Get(context.Background(), record.User, fmt.Sprint("known", i)); err != nil {
				return err
			}
		}
		return nil
	}))
}
