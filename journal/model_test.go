package journal

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// TestModel does at random what may be done to a journal, and to the engine in
// memory, which is simple enough to be believed; both must say the same.
func TestModel(t *testing.T) {
	t.Parallel()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set("15")) // each opens a database several times
		defer func() { require.NoError(t, f.Value.Set(f.DefValue)) }()
	}
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := &model{rt: rt, t: t, wall: newWallClock(), told: make(map[string]record.Record)}
		m.memory = recordtest.NewMemory(record.NewClock(m.wall.time))
		m.journal = start(t, Options{Dir: fmt.Sprint(base, "/", n), Clock: record.NewClock(m.wall.time), CacheSize: 4})
		m.watch()
		rt.Repeat(map[string]func(*rapid.T){
			"update":  m.update,
			"foreign": m.foreign,
			"expire":  m.expire,
			"reopen":  m.reopen,
			"":        m.check,
		})
		m.journal.stop()
	})
}

type model struct {
	rt      *rapid.T
	t       *testing.T
	wall    *wallClock
	memory  *recordtest.Memory
	journal *running
	revised [3]uint64                // of the foreign sources
	told    map[string]record.Record // what a watcher knows
}

var modelTopics = []record.Topic{record.Purchase, record.Inventory, record.User, record.Peer}

func (m *model) watch() {
	for _, topic := range modelTopics {
		m.journal.Watch(topic, func(records []record.Record) {
			for _, r := range records {
				r = m.own(r)
				m.told[string(recordKey(&r))] = r
			}
		})
	}
}

func (m *model) draw(rt *rapid.T) (topic record.Topic, key string, c record.Change) {
	topic = rapid.SampledFrom(modelTopics).Draw(rt, "topic")
	key = rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(rt, "key")
	if topic == record.Inventory {
		c.Member = rapid.SampledFrom([]string{"s", "s1", "t"}).Draw(rt, "member")
	}
	if c.Delete = topic != record.Purchase && rapid.Bool().Draw(rt, "delete"); !c.Delete {
		c.Value = []byte(rapid.StringN(1, 3, 12).Draw(rt, "value"))
	}
	if topic == record.Purchase && rapid.IntRange(0, 3).Draw(rt, "expires") > 0 {
		c.Expires = m.wall.time().Add(time.Duration(rapid.IntRange(-2, 48).Draw(rt, "life")) * time.Hour).UnixMilli()
		c.Final = rapid.Bool().Draw(rt, "final")
	}
	return topic, key, c
}

func (m *model) update(rt *rapid.T) {
	topic, key, c := m.draw(rt)
	cond := record.Condition{}
	switch rapid.IntRange(0, 3).Draw(rt, "condition") {
	case 0:
		cond = record.IfAbsent()
	case 1:
		versions, _ := m.memory.Get(context.Background(), topic, key)
		if len(versions) > 0 {
			cond = record.IfUnchanged(versions[rapid.IntRange(0, len(versions)-1).Draw(rt, "version")].Time)
		}
	}
	want, wantErr := m.memory.Update(context.Background(), topic, key, cond, c)
	got, err := m.journal.Update(context.Background(), topic, key, cond, c)
	require.Equal(m.rt, wantErr, err)
	require.Equal(m.rt, want, got)
}

func (m *model) foreign(rt *rapid.T) {
	topic, key, c := m.draw(rt)
	source := rapid.IntRange(0, len(m.revised)-1).Draw(rt, "source")
	m.revised[source]++
	r := record.Record{
		Topic: topic, Key: key, Member: c.Member, Source: fmt.Sprint("other", source),
		Time:     record.TimeOf(m.wall.time().Add(time.Duration(rapid.IntRange(-60, 60).Draw(rt, "skew")) * time.Second)),
		Revision: m.revised[source], Value: c.Value, Expires: c.Expires, Final: c.Final, Deleted: c.Delete,
	}
	m.memory.Inject(r)
	m.journal.Inject(r)
}

