package redisdb

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// expiry is when Redis lets a key go, in milliseconds since 1970; -1: never.
func expiry(t *testing.T, s *redistest.Server, key string) int64 {
	t.Helper()
	at, ok := s.Do("pexpiretime", key).(int64)
	require.True(t, ok)
	return at
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	later := time.Now().Add(time.Hour).UnixMilli()
	write := func(e record.Engine, key string, c record.Change) {
		_, err := e.Update(t.Context(), record.Purchase, key, record.Condition{}, c)
		require.NoError(t, err)
	}
	at := func(key string) int64 { return expiry(t, s, n.layout.records(record.Purchase, key)) }
	keepUntil := func(key string) int64 { return record.KeepUntil(get(t, n, record.Purchase, key)) }

	write(n, "a", record.Change{Expires: later})
	require.Equal(t, keepUntil("a"), at("a"))
	require.Equal(t, later+record.KeepExpired.Milliseconds(), at("a"))
	write(n, "a", record.Change{Expires: later, Final: true})
	require.Equal(t, keepUntil("a"), at("a"))
	write(n, "a", record.Change{})
	require.EqualValues(t, -1, at("a"), "never")
	other := open(t, s.URL(), "other").ready(t)
	write(n, "b", record.Change{Expires: later})
	write(other, "b", record.Change{Expires: later + 5})
	require.Equal(t, keepUntil("b"), at("b"), "the latest of all versions")
	require.Equal(t, later+5+record.KeepExpired.Milliseconds(), at("b"))
	write(other, "b", record.Change{Expires: 1<<63 - 1})
	require.EqualValues(t, -1, at("b"), "as good as never")
	write(n, "past", record.Change{Expires: 1})
	require.Len(t, get(t, n, record.Purchase, "past"), 1, "who writes it sees it")
	require.Greater(t, at("past"), time.Now().UnixMilli())
	require.Less(t, at("past"), time.Now().Add(2*time.Minute).UnixMilli())

	put(t, n, record.User, "u", "1")
	_, err := n.Update(t.Context(), record.User, "u", record.Condition{}, record.Change{Expires: 1})
	require.NoError(t, err)
	require.EqualValues(t, -1, expiry(t, s, n.layout.records(record.User, "u")), "of other topics nothing goes")
}

// TestExpired: a key that Redis lets go leaves nothing behind, and whoever
// watches is told.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	seen := watch(n, record.Purchase)
	for i := range 200 {
		_, err := n.Update(t.Context(), record.Purchase, fmt.Sprint("token", i), record.Condition{}, record.Change{Expires: time.Now().UnixMilli()})
		require.NoError(t, err)
		get(t, n, record.Purchase, fmt.Sprint("token", i))
	}
	due := func() (left int) {
		for tag := range tags {
			left += int(s.Do("zcard", n.layout.due(tag)).(int64))                   //nolint:forcetypeassert
			left += int(s.Do("zcard", n.layout.keys(tag, record.Purchase)).(int64)) //nolint:forcetypeassert
		}
		return left
	}
	require.Equal(t, 400, due())
	for i := range 200 {
		at := n.layout.records(record.Purchase, fmt.Sprint("token", i))
		tag := tagOf(record.Purchase, fmt.Sprint("token", i))
		s.Do("zadd", n.layout.due(tag), 1, "purchase:token"+strconv.Itoa(i)) // an hour later
		if i != 7 {
			s.Do("del", at)
		}
	}
	for tag := range tags {
		_, err := n.sweepTag(t.Context(), tag)
		require.NoError(t, err)
	}
	require.Equal(t, 2, due(), "the one that is there is looked at again, later")
	for i := range 200 {
		if i == 7 {
			continue
		}
		seen.await(t, "the end of a key", func(r record.Record) bool { return r.Key == fmt.Sprint("token", i) && r.Deleted && r.Source == "" })
	}
	require.Empty(t, get(t, n, record.Purchase, "token1"))
	require.EqualValues(t, 199, n.Stats().Expired)
}

// TestExpiredBeforeSweep: a listing passes over what has gone, and puts its index right.
func TestExpiredBeforeSweep(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	put(t, n, record.Use, "a", "1")
	put(t, n, record.Use, "b", "1")
	s.Do("del", n.layout.records(record.Use, "a"))
	var keys []string
	for r, err := range n.List(t.Context(), record.Use, record.ByKey, "", "") {
		require.NoError(t, err)
		keys = append(keys, r.Key)
	}
	require.Equal(t, []string{"b"}, keys)
	require.EqualValues(t, 0, s.Do("zcard", n.layout.keys(tagOf(record.Use, "a"), record.Use)))
}

