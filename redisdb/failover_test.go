package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// buyers make purchases without an end, confirmed where that can be, and
// remember what they were told.
type buyers struct {
	n         *node
	mu        sync.Mutex
	confirmed []string // with two copies or more
	once      []string // with one
	failed    atomic.Int64
	longest   atomic.Int64
	stop      func()
}

func startBuyers(t testing.TB, n *node, many int) *buyers {
	b := &buyers{n: n}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.stop = func() {
		cancel()
		wg.Wait()
	}
	for w := range many {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				token := fmt.Sprintf("w%d-%d", w, i)
				began := time.Now()
				ack, err := n.Update(context.Background(), record.Purchase, token, record.IfAbsent(),
					record.Change{Value: []byte(token), Expires: time.Now().Add(time.Hour).UnixMilli()})
				b.took(t, "a write", began)
				if err != nil {
					if !errors.Is(err, record.ErrUnavailable) {
						t.Errorf("making a purchase: %v", err)
					}
					b.failed.Add(1)
					pause := time.NewTimer(5 * time.Millisecond)
					<-pause.C
					continue
				}
				began = time.Now()
				ack = n.Confirm(context.Background(), ack)
				b.took(t, "confirming", began)
				b.mu.Lock()
				if ack.Copies > 1 {
					b.confirmed = append(b.confirmed, token)
				} else {
					b.once = append(b.once, token)
				}
				b.mu.Unlock()
			}
		})
	}
	return b
}

func (b *buyers) took(t testing.TB, what string, began time.Time) {
	took := time.Since(began)
	for {
		old := b.longest.Load()
		if int64(took) <= old || b.longest.CompareAndSwap(old, int64(took)) {
			break
		}
	}
	b.n.lag.check(t, what, began)
}

func (b *buyers) await(t testing.TB, more int) {
	t.Helper()
	began := b.count()
	redistest.Await(t, func() error {
		if n := b.count(); n < began+more {
			return fmt.Errorf("%d purchases were confirmed, and %d before", n, began)
		}
		return nil
	})
}

func (b *buyers) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.confirmed)
}

// check looks for all that was confirmed, past all caches.
func (b *buyers) check(t testing.TB, url string) {
	t.Helper()
	n := open(t, url, "checker").ready(t)
	lost := 0
	for _, token := range b.confirmed {
		if value(t, n, record.Purchase, token) != token {
			lost++
		}
	}
	gone := 0
	for _, token := range b.once {
		if value(t, n, record.Purchase, token) != token {
			gone++
		}
	}
	t.Logf("%d confirmed, %d of them lost; %d not confirmed, %d of them lost; %d refused; the longest call took %s",
		len(b.confirmed), lost, len(b.once), gone, b.failed.Load(), time.Duration(b.longest.Load()))
	require.Zero(t, lost)
}

// TestSentinelFailover kills and freezes masters under load: nothing that was
// confirmed is lost, no call takes too long, and all goes on by itself.
func TestSentinelFailover(t *testing.T) {
	for name, leave := range map[string]func(*redistest.Server){
		"killed": (*redistest.Server).Kill,
		"frozen": (*redistest.Server).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.StartSentinel(t)
			n := open(t, s.URL(), "me", strict).ready(t)
			put(t, n, record.User, "known", "1")
			require.Equal(t, "1", value(t, n, record.User, "known"))
			redistest.Await(t, func() error {
				if n.Stats().Replicas != 2 {
					return errors.New("it does not know of its replicas")
				}
				return nil
			})
			b := startBuyers(t, n, 8)
			b.await(t, 200)
			master := s.Servers[0]
			leave(master)
			n.mustServe(t, "known")
			s.AwaitOther(master)
			b.await(t, 200)
			if name == "frozen" {
				master.Thaw() // thinks for a while that it is the master
			} else {
				master.Restart()
			}
			b.await(t, 200)
			b.stop()
			b.check(t, s.URL())
			require.Equal(t, "1", value(t, n, record.User, "known"))
			n.mustFollow(t, open(t, s.URL(), "other").ready(t))
		})
	}
}

