package redisdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

// log is what a watcher was told.
type log struct {
	mu  sync.Mutex
	all []record.Record
}

func watch(n *node, topic record.Topic) *log {
	l := &log{}
	n.Watch(topic, func(records []record.Record) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, records...)
	})
	return l
}

func (l *log) records() []record.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

func (l *log) await(t testing.TB, what string, f func(record.Record) bool) {
	t.Helper()
	redistest.Await(t, func() error {
		if slices.ContainsFunc(l.records(), f) {
			return nil
		}
		return fmt.Errorf("%s was not told, but %v", what, l.records())
	})
}

// TestSeenByOthers: what one node writes, the others know within a second,
// though it was in their memory.
func TestSeenByOthers(t *testing.T) {
	for name, url := range map[string]string{
		"single":  redistest.Start(t).URL(),
		"cluster": redistest.StartCluster(t).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := own(t)
			a, b := open(t, url, "a", prefix).ready(t), open(t, url, "b", prefix).ready(t)
			seen := watch(b, record.Purchase)
			var longest time.Duration
			for i := range 20 {
				key := fmt.Sprint("token", i)
				put(t, a, record.Purchase, key, "1")
				require.Equal(t, "1", value(t, b, record.Purchase, key), "a miss is read")
				put(t, a, record.Purchase, key, "2")
				began := time.Now()
				redistest.Await(t, func() error {
					if v := value(t, b, record.Purchase, key); v != "2" {
						return errors.New(v)
					}
					return nil
				})
				longest = max(longest, time.Since(began))
			}
			require.Less(t, longest, time.Second)
			seen.await(t, "the last", func(r record.Record) bool { return r.Key == "token19" && string(r.Value) == "2" })
			require.Less(t, b.counters.loads.Load(), uint64(200), "hits are served from memory")
		})
	}
}

// TestOrderForOthers: nobody is told of an older version after a newer one.
func TestOrderForOthers(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"single":  redistest.Start(t).URL(),
		"cluster": redistest.StartCluster(t).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := own(t)
			nodes := []*node{open(t, url, "a", prefix), open(t, url, "b", prefix), open(t, url, "c", prefix)}
			big := strings.Repeat("x", 2*inlineBytes)
			var mu sync.Mutex
			told := []map[string]uint64{{}, {}, {}}
			topics := []record.Topic{record.Peer, record.Use}
			name := func(r record.Record) string { return string(r.Topic) + r.Key + "\x00" + r.Source }
			for i, n := range nodes {
				for _, topic := range topics {
					n.Watch(topic, func(records []record.Record) {
						mu.Lock()
						defer mu.Unlock()
						for _, r := range records {
							if r.Revision < told[i][name(r)] {
								t.Errorf("%s: revision %d after %d", name(r), r.Revision, told[i][name(r)])
							}
							told[i][name(r)] = r.Revision
						}
					})
				}
				n.ready(t)
			}
			var wg sync.WaitGroup
			for _, n := range nodes {
				for w := range 4 {
					wg.Go(func() {
						for k := range 50 {
							v := "1"
							if k%5 == 0 {
								v = big
							}
							put(t, n, topics[k%2], fmt.Sprint("k", (k+w)%7), v)
						}
					})
				}
			}
			wg.Wait()
			for _, topic := range topics {
				for r, err := range nodes[0].List(t.Context(), topic, record.ByKey, "", "") {
					require.NoError(t, err)
					for i := range nodes {
						redistest.Await(t, func() error {
							mu.Lock()
							defer mu.Unlock()
							if told[i][name(r)] != r.Revision {
								return fmt.Errorf("node %d was told of %d of %s, not of %d", i, told[i][name(r)], name(r), r.Revision)
							}
							return nil
						})
					}
				}
			}
		})
	}
}

// TestForeignWriter: others may write without a word in the stream, or with one
// that names the key alone, or rubbish.
func TestForeignWriter(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	at := n.layout.records(record.Purchase, "token")
	require.Empty(t, get(t, n, record.Purchase, "token"))
	s.Do("hset", at, "shop", "1 1795000000000-0 1 4000000000000 -\n{}")
	require.Equal(t, "{}", value(t, n, record.Purchase, "token"), "a miss is never remembered")

	seen := watch(n, record.Purchase)
	s.Do("hset", at, "shop", "1 1795000000001-0 2 4000000000000 f\n{}")
	s.Do("xadd", n.layout.changes(tagOf(record.Purchase, "token")), "*", "t", "purchase", "k", "token")
	seen.await(t, "the revocation", func(r record.Record) bool { return r.Final && r.Revision == 2 })
	r := get(t, n, record.Purchase, "token")
	require.True(t, r[0].Final)

	s.Do("hset", at, "shop", "rubbish")
	s.Do("xadd", n.layout.changes(tagOf(record.Purchase, "token")), "*", "t", "purchase", "k", "token", "=shop", "rubbish", "x", "y", "=", "")
	redistest.Await(t, func() error {
		_, err := n.Get(t.Context(), record.Purchase, "token")
		if !errors.Is(err, errVersion) {
			return errors.New("it is in memory")
		}
		return nil
	})
	_, err := n.Update(t.Context(), record.Purchase, "token", record.IfAbsent(), record.Change{})
	require.ErrorIs(t, err, errVersion, "what can't be read is not absent")
	put(t, n, record.Purchase, "other", "1")
	var listed []string
	s.Do("zadd", n.layout.keys(tagOf(record.Purchase, "token"), record.Purchase), 0, "token")
	for r, err := range n.List(t.Context(), record.Purchase, record.ByKey, "", "") {
		require.NoError(t, err)
		listed = append(listed, r.Key)
	}
	require.Equal(t, []string{"other"}, listed, "it hides nothing else")
	require.Equal(t, 1, n.Stats().Unreadable)
	require.Equal(t, 1, n.logs.FilterMessageSnippet("can't be read").Len())
}