// TestTombstones go after a week, unless something older is under them.
func TestTombstones(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	other := open(t, s.URL(), "other").ready(t)
	ahead := 8 * 24 * time.Hour
	clock := record.NewClock(func() time.Time { return time.Now().Add(ahead) })
	late := open(t, s.URL(), "late", func(o *Options) { o.Clock = clock }).ready(t)
	seen, peers := watch(n, record.Inventory), watch(n, record.Peer)
	remove := func(e record.Engine, topic record.Topic, key, member string) {
		_, err := e.Update(t.Context(), topic, key, record.Condition{}, record.Change{Member: member, Delete: true})
		require.NoError(t, err)
	}
	put(t, n, record.Inventory, "h", "1", "s1")
	put(t, n, record.Inventory, "h", "1", "s2")
	remove(n, record.Inventory, "h", "s1")
	put(t, n, record.Inventory, "g", "1", "s1")
	remove(n, record.Inventory, "g", "s1")
	put(t, other, record.Inventory, "hides", "old", "s1")
	remove(n, record.Inventory, "hides", "s1")
	put(t, n, record.Peer, "p", "1")
	remove(n, record.Peer, "p", "")
	remove(n, record.User, "stays", "")

	sweep := func(e *node) {
		for tag := range tags {
			_, err := e.sweepTag(t.Context(), tag)
			require.NoError(t, err)
		}
	}
	sweep(n)
	require.Len(t, get(t, n, record.Inventory, "g"), 1, "not yet")
	sweep(late)
	gone := func(topic record.Topic, key string) error {
		if versions := get(t, n, topic, key); len(versions) > 0 {
			return fmt.Errorf("there is %v", versions)
		}
		return nil
	}
	redistest.Await(t, func() error { return errors.Join(gone(record.Inventory, "g"), gone(record.Peer, "p")) })
	peers.await(t, "a tombstone", func(r record.Record) bool { return r.Deleted && r.Key == "p" })
	seen.await(t, "a tombstone", func(r record.Record) bool { return r.Deleted && r.Key == "g" && r.Member == "s1" && r.Source == "me" })
	require.Len(t, get(t, late, record.Inventory, "h"), 1)
	require.Len(t, get(t, late, record.Inventory, "hides"), 2, "else the old one would be back")
	require.Len(t, get(t, late, record.User, "stays"), 1)
	for r, err := range late.List(t.Context(), record.Inventory, record.ByMember, "s1", "") {
		require.NoError(t, err)
		require.Equal(t, "hides", r.Key)
	}
	require.EqualValues(t, 0, s.Do("exists", n.layout.records(record.Inventory, "g")))
	require.Nil(t, s.Do("zscore", n.layout.keys(tagOf(record.Inventory, "g"), record.Inventory), "g"))
	require.Nil(t, s.Do("zscore", n.layout.due(tagOf(record.Inventory, "g")), "inventory:g"))
	require.NotNil(t, s.Do("zscore", n.layout.due(tagOf(record.Inventory, "hides")), "inventory:hides"), "to be looked at again")

	put(t, n, record.Inventory, "hides", "new", "s1")
	require.NotNil(t, s.Do("zscore", n.layout.keys(tagOf(record.Inventory, "hides"), record.Inventory), "hides"))
}

// TestDropIsJudgedAgain: a tombstone is not dropped where its key changed since
// it was judged.
func TestDropIsJudgedAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	put(t, n, record.Peer, "p", "1")
	at := n.layout.records(record.Peer, "p")
	tag := tagOf(record.Peer, "p")
	keys := []string{at, n.layout.changes(tag), n.layout.keys(tag, record.Peer), n.layout.due(tag)}
	for _, args := range [][]any{
		{"peer", "p", 10, "-", 1, "me", "1 1-0 1 0 d\n", "me"},
		{"peer", "p", 10, "-", 2, "me", s.Do("hget", at, "me"), "other", "1 1-0 1 0 d\n", "me"},
		{"peer", "p", 10, "-", 0, "me"},
	} {
		dropped, err := s.Client().Eval(t.Context(), n.scripts.drop.text, keys, args...).Int64()
		require.NoError(t, err)
		require.Zero(t, dropped)
	}
	require.Equal(t, "1", value(t, n, record.Peer, "p"))
}