// mustServe checks that what is in memory is served at once.
func (n *node) mustServe(t testing.TB, known string) {
	t.Helper()
	for range 50 {
		require.NoError(t, n.timed(t, "a hit", func() error {
			_, err := n.Get(context.Background(), record.User, known)
			return err
		}))
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
}

// TestClusterFailover does the same with a third of a Cluster: the others are
// not concerned.
func TestClusterFailover(t *testing.T) {
	for name, leave := range map[string]func(*redistest.Server){
		"killed": (*redistest.Server).Kill,
		"frozen": (*redistest.Server).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			c := redistest.StartClusterWithReplicas(t)
			n := open(t, c.URL(), "me", strict).ready(t)
			redistest.Await(t, func() error {
				if n.Stats().Replicas != 1 {
					return errors.New("it does not know of its replicas")
				}
				return nil
			})
			here, there := "", "" // keys on the first master and on another
			for i := 0; here == "" || there == ""; i++ {
				key := fmt.Sprint("known", i)
				put(t, n, record.User, key, "1")
				require.Equal(t, "1", value(t, n, record.User, key))
				server, err := n.data.client(t.Context(), tagOf(record.User, key))
				require.NoError(t, err)
				if server.Options().Addr == c.Masters[0].Addr {
					here = key
				} else {
					there = key
				}
			}
			b := startBuyers(t, n, 8)
			b.await(t, 200)
			leave(c.Masters[0])
			n.mustServe(t, here)
			redistest.Await(t, func() error {
				_, err := n.Update(context.Background(), record.User, there, record.Condition{}, record.Change{Value: []byte("2")})
				return err
			})
			require.Equal(t, "2", value(t, n, record.User, there))
			redistest.Await(t, func() error {
				if role := c.Replicas[0].Info("replication", "role"); role != "master" {
					return errors.New(role)
				}
				return nil
			})
			n.ready(t)
			b.await(t, 200)
			if name == "frozen" {
				c.Masters[0].Thaw()
			} else {
				c.Masters[0].Restart()
			}
			b.await(t, 200)
			b.stop()
			b.check(t, c.URL())
			n.mustFollow(t, open(t, c.URL(), "other").ready(t))
		})
	}
}

// TestConfirm says the truth about copies.
func TestConfirm(t *testing.T) {
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	began := time.Now()
	ack := put(t, n, record.Purchase, "a", "1")
	require.Equal(t, 1, n.Confirm(t.Context(), ack).Copies)
	require.Less(t, time.Since(began), 200*time.Millisecond, "with nobody to wait for it returns at once")

	set := redistest.StartSentinel(t)
	m := open(t, set.URL(), "me", strict).ready(t)
	redistest.Await(t, func() error {
		if m.Stats().Replicas != 2 {
			return errors.New("no replicas")
		}
		return nil
	})
	ack = put(t, m, record.Purchase, "a", "1")
	require.GreaterOrEqual(t, m.Confirm(t.Context(), ack).Copies, 2)
	unknown := ack
	unknown.Revision += 7
	require.Equal(t, 1, m.Confirm(t.Context(), unknown).Copies)

	// A master that does not have it confirms nothing.
	set.Servers[0].Do("del", m.layout.records(record.Purchase, "a"))
	require.Equal(t, 1, m.Confirm(t.Context(), ack).Copies)

	for _, replica := range set.Servers[1:] {
		replica.Freeze()
	}
	ack = put(t, m, record.Purchase, "b", "1")
	began = time.Now()
	require.Equal(t, 1, m.Confirm(t.Context(), ack).Copies)
	m.lag.check(t, "confirming", began)
	require.Greater(t, time.Since(began), 100*time.Millisecond, "it waited for them")
	for _, replica := range set.Servers[1:] {
		replica.Thaw()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	m.Confirm(ctx, ack)
	redistest.Await(t, func() error {
		if m.Confirm(context.Background(), ack).Copies < 2 {
			return errors.New("not confirmed")
		}
		return nil
	})
}

// TestOldMasterIsNotBelieved: a server in whose place another was put may not
// know of it for a while, and answers. What it says is neither told nor kept.
func TestOldMasterIsNotBelieved(t *testing.T) {
	t.Parallel()
	old := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	writer := open(t, old.URL(), "writer", own(t)).ready(t)
	prefix := fresh(writer.layout.prefix)
	put(t, writer, record.Purchase, "revoked", "sold")

	host, port, _ := strings.Cut(old.Addr, ":")
	now := redistest.Start(t, "--replicaof", host+" "+port)
	redistest.Await(t, func() error {
		if now.Info("replication", "master_link_status") != "up" {
			return errors.New("not linked")
		}
		return nil
	})
	now.Do("replicaof", "no", "one")

	n := open(t, now.URL(), "me", prefix).ready(t)
	stale, err := parseAddress(old.URL())
	require.NoError(t, err)
	require.NoError(t, n.data.close())
	n.data = dial(&stale, nil, n.within, dataConns)

	other := open(t, now.URL(), "other", prefix).ready(t)
	seen := watch(n, record.Purchase)
	put(t, other, record.Purchase, "revoked", "revoked")
	seen.await(t, "the revocation", func(r record.Record) bool { return string(r.Value) == "revoked" })
	for range 3 {
		require.Equal(t, "revoked", value(t, n, record.Purchase, "revoked"))
	}
	require.NotZero(t, n.Stats().Overtaken)
}
