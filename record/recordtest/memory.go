// Package recordtest holds the suite that every engine of records passes, and
// a fake engine for tests where a disk is not the point.
package recordtest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/ooseio/oose/record"
)

// Memory is an engine that keeps records in memory only. It passes the suite.
type Memory struct {
	source string
	clock  *record.Clock

	mu       sync.RWMutex
	failure  error
	head     uint64
	keys     map[record.Topic]map[string][]record.Record // versions in the order of (member, source)
	watchers map[record.Topic][]*watcher
}

type watcher struct{ f func([]record.Record) }

var (
	_ record.Engine   = (*Memory)(nil)
	_ record.Importer = (*Memory)(nil)
	_ record.Dropper  = (*Memory)(nil)
)

// NewMemory returns an empty engine over a clock, a new one where it is nil.
func NewMemory(clock *record.Clock) *Memory { return NewMemoryOf("memory", clock) }

// NewMemoryOf is NewMemory for an engine that writes as this source, one of
// several in a test.
func NewMemoryOf(source string, clock *record.Clock) *Memory {
	if clock == nil {
		clock = record.NewClock(nil)
	}
	return &Memory{
		source:   source,
		clock:    clock,
		keys:     make(map[record.Topic]map[string][]record.Record),
		watchers: make(map[record.Topic][]*watcher),
	}
}

// Source returns the identity under which Update writes.
func (m *Memory) Source() string { return m.source }

// Fail lets every later call fail with err, until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Get is record.Engine's.
func (m *Memory) Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.failure != nil {
		return nil, m.failure
	}
	return slices.Clone(m.keys[topic][key]), nil
}

// List is record.Engine's.
func (m *Memory) List(ctx context.Context, topic record.Topic, by record.Index, prefix, after string) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		if by == record.ByMember && topic != record.Inventory {
			yield(record.Record{}, record.ErrInvalid)
			return
		}
		for _, key := range m.sortedKeys(topic) {
			if by == record.ByKey && !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			versions, err := m.Get(ctx, topic, key)
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			for _, v := range versions {
				if by == record.ByMember && v.Member != prefix {
					continue
				}
				if !yield(v, nil) {
					return
				}
			}
		}
		m.mu.RLock()
		err := m.failure
		m.mu.RUnlock()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(record.Record{}, err)
		}
	}
}

func (m *Memory) sortedKeys(topic record.Topic) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.keys[topic]))
}

// Update is record.Engine's.
func (m *Memory) Update(ctx context.Context, topic record.Topic, key string, cond record.Condition, changes ...record.Change) (record.Ack, error) {
	if err := ctx.Err(); err != nil {
		return record.Ack{}, err
	}
	if err := record.Check(topic, key, changes); err != nil {
		return record.Ack{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return record.Ack{}, m.failure
	}
	versions := m.keys[topic][key]
	for _, c := range changes {
		if !cond.Holds(topic, ofMember(versions, c.Member)) {
			return record.Ack{}, record.ErrConflict
		}
	}
	ack := record.Ack{Time: m.clock.Next(), Copies: 1}
	for _, v := range versions {
		ack.Time = max(ack.Time, v.Time+1)
	}
	written := make([]record.Record, 0, len(changes))
	for _, c := range changes {
		m.head++
		r := record.Record{
			Topic: topic, Key: key, Member: c.Member, Source: m.source,
			Time: ack.Time, Expires: c.Expires, Deleted: c.Delete, Final: c.Final,
			Revision: m.head, Value: slices.Clone(c.Value),
		}
		m.put(r)
		written = append(written, r)
	}
	ack.Revision = m.head
	m.tell(topic, written)
	return ack, nil
}

// Import is record.Importer's.
func (m *Memory) Import(ctx context.Context, records []record.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range records {
		if err := record.CheckRecord(r); err != nil {
			return err
		}
	}
	m.mu.RLock()
	err := m.failure
	m.mu.RUnlock()
	if err != nil {
		return err
	}
	m.Inject(records...)
	return nil
}

// Drop is record.Dropper's.
func (m *Memory) Drop(ctx context.Context, records []record.Record) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for _, r := range records {
		if err := record.CheckDrop(r); err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return 0, m.failure
	}
	n := 0
	for _, r := range records {
		versions := slices.Clone(m.keys[r.Topic][r.Key])
		i := slices.IndexFunc(versions, func(v record.Record) bool {
			return v.Member == r.Member && v.Source == r.Source && v.Revision == r.Revision
		})
		if i < 0 {
			continue
		}
		gone := versions[i]
		if m.keys[r.Topic][r.Key] = slices.Delete(versions, i, i+1); len(versions) == 1 {
			delete(m.keys[r.Topic], r.Key)
		}
		gone.Deleted, gone.Value = true, nil
		m.tell(r.Topic, []record.Record{gone})
		n++
	}
	return n, nil
}

