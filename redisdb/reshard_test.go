package redisdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// TestReshard moves a tag from one server of a Cluster to another, key by key,
// while it is read and written.
func TestReshard(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	n := open(t, c.URL(), "me").ready(t)
	other := open(t, c.URL(), "other").ready(t)
	const key = "moves"
	tag := tagOf(record.User, key)
	server, err := n.data.client(t.Context(), tag)
	require.NoError(t, err)
	var from, to *redistest.Server
	for _, one := range c.Masters {
		if one.Addr == server.Options().Addr {
			from = one
		} else {
			to = one
		}
	}
	put(t, n, record.User, key, "0")
	slot := from.Do("cluster", "keyslot", n.layout.changes(tag))
	fromID, toID := from.Do("cluster", "myid"), to.Do("cluster", "myid")
	host, port, err := net.SplitHostPort(to.Addr)
	require.NoError(t, err)

	to.Do("cluster", "setslot", slot, "importing", fromID)
	from.Do("cluster", "setslot", slot, "migrating", toID)
	keys, ok := from.Do("cluster", "getkeysinslot", slot, 100).([]any)
	require.True(t, ok)
	require.GreaterOrEqual(t, len(keys), 4)
	check := func(i int) {
		v := fmt.Sprint(i)
		put(t, n, record.User, key, v)
		require.Equal(t, v, value(t, n, record.User, key))
		redistest.Await(t, func() error {
			if got := value(t, other, record.User, key); got != v {
				return fmt.Errorf("the other has %s of %s", got, v)
			}
			return nil
		})
	}
	args := []any{"migrate", host, port, "", 0, 5000, "keys"}
	from.Do(append(args, keys...)...)
	// Until the slot has changed hands Redis refuses scripts some of whose keys
	// it does not find (TRYAGAIN). All else goes on.
	_, err = n.Update(t.Context(), record.User, key, record.Condition{}, record.Change{Value: []byte("1")})
	require.ErrorIs(t, err, record.ErrUnavailable)
	n.cache.Invalidate(groupKey(record.User, key))
	require.Equal(t, "0", value(t, n, record.User, key))
	require.Empty(t, get(t, n, record.User, "none"))
	n.ready(t)
	for _, one := range c.Masters {
		one.Do("cluster", "setslot", slot, "node", toID)
	}
	for i := range 10 {
		check(10 + i)
	}
	n.ready(t)
	redistest.Await(t, func() error {
		now, err := n.data.client(context.Background(), tag)
		if err != nil || now.Options().Addr != to.Addr {
			return errors.New("it does not know of the move")
		}
		return nil
	})
	require.Zero(t, n.Stats().Resyncs, "nothing was missed")
	began := time.Now()
	put(t, n, record.User, key, "last")
	require.Less(t, time.Since(began), 5*time.Second)
}
