package redisdb

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

func TestLock(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	prefix := own(t)
	a, b := open(t, s.URL(), "a", prefix, patient).ready(t), open(t, s.URL(), "b", prefix, patient).ready(t)
	for _, name := range []string{"x", "issue_cert_example.com", strings.Repeat("long\x00", 100)} {
		release, taken, err := a.TryLock(t.Context(), name)
		require.NoError(t, err)
		require.True(t, taken)
		for _, e := range []*node{a, b} {
			_, again, err := e.TryLock(t.Context(), name)
			require.NoError(t, err)
			require.False(t, again)
		}
		_, key := a.layout.lock(name)
		life := s.Client().PTTL(t.Context(), key).Val()
		require.Greater(t, life, lockLife/2)
		require.LessOrEqual(t, life, lockLife)
		require.NoError(t, release())
		require.Zero(t, s.Client().Exists(t.Context(), key).Val())
		release, taken, err = b.TryLock(t.Context(), name)
		require.NoError(t, err)
		require.True(t, taken)
		require.NoError(t, release())
	}
}

// TestLockIsKept: it is renewed, set again where Redis lost it, and never taken
// from who got it meanwhile.
func TestLockIsKept(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	e := open(t, s.URL(), "a", own(t), patient).ready(t)
	release, taken, err := e.TryLock(t.Context(), "x")
	require.NoError(t, err)
	require.True(t, taken)
	_, key := e.layout.lock("x")
	require.NoError(t, s.Client().PExpire(t.Context(), key, 7*time.Second).Err())
	require.Eventually(t, func() bool { return s.Client().PTTL(t.Context(), key).Val() > 8*time.Second }, 2*lockRenew, 50*time.Millisecond, "renewed")
	require.NoError(t, s.Client().Del(t.Context(), key).Err())
	require.Eventually(t, func() bool { return s.Client().Exists(t.Context(), key).Val() == 1 }, 2*lockRenew, 50*time.Millisecond, "set again")
	require.NoError(t, s.Client().Set(t.Context(), key, "another", 0).Err())
	require.Eventually(t, func() bool { return e.logs.FilterMessageSnippet("a lock was lost").Len() == 1 }, 2*lockRenew, 50*time.Millisecond)
	require.NoError(t, release())
	require.Equal(t, "another", s.Client().Get(t.Context(), key).Val(), "it is not given back for another")
}

func TestLockExcludes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	prefix := own(t)
	engines := []*node{open(t, s.URL(), "a", prefix, patient).ready(t), open(t, s.URL(), "b", prefix, patient).ready(t)}
	var inside, total atomic.Int64
	var workers sync.WaitGroup
	for n := range 8 {
		workers.Go(func() {
			for done := 0; done < 20; {
				release, taken, err := engines[n%2].TryLock(t.Context(), "x")
				if err != nil {
					t.Error(err)
					return
				}
				if !taken {
					continue
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				total.Add(1)
				inside.Add(-1)
				done++
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	require.Equal(t, int64(160), total.Load())
}

// TestLockWhileAway: nobody gets a lock that others can't see.
func TestLockWhileAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	e := open(t, s.URL(), "a", own(t), patient).ready(t)
	release, taken, err := e.TryLock(t.Context(), "held")
	require.NoError(t, err)
	require.True(t, taken)
	s.Kill()
	_, taken, err = e.TryLock(t.Context(), "x")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.False(t, taken)
	require.ErrorIs(t, release(), record.ErrUnavailable)
	s.Restart()
	e.ready(t)
	release, taken, err = e.TryLock(t.Context(), "x")
	require.NoError(t, err)
	require.True(t, taken)
	require.NoError(t, release())
}

// TestLockOfServers: among Sentinels a lock is at a replica before it counts; in
// a Cluster locks of any name work.
func TestLockOfServers(t *testing.T) {
	t.Parallel()
	t.Run("Sentinel", func(t *testing.T) {
		s := redistest.StartSentinel(t)
		prefix := own(t)
		a, b := open(t, s.URL(), "a", prefix, patient).ready(t), open(t, s.URL(), "b", prefix, patient).ready(t)
		tag, key := a.layout.lock("x")
		redistest.Await(t, func() error {
			if a.health.replicas(tag) == 0 {
				return errAway
			}
			return nil
		})
		release, taken, err := a.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, taken)
		var copies int64
		for _, server := range s.Servers {
			copies += server.Client().Exists(t.Context(), key).Val()
		}
		require.GreaterOrEqual(t, copies, int64(2))

		// The master dies: while the lock lasts nobody else gets it.
		old := s.Master()
		old.Kill()
		now := s.AwaitOther(old)
		require.Eventually(t, func() bool {
			held := now.Client().PTTL(t.Context(), key).Val() > 0
			_, again, err := b.TryLock(t.Context(), "x")
			require.False(t, held && again)
			return err == nil
		}, time.Minute, 50*time.Millisecond)
		require.NoError(t, release())
	})
	t.Run("Cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		prefix := own(t)
		a, b := open(t, c.URL(), "a", prefix, patient).ready(t), open(t, c.URL(), "b", prefix, patient).ready(t)
		for i := range 20 {
			release, taken, err := a.TryLock(t.Context(), strings.Repeat("n", i+1))
			require.NoError(t, err)
			require.True(t, taken)
			_, again, err := b.TryLock(t.Context(), strings.Repeat("n", i+1))
			require.NoError(t, err)
			require.False(t, again)
			require.NoError(t, release())
		}
	})
}