// Inject puts versions that other sources wrote, as following them would. One
// that is not newer than the version at hand is left out.
func (m *Memory) Inject(records ...record.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.clock.Observe(r.Time)
		if m.put(r) {
			m.tell(r.Topic, []record.Record{r})
		}
	}
}

// Lose forgets all records of a topic, as a server does that is flushed, and
// says that anything of it may have changed.
func (m *Memory) Lose(topic record.Topic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, topic)
	m.tell(topic, []record.Record{{Topic: topic}})
}

// Expire drops what is not kept any longer at now.
func (m *Memory) Expire(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, keys := range m.keys {
		for key, versions := range keys {
			kept, dropped := expire(topic, versions, now.UnixMilli())
			if len(dropped) == 0 {
				continue
			}
			keys[key] = kept
			if len(kept) == 0 {
				delete(keys, key)
			}
			for i := range dropped {
				dropped[i].Deleted, dropped[i].Value = true, nil
			}
			m.tell(topic, dropped)
		}
	}
}

func expire(topic record.Topic, versions []record.Record, now int64) (kept, dropped []record.Record) {
	if record.Expiring(topic) {
		if until := record.KeepUntil(versions); until != 0 && until <= now {
			return nil, versions
		}
		return versions, nil
	}
	if !record.Tombstones(topic) {
		return versions, nil
	}
	kept = slices.Clone(versions)
	for i := 0; i < len(kept); {
		same := ofMember(kept, kept[i].Member)
		at := slices.IndexFunc(same, func(r record.Record) bool { return r.Source == kept[i].Source })
		if record.Droppable(topic, same, at, now) {
			dropped = append(dropped, kept[i])
			kept = slices.Delete(kept, i, i+1)
			continue
		}
		i++
	}
	return kept, dropped
}

// Watch is record.Engine's.
func (m *Memory) Watch(topic record.Topic, f func([]record.Record)) (stop func()) {
	w := &watcher{f: f}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[topic] = append(m.watchers[topic], w)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watchers[topic] = slices.DeleteFunc(m.watchers[topic], func(x *watcher) bool { return x == w })
	}
}

// Walk is record.Engine's.
func (m *Memory) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		m.mu.RLock()
		var all []record.Record
		for _, keys := range m.keys {
			for _, versions := range keys {
				for _, v := range versions {
					if v.Revision > since[v.Source] {
						all = append(all, v)
					}
				}
			}
		}
		err := m.failure
		m.mu.RUnlock()
		sort.Slice(all, func(i, k int) bool {
			if all[i].Source != all[k].Source {
				return all[i].Source < all[k].Source
			}
			return all[i].Revision < all[k].Revision
		})
		for _, r := range all {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || !yield(r, nil) {
				break
			}
		}
		if err != nil {
			yield(record.Record{}, err)
		}
	}
}

// put keeps a version in place of an older one of its source. Readers may hold
// the slice before it: it is copied.
func (m *Memory) put(r record.Record) bool {
	if m.keys[r.Topic] == nil {
		m.keys[r.Topic] = make(map[string][]record.Record)
	}
	versions := slices.Clone(m.keys[r.Topic][r.Key])
	i := sort.Search(len(versions), func(i int) bool {
		v := versions[i]
		return v.Member > r.Member || v.Member == r.Member && v.Source >= r.Source
	})
	if i < len(versions) && versions[i].Member == r.Member && versions[i].Source == r.Source {
		if versions[i].Revision >= r.Revision {
			return false
		}
		versions[i] = r
	} else {
		versions = slices.Insert(versions, i, r)
	}
	m.keys[r.Topic][r.Key] = versions
	return true
}

func (m *Memory) tell(topic record.Topic, records []record.Record) {
	for _, w := range m.watchers[topic] {
		w.f(records)
	}
}

func ofMember(versions []record.Record, member string) []record.Record {
	var same []record.Record
	for _, v := range versions {
		if v.Member == member {
			same = append(same, v)
		}
	}
	return same
}