func TestWalkWindows(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	other := open(t, s.URL(), "other").ready(t)
	for i := range 30 {
		put(t, n, record.User, fmt.Sprint("u", i%25), fmt.Sprint(i))
		put(t, other, record.Inventory, fmt.Sprint("h", i), fmt.Sprint(i), "s1")
	}
	walk := func(e *node, since record.Position) (all []record.Record) {
		for r, err := range e.Walk(t.Context(), since) {
			require.NoError(t, err)
			all = append(all, r)
		}
		return all
	}
	whole := walk(n, nil)
	require.Len(t, whole, 55)
	for i := 1; i < len(whole); i++ {
		require.True(t, whole[i].Source > whole[i-1].Source || whole[i].Revision > whole[i-1].Revision)
	}
	for _, size := range []int{1, 7, 54, 55, 56} {
		n.window = size
		require.Equal(t, whole, walk(n, nil), "window %d", size)
	}
	middle := whole[40]
	require.Equal(t, whole[41:], walk(n, record.Position{"me": 1 << 52, middle.Source: middle.Revision})[:14])

	// What is written while a walk goes on comes once, in its last version.
	n.window = 10
	times := make(map[string]int)
	last := make(map[string]string)
	i := 0
	for r, err := range n.Walk(t.Context(), nil) {
		require.NoError(t, err)
		if i++; i%5 == 0 && i < 50 {
			put(t, other, record.User, fmt.Sprint("new", i), "1")
			put(t, n, record.User, fmt.Sprint("u", (i+20)%25), "newer")
		}
		times[r.Key+r.Source]++
		last[r.Key+r.Source] = string(r.Value)
	}
	for i := range 25 {
		require.NotZero(t, times[fmt.Sprint("u", i, "me")])
	}
	require.GreaterOrEqual(t, len(times), 55)
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	before := put(t, n, record.User, "a", "1")
	records := []record.Record{
		{Topic: record.User, Key: "a", Source: "me", Time: before.Time + 1, Revision: before.Revision + 1000, Value: []byte("2")},
		{Topic: record.Purchase, Key: "t", Source: "x", Time: 5, Revision: 3, Expires: time.Now().Add(time.Hour).UnixMilli(), Value: []byte(" { } "), Final: true},
		{Topic: record.Inventory, Key: "h", Member: "s", Source: "x", Time: 5, Revision: 4, Deleted: true},
	}
	seen := watch(n, record.User)
	require.NoError(t, n.Import(t.Context(), records))
	require.Len(t, seen.records(), 1)
	require.Equal(t, "2", value(t, n, record.User, "a"))
	require.Equal(t, records[1:2], get(t, n, record.Purchase, "t"), "as it was")
	require.Equal(t, records[2:], get(t, n, record.Inventory, "h"))
	require.Positive(t, expiry(t, s, n.layout.records(record.Purchase, "t")))
	require.Greater(t, put(t, n, record.User, "a", "3").Revision, before.Revision+1000, "an own record that was imported is overtaken")
	require.Equal(t, "3", value(t, n, record.User, "a"))
	require.NoError(t, n.Import(t.Context(), records), "again changes nothing")
	require.Equal(t, "3", value(t, n, record.User, "a"))

	other := open(t, s.URL(), "other").ready(t)
	r := records[0]
	r.Revision += 1 << 20
	require.NoError(t, other.Import(t.Context(), []record.Record{r}), "at another node")
	require.Equal(t, "2", value(t, other, record.User, "a"))
	put(t, n, record.User, "a", "4")
	require.Equal(t, "4", value(t, n, record.User, "a"))

	for _, bad := range []record.Record{{}, {Topic: record.User, Key: "a", Source: "x", Time: 1, Revision: 1 << 60}, {Topic: record.User, Key: "a", Source: "x", Time: 1 << 63, Revision: 1}} {
		require.ErrorIs(t, n.Import(t.Context(), []record.Record{bad}), record.ErrInvalid)
	}
	var many []record.Record
	for i := range 3000 {
		many = append(many, record.Record{Topic: record.Use, Key: fmt.Sprint(i), Source: "x", Time: 1, Revision: uint64(i + 1), Value: []byte("1")})
	}
	require.NoError(t, n.Import(t.Context(), many))
	require.Equal(t, "1", value(t, n, record.Use, "2999"))
}