func (m *model) expire(rt *rapid.T) {
	m.wall.advance(time.Duration(rapid.SampledFrom([]int{1, 5, 50, 200, 1000}).Draw(rt, "hours")) * time.Hour)
	m.memory.Expire(m.wall.time())
	m.journal.sweep()
}

func (m *model) reopen(rt *rapid.T) {
	if rapid.IntRange(0, 2).Draw(rt, "reopen") > 0 {
		return // it takes longer than all else together
	}
	m.journal = m.journal.reopen()
	m.watch()
}

func (m *model) check(*rapid.T) {
	ctx := context.Background()
	want, got := records(m, m.memory.Walk(ctx, nil)), records(m, m.journal.Walk(ctx, nil))
	require.Equal(m.rt, m.lasting(want), m.lasting(got))
	live := make(map[record.Topic]int64)
	for _, r := range got {
		if !r.Deleted {
			live[r.Topic]++
		}
		require.Equal(m.rt, r, m.told[string(recordKey(&r))], "the watcher knows it")
	}
	for key, r := range m.told {
		if !slices.ContainsFunc(got, func(k record.Record) bool { return string(recordKey(&k)) == key }) {
			require.True(m.rt, r.Deleted, "the watcher was told that it went")
		}
	}
	counts := m.journal.counts()
	maps.DeleteFunc(counts, func(_ record.Topic, n int64) bool { return n == 0 })
	require.Equal(m.rt, live, counts)
	for _, topic := range modelTopics {
		require.Equal(m.rt, m.lasting(records(m, m.memory.List(ctx, topic, record.ByKey, "a", ""))),
			m.lasting(records(m, m.journal.List(ctx, topic, record.ByKey, "a", ""))))
		for _, key := range []string{"a", "ab", "b"} {
			want, _ := m.memory.Get(ctx, topic, key)
			require.Equal(m.rt, m.lasting(m.owns(want)), m.lasting(m.owns(m.journal.get(topic, key))))
		}
	}
	for _, member := range []string{"s", "s1", "t"} {
		require.Equal(m.rt, m.lasting(records(m, m.memory.List(ctx, record.Inventory, record.ByMember, member, ""))),
			m.lasting(records(m, m.journal.List(ctx, record.Inventory, record.ByMember, member, ""))))
	}
	// Nothing is left over: a revision for each record, a hint for each that may go.
	require.Len(m.rt, m.journal.keys("r"), len(got))
	require.Len(m.rt, m.journal.keys("v"), len(got))
}

// lasting leaves out tombstones whose week is over. When each goes is an
// engine's choice, as it may hide an older version for longer, and which of
// two does depends on the order in which they are looked at.
func (m *model) lasting(all []record.Record) []record.Record {
	now := m.wall.time().UnixMilli()
	return slices.DeleteFunc(slices.Clone(all), func(r record.Record) bool {
		return r.Deleted && record.Tombstones(r.Topic) && record.TombstoneUntil(r) <= now
	})
}

// own gives the two engines' own records one name.
func (m *model) own(r record.Record) record.Record {
	if !strings.HasPrefix(r.Source, "other") && r.Source != "" {
		r.Source = "own"
	}
	if len(r.Value) == 0 {
		r.Value = nil
	}
	return r
}

func (m *model) owns(records []record.Record) []record.Record {
	same := make([]record.Record, 0, len(records))
	for _, r := range records {
		same = append(same, m.own(r))
	}
	slices.SortFunc(same, func(a, b record.Record) int {
		return strings.Compare(string(recordKey(&a)), string(recordKey(&b)))
	})
	return same
}

func records(m *model, all func(func(record.Record, error) bool)) []record.Record {
	var records []record.Record
	for r, err := range all {
		require.NoError(m.rt, err)
		records = append(records, r)
	}
	return m.owns(records)
}
