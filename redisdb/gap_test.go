package redisdb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// TestFlushed: what Redis has lost is not served from memory, and who keeps a
// copy of the peers is told that they are gone.
func TestFlushed(t *testing.T) {
	s := redistest.Start(t)
	c := redistest.StartCluster(t)
	for name, setup := range map[string]struct {
		url   string
		flush func()
	}{
		"single":  {s.URL(), func() { s.Do("flushall") }},
		"cluster": {c.URL(), func() { c.Masters[0].Do("flushall"); c.Masters[1].Do("flushall"); c.Masters[2].Do("flushall") }},
	} {
		t.Run(name, func(t *testing.T) {
			n := open(t, setup.url, "me").ready(t)
			other := open(t, setup.url, "other").ready(t)
			peers, purchases := watch(n, record.Peer), watch(n, record.Purchase)
			for i := range 20 {
				put(t, other, record.Peer, fmt.Sprint("peer", i), "1")
				put(t, n, record.Purchase, fmt.Sprint("token", i), "1")
				require.Equal(t, "1", value(t, n, record.Purchase, fmt.Sprint("token", i)))
			}
			for i := range 20 { // the servers of a Cluster are followed each for itself
				peers.await(t, "a peer", func(r record.Record) bool { return r.Key == fmt.Sprint("peer", i) })
			}
			head := n.commits.head.Load()
			setup.flush()
			began := time.Now()
			for i := range 20 {
				peers.await(t, "a tombstone", func(r record.Record) bool {
					return r.Key == fmt.Sprint("peer", i) && r.Deleted && r.Source == "other" && r.Revision > 0
				})
				redistest.Await(t, func() error {
					if v := value(t, n, record.Purchase, fmt.Sprint("token", i)); v != "" {
						return errors.New("it is in memory still")
					}
					return nil
				})
			}
			purchases.await(t, "that purchases may have changed", func(r record.Record) bool { return r.Key == "" })
			require.Less(t, time.Since(began), 2*time.Second)
			require.NotZero(t, n.Stats().Resyncs)
			n.ready(t)
			require.Greater(t, put(t, n, record.Peer, "peer1", "2").Revision, head)
			require.Equal(t, "2", value(t, n, record.Peer, "peer1"))

			other.stop()
			again := open(t, setup.url, "other").ready(t)
			ack := put(t, again, record.Peer, "peer2", "2")
			peers.await(t, "the peer, back", func(r record.Record) bool { return r.Key == "peer2" && !r.Deleted && r.Revision == ack.Revision })
			for _, r := range peers.records() {
				if r.Source == "other" {
					require.LessOrEqual(t, r.Revision, ack.Revision, "a source that Redis forgot goes on above what it wrote before")
				}
			}
		})
	}
}

// TestGap: more happened than a stream keeps, while a node was cut off.
func TestGap(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s)
	n := open(t, p.URL(), "cut", strict).ready(t)
	other := open(t, s.URL(), "other").ready(t)
	put(t, other, record.Peer, "stays", "1")
	put(t, other, record.Peer, "changes", "1")
	put(t, other, record.User, "goes", "1")
	sessions := watch(n, record.Session)
	put(t, other, record.Session, "session", "1")
	sessions.await(t, "the session", func(r record.Record) bool { return r.Key == "session" })
	require.Equal(t, "1", value(t, n, record.Session, "session"))
	peers, users, removals := watch(n, record.Peer), watch(n, record.User), watch(n, record.Removal)
	p.Swallow(true)
	redistest.Await(t, func() error {
		if n.Stats().Away == tags {
			return nil
		}
		return errors.New("it is not away")
	})
	put(t, other, record.Peer, "changes", "2")
	put(t, other, record.Peer, "new", "1")
	put(t, other, record.Removal, "removed", "1")
	put(t, other, record.Session, "session", "2")
	s.Do("del", other.layout.records(record.User, "goes"))
	for tag := range tags {
		s.Do("xadd", n.layout.changes(tag), "maxlen", 1, "*", "t", "", "k", "")
	}
	require.Equal(t, "1", value(t, n, record.Session, "session"), "Redis is away: what is known")
	p.Swallow(false)
	p.Cut()
	peers.await(t, "what changed", func(r record.Record) bool { return r.Key == "changes" && string(r.Value) == "2" })
	peers.await(t, "what is new", func(r record.Record) bool { return r.Key == "new" })
	removals.await(t, "the removal", func(r record.Record) bool { return r.Key == "removed" })
	n.ready(t)
	require.Equal(t, "2", value(t, n, record.Session, "session"))
	for _, r := range users.records() {
		require.True(t, r.Deleted || r.Key != "goes")
	}
	n.mustFollow(t, other)
}

func (n *node) mustFollow(t *testing.T, other *node) {
	t.Helper()
	seen := watch(n, record.Switch)
	put(t, other, record.Switch, "follow", "1")
	seen.await(t, "a change", func(r record.Record) bool { return r.Key == "follow" })
}

// TestDomainsAfterGap: the caches above the engine know nothing either that
// Redis has lost.
func TestDomainsAfterGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	minter, err := purchase.NewMinter('a', make([]byte, 32), n.clock)
	require.NoError(t, err)
	book := purchase.NewBook(n, minter, n.clock, purchase.Options{})
	defer book.Close()
	index := inventory.NewIndex(n, n.clock, 100)
	defer index.Close()
	h, err := content.ParseHash("a03f181dc7dedcfb577511149b8844711efdb04f")
	require.NoError(t, err)
	p, _, err := book.Make(t.Context(), purchase.Spec{Hash: h, Ext: "mp4", Life: time.Hour})
	require.NoError(t, err)
	_, err = book.Find(t.Context(), p.Token)
	require.NoError(t, err)
	_, err = index.Remove(t.Context(), h)
	require.NoError(t, err)
	placed, err := index.Find(t.Context(), h)
	require.NoError(t, err)
	require.NotZero(t, placed.Removed)
	s.Do("flushall")
	redistest.Await(t, func() error {
		if _, err := book.Find(context.Background(), p.Token); !errors.Is(err, purchase.ErrUnknown) {
			return fmt.Errorf("it is there: %w", errors.Join(err, errAway))
		}
		placed, err := index.Find(context.Background(), h)
		if err == nil && placed.Removed != 0 {
			return errors.New("the removal is there")
		}
		return err
	})
}

// TestFormat: what a newer program wrote is left alone.
func TestFormat(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	require.Equal(t, "1", s.Do("get", "oose:format"))
	n.stop()
	s.Do("set", "oose:format", "2")
	n = open(t, s.URL(), "me")
	redistest.Await(t, func() error {
		if n.Stats().Failure == "" {
			return errors.New("no failure")
		}
		return nil
	})
	_, err := n.Get(t.Context(), record.User, "a")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.ErrorContains(t, err, "use a newer one")
	_, err = n.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
	s.Do("set", "oose:format", "1")
	n.ready(t)
	put(t, n, record.User, "a", "1")
}
