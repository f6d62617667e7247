package recordtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// Injector is an engine that takes what other sources wrote, as following them
// would bring it. The suite tests merging only on those that have it.
type Injector interface {
	Inject(records ...record.Record)
}

// Run checks that engines keep the promises of record.Engine. open returns an
// empty engine that runs, and ends with the test.
func Run(t *testing.T, open func(t *testing.T) record.Engine) {
	for name, test := range map[string]func(*testing.T, record.Engine){
		"Get":         testGet,
		"Update":      testUpdate,
		"Invalid":     testInvalid,
		"Conditions":  testConditions,
		"Atomic":      testAtomic,
		"Context":     testContext,
		"ListByKey":   testListByKey,
		"ListMember":  testListByMember,
		"ListLong":    testListLong,
		"Watch":       testWatch,
		"WatchOrder":  testWatchOrder,
		"Walk":        testWalk,
		"Race":        testRace,
		"OneWins":     testOneWins,
		"ReadYourOwn": testReadYourOwn,
		"Sources":     testSources,
		"LaterTime":   testLaterTime,
		"OldVersion":  testOldVersion,
		"Drop":        testDrop,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// RunReopen checks that an engine keeps what it acknowledged over being
// reopened: reopen closes the engine and opens it again.
func RunReopen(t *testing.T, open func(t *testing.T) record.Engine, reopen func(t *testing.T, e record.Engine) record.Engine) {
	ctx := t.Context()
	e := open(t)
	inject, injects := e.(Injector)
	for i := range 50 {
		put(t, e, record.Purchase, fmt.Sprint("token", i%40), fmt.Sprint(i))
		put(t, e, record.Inventory, fmt.Sprint("hash", i), "clone", "store"+fmt.Sprint(i%3))
	}
	if injects {
		inject.Inject(foreign("other", 7, record.Purchase, "token1", "", 9))
	}
	before := collect(t, e.Walk(ctx, nil))
	members := collect(t, e.List(ctx, record.Inventory, record.ByMember, "store1", ""))
	last := put(t, e, record.Peer, "last", "1")

	e = reopen(t, e)
	require.Equal(t, before, slices.DeleteFunc(collect(t, e.Walk(ctx, nil)), func(r record.Record) bool { return r.Topic == record.Peer }))
	require.Equal(t, members, collect(t, e.List(ctx, record.Inventory, record.ByMember, "store1", "")))
	ack := put(t, e, record.Peer, "last", "2")
	require.Equal(t, last.Revision+1, ack.Revision, "revisions go on")
	require.Greater(t, ack.Time, last.Time, "times go on")
}

func put(t *testing.T, e record.Engine, topic record.Topic, key, value string, member ...string) record.Ack {
	t.Helper()
	ack, err := e.Update(t.Context(), topic, key, record.Condition{}, record.Change{Member: strings.Join(member, ""), Value: []byte(value)})
	require.NoError(t, err)
	return ack
}

func get(t *testing.T, e record.Engine, topic record.Topic, key string) []record.Record {
	t.Helper()
	versions, err := e.Get(t.Context(), topic, key)
	require.NoError(t, err)
	return versions
}

func collect(t *testing.T, all func(func(record.Record, error) bool)) []record.Record {
	t.Helper()
	var records []record.Record
	for r, err := range all {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

func names(records []record.Record) []string {
	var names []string
	for _, r := range records {
		names = append(names, strings.TrimSuffix(r.Key+"/"+r.Member, "/"))
	}
	return names
}

func testGet(t *testing.T, e record.Engine) {
	require.Empty(t, get(t, e, record.Purchase, "none"))
	require.Empty(t, get(t, e, record.Purchase, strings.Repeat("x", 300)), "none can have such a key")
	require.Empty(t, get(t, e, record.Purchase, "a\x00b"))
	put(t, e, record.Inventory, "hash", "b", "store2")
	put(t, e, record.Inventory, "hash", "a", "store1")
	put(t, e, record.Inventory, "hash2", "c", "store1")
	put(t, e, record.Removal, "hash", "d")
	require.Equal(t, []string{"hash/store1", "hash/store2"}, names(get(t, e, record.Inventory, "hash")))
	require.Empty(t, get(t, e, record.Inventory, "has"), "a prefix is another key")
}

func testUpdate(t *testing.T, e record.Engine) {
	ack, err := e.Update(t.Context(), record.Purchase, "token", record.Condition{},
		record.Change{Value: []byte(`{"n":1}`), Expires: 1234567890123, Final: true})
	require.NoError(t, err)
	require.Positive(t, ack.Copies)
	r := get(t, e, record.Purchase, "token")
	require.Len(t, r, 1)
	require.NotEmpty(t, r[0].Source)
	require.Equal(t, record.Record{
		Topic: record.Purchase, Key: "token", Source: r[0].Source, Time: ack.Time, Revision: ack.Revision,
		Value: []byte(`{"n":1}`), Expires: 1234567890123, Final: true,
	}, r[0])

	second := put(t, e, record.Purchase, "token", `{"n":2}`)
	require.Greater(t, second.Time, ack.Time)
	require.Greater(t, second.Revision, ack.Revision)
	r = get(t, e, record.Purchase, "token")
	require.Len(t, r, 1, "a source has one version")
	require.JSONEq(t, `{"n":2}`, string(r[0].Value))
	require.False(t, r[0].Final)
	require.Zero(t, r[0].Expires)

	_, err = e.Update(t.Context(), record.Purchase, "token", record.Condition{}, record.Change{Delete: true})
	require.NoError(t, err)
	r = get(t, e, record.Purchase, "token")
	require.Len(t, r, 1, "a tombstone is seen")
	require.True(t, r[0].Deleted)
	require.Empty(t, r[0].Value)
}

func testInvalid(t *testing.T, e record.Engine) {
	big := []byte(strings.Repeat("x", record.MaxValue+1))
	for name, u := range map[string]struct {
		topic   record.Topic
		key     string
		changes []record.Change
	}{
		"topic":          {"nonsense", "k", []record.Change{{}}},
		"no key":         {record.User, "", []record.Change{{}}},
		"long key":       {record.User, strings.Repeat("k", record.MaxKey+1), []record.Change{{}}},
		"NUL":            {record.User, "k\x00", []record.Change{{}}},
		"no change":      {record.User, "k", nil},
		"member":         {record.User, "k", []record.Change{{Member: "m"}}},
		"no member":      {record.Inventory, "k", []record.Change{{}}},
		"long member":    {record.Inventory, "k", []record.Change{{Member: strings.Repeat("m", record.MaxKey+1)}}},
		"NUL member":     {record.Inventory, "k", []record.Change{{Member: "\x00"}}},
		"twice":          {record.Inventory, "k", []record.Change{{Member: "m"}, {Member: "m"}}},
		"long value":     {record.User, "k", []record.Change{{Value: big}}},
		"negative":       {record.User, "k", []record.Change{{Expires: -1}}},
		"full tombstone": {record.User, "k", []record.Change{{Delete: true, Value: []byte("1")}}},
	} {
		_, err := e.Update(t.Context(), u.topic, u.key, record.Condition{}, u.changes...)
		require.ErrorIs(t, err, record.ErrInvalid, name)
	}
	require.Empty(t, collect(t, e.Walk(t.Context(), nil)), "nothing was written")
	_, err := e.Update(t.Context(), record.User, strings.Repeat("k", record.MaxKey), record.Condition{}, record.Change{Value: big[1:]})
	require.NoError(t, err, "the bounds are within")
	for _, err := range e.List(t.Context(), record.User, record.ByMember, "m", "") {
		require.ErrorIs(t, err, record.ErrInvalid, "only the inventory is listed by member")
	}
}

func testConditions(t *testing.T, e record.Engine) {
	ctx := t.Context()
	update := func(cond record.Condition, c record.Change) (record.Ack, error) {
		return e.Update(ctx, record.User, "alice", cond, c)
	}
	_, err := update(record.IfUnchanged(1), record.Change{Value: []byte("0")})
	require.ErrorIs(t, err, record.ErrConflict, "there is none")
	first, err := update(record.IfAbsent(), record.Change{Value: []byte("1")})
	require.NoError(t, err)
	_, err = update(record.IfAbsent(), record.Change{Value: []byte("2")})
	require.ErrorIs(t, err, record.ErrConflict)
	second, err := update(record.IfUnchanged(first.Time), record.Change{Value: []byte("3")})
	require.NoError(t, err)
	_, err = update(record.IfUnchanged(first.Time), record.Change{Value: []byte("4")})
	require.ErrorIs(t, err, record.ErrConflict)
	require.Equal(t, "3", string(get(t, e, record.User, "alice")[0].Value))
	_, err = update(record.IfUnchanged(second.Time), record.Change{Delete: true})
	require.NoError(t, err)
	_, err = update(record.IfAbsent(), record.Change{Value: []byte("5")})
	require.NoError(t, err, "what was taken back is absent")
}

func testAtomic(t *testing.T, e record.Engine) {
	ctx := t.Context()
	put(t, e, record.Inventory, "hash", "1", "b")
	_, err := e.Update(ctx, record.Inventory, "hash", record.IfAbsent(),
		record.Change{Member: "a", Value: []byte("2")}, record.Change{Member: "b", Value: []byte("2")})
	require.ErrorIs(t, err, record.ErrConflict, "the condition must hold for each")
	require.Equal(t, []string{"hash/b"}, names(get(t, e, record.Inventory, "hash")))
	ack, err := e.Update(ctx, record.Inventory, "hash", record.Condition{},
		record.Change{Member: "a", Value: []byte("2")}, record.Change{Member: "b", Delete: true})
	require.NoError(t, err)
	r := get(t, e, record.Inventory, "hash")
	require.Equal(t, []string{"hash/a", "hash/b"}, names(r))
	require.Equal(t, ack.Time, r[0].Time)
	require.Equal(t, ack.Time, r[1].Time)
	require.Equal(t, ack.Revision, r[1].Revision, "the last of them")
	require.Equal(t, ack.Revision-1, r[0].Revision)
	require.True(t, r[1].Deleted)
}

func testContext(t *testing.T, e record.Engine) {
	put(t, e, record.User, "a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Get(ctx, record.User, "a")
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Update(ctx, record.User, "b", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, context.Canceled)
	for _, err := range e.List(ctx, record.User, record.ByKey, "", "") {
		require.ErrorIs(t, err, context.Canceled)
	}
	for _, err := range e.Walk(ctx, nil) {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Empty(t, get(t, e, record.User, "b"))
}

func testListByKey(t *testing.T, e record.Engine) {
	for _, key := range []string{"b", "a", "ab", "abc", "ac", "a!", "\xff", "b\xff", "\x01"} {
		put(t, e, record.User, key, "1")
	}
	put(t, e, record.Use, "ab", "1")
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", []string{"\x01", "a", "a!", "ab", "abc", "ac", "b", "b\xff", "\xff"}},
		{"a", "", []string{"a", "a!", "ab", "abc", "ac"}},
		{"a", "a", []string{"a!", "ab", "abc", "ac"}},
		{"a", "ab", []string{"abc", "ac"}},
		{"ab", "a", []string{"ab", "abc"}},
		{"ab", "abd", nil},
		{"b", "a", []string{"b", "b\xff"}},
		{"", "b", []string{"b\xff", "\xff"}},
		{"", "b\xff", []string{"\xff"}},
		{"", "aa", []string{"ab", "abc", "ac", "b", "b\xff", "\xff"}},
		{"", "ab\x00z", []string{"abc", "ac", "b", "b\xff", "\xff"}},
		{"a\x00", "", nil},
		{"c", "", nil},
	} {
		got := names(collect(t, e.List(t.Context(), record.User, record.ByKey, c.prefix, c.after)))
		require.Equal(t, c.want, got, "prefix %q after %q", c.prefix, c.after)
	}
	for range e.List(t.Context(), record.User, record.ByKey, "", "") {
		break // a reader may have enough
	}
}

func testListByMember(t *testing.T, e record.Engine) {
	for _, c := range []string{"h1/s1", "h2/s1", "h3/s2", "h4/s1", "h1/s2", "h5/s11"} {
		key, member, _ := strings.Cut(c, "/")
		put(t, e, record.Inventory, key, "1", member)
	}
	_, err := e.Update(t.Context(), record.Inventory, "h2", record.Condition{}, record.Change{Member: "s1", Delete: true})
	require.NoError(t, err)
	list := func(member, after string) []string {
		return names(collect(t, e.List(t.Context(), record.Inventory, record.ByMember, member, after)))
	}
	require.Equal(t, []string{"h1/s1", "h2/s1", "h4/s1"}, list("s1", ""), "tombstones too")
	require.Equal(t, []string{"h2/s1", "h4/s1"}, list("s1", "h1"))
	require.Equal(t, []string{"h4/s1"}, list("s1", "h3"))
	require.Equal(t, []string{"h1/s2", "h3/s2"}, list("s2", ""))
	require.Empty(t, list("s", ""), "the member in full")
	require.Empty(t, list("", ""))
}

func testListLong(t *testing.T, e record.Engine) {
	const n = 700
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, err := e.Update(t.Context(), record.Inventory, fmt.Sprintf("%04d", i), record.Condition{},
				record.Change{Member: "s1", Value: []byte("1")}, record.Change{Member: "s2", Value: []byte("2")})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all := collect(t, e.List(t.Context(), record.Inventory, record.ByKey, "", ""))
	require.Len(t, all, 2*n)
	one := collect(t, e.List(t.Context(), record.Inventory, record.ByMember, "s2", ""))
	require.Len(t, one, n)
	for i := range n {
		want := fmt.Sprintf("%04d", i)
		require.Equal(t, want+"/s1", names(all[2*i : 2*i+1])[0])
		require.Equal(t, want+"/s2", names(all[2*i+1 : 2*i+2])[0])
		require.Equal(t, want, one[i].Key)
	}
	require.Len(t, collect(t, e.Walk(t.Context(), nil)), 2*n)
}