// TestLuaMerges has the script judge conditions over random versions, as
// record.Condition does.
func TestLuaMerges(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "zz").ready(t)
	sources := []string{"a", "A", "ab", "\xff", "é", "b"}
	for round := range 300 {
		key := fmt.Sprint("k", round)
		var versions []record.Record
		for i, source := range sources[:1+round%len(sources)] {
			r := record.Record{
				Topic: record.User, Key: key, Source: source, Revision: uint64(i + 1),
				Time:    record.Time(1<<16 + uint64((round*7+i*(round%3))%3)),
				Deleted: (round+i)%4 == 0, Final: (round/3+i)%5 == 0,
			}
			versions = append(versions, r)
			s.Do("hset", n.layout.records(record.User, key), source, encodeVersion(&r))
		}
		cond := []record.Condition{record.IfAbsent(), record.IfUnchanged(1 << 16), record.IfUnchanged(1<<16 + 1), record.IfUnchanged(1<<16 + 2), {}}[round%5]
		_, err := n.Update(t.Context(), record.User, key, cond, record.Change{Value: []byte("1")})
		if cond.Holds(record.User, versions) {
			require.NoError(t, err, "%v", versions)
		} else {
			require.ErrorIs(t, err, record.ErrConflict, "%v", versions)
		}
	}
}

func TestTimesInScripts(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	const far = record.Time(uint64(maxMilli-2)<<16 | 0xffff) // the last count of a far millisecond
	r := record.Record{Topic: record.User, Key: "k", Source: "far", Revision: 1, Time: far}
	s.Do("hset", n.layout.records(record.User, "k"), "far", encodeVersion(&r))
	require.Equal(t, far+1, put(t, n, record.User, "k", "1").Time)
	require.Equal(t, far+2, put(t, n, record.User, "k", "1").Time)
	require.Less(t, put(t, n, record.User, "other", "1").Time, far, "it moves no other time")
}

// TestLostAnswer: an update whose answer is lost is known all the same, when
// its change comes by.
func TestLostAnswer(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s)
	n := open(t, p.URL(), "me", strict).ready(t)
	seen := watch(n, record.User)
	put(t, n, record.User, "alice", "1")
	require.Equal(t, "1", value(t, n, record.User, "alice"))
	p.Swallow(true)
	began := time.Now()
	_, err := n.Update(t.Context(), record.User, "alice", record.Condition{}, record.Change{Value: []byte("2")})
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "it was not the caller's")
	n.lag.check(t, "a write", began)
	require.Equal(t, "1", value(t, n, record.User, "alice"), "what is known")
	p.Swallow(false)
	p.Cut()
	seen.await(t, "what was made", func(r record.Record) bool { return string(r.Value) == "2" })
	n.ready(t)
	require.Equal(t, "2", value(t, n, record.User, "alice"))
	put(t, n, record.User, "alice", "3")
	require.Equal(t, "3", value(t, n, record.User, "alice"))
	all := seen.records()
	require.True(t, slices.IsSortedFunc(all, func(a, b record.Record) int { return int(a.Revision) - int(b.Revision) }), "%v", all)
}

// TestOnceThough a script comes twice, the update is made once.
func TestOnce(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	o := &op{kind: updateOp, tag: tagOf(record.User, "k"), topic: record.User, key: "k", cond: record.IfAbsent(), changes: []record.Change{{Value: []byte("1")}}}
	o.number, o.revision, o.at = 1<<40, n.commits.head.Load()+1, n.clock.Next()
	n.send(t.Context(), []*op{o})
	first := o.reply
	require.Equal(t, replyDone, code(first))
	n.send(t.Context(), []*op{o})
	require.Equal(t, first[:3], o.reply[:3])
	later := *o
	later.revision++
	later.cond = record.Condition{}
	n.send(t.Context(), []*op{&later})
	require.Equal(t, replyDone, code(later.reply))
	o.cond = record.Condition{}
	n.send(t.Context(), []*op{o})
	require.Equal(t, replyBehind, code(o.reply), "what was sent before comes too late")
}

func TestNoScript(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := open(t, s.URL(), "me").ready(t)
	put(t, n, record.User, "a", "1")
	s.Do("script", "flush")
	put(t, n, record.User, "a", "2")
	require.Equal(t, "2", value(t, n, record.User, "a"))
}

// TestManyLostAnswers: however many answers were lost before, the latest counts.
func TestManyLostAnswers(t *testing.T) {
	var own ownOps
	own.early, own.unknown = make(map[uint64]record.Time), make(map[uint64]bool)
	const last = maxUnknown + 10
	for number := uint64(1); number <= last; number++ {
		own.settle(number, true)
	}
	require.Len(t, own.unknown, maxUnknown)
	require.True(t, own.seen(last, 1), "nobody has told of it")
	require.False(t, own.seen(last, 1), "once")
}
