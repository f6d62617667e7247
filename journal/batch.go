package journal

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

// batch is one commit in the making. It reads through what it has itself
// written so far, so that each request is judged after those before it.
type batch struct {
	j    *Journal
	txn  *badger.Txn
	view *badger.Txn      // what was committed before
	it   *badger.Iterator // over view, made when it is first needed

	groups     map[groupID]*group
	sources    map[string]state // those that changed, and this journal's own
	counts     map[record.Topic]int64
	written    []record.Record // for the watchers, in order
	operations int             // keys set or deleted
	bytes      int             // of these keys and their values
	lowest     int64           // the earliest hint that was written, 0: none
	dirty      bool
}

type groupID struct {
	topic record.Topic
	key   string
}

// group is all versions under one key, in the order of (member, source).
type group struct {
	versions []record.Record
	changed  bool // versions is the batch's own copy
}

func (j *Journal) newBatch() *batch {
	return &batch{
		j:       j,
		txn:     j.db.NewTransaction(true),
		view:    j.db.NewTransaction(false),
		groups:  make(map[groupID]*group),
		sources: map[string]state{j.source: j.committed.sources[j.source]},
		counts:  maps.Clone(j.committed.counts),
	}
}

func (b *batch) discard() {
	if b.it != nil {
		b.it.Close()
	}
	b.view.Discard()
	b.txn.Discard()
}

// commit writes what the batch says, with the heads that go with it.
func (b *batch) commit() error {
	own := b.sources[b.j.source]
	own.claim = own.head
	b.sources[b.j.source] = own
	for source, s := range b.sources {
		if err := b.set(stateKey(source), s.encode()); err != nil {
			return err
		}
	}
	counts, err := json.Marshal(b.counts)
	if err != nil {
		return err
	}
	if err := b.set(countKey, counts); err != nil {
		return err
	}
	if err := b.j.sync(b.txn); err != nil {
		return err
	}
	return b.j.folder.settle()
}

// operationBytes is what Badger adds to a key and value.
const operationBytes = 12

// full tells whether nothing more should go in that can wait.
func (b *batch) full() bool { return b.operations > maxOperations || b.bytes > maxBytes }

// unreadable is the answer to a request whose records can't be read: others of
// the batch are not concerned.
func unreadable(topic record.Topic, err error) result {
	return result{err: fmt.Errorf("reading the records of %s: %w: %w", topic, record.ErrUnavailable, err)}
}

// add does one request. Its error is the whole batch's.
func (b *batch) add(r *request) (result, error) {
	switch {
	case r.followed != nil:
		return b.follow(r.followed)
	case r.due != nil:
		return b.sweep(r.due)
	}
	return b.update(r)
}

// load returns the group under a key as this batch left it.
func (b *batch) load(topic record.Topic, key string) (*group, error) {
	id := groupID{topic, key}
	if g := b.groups[id]; g != nil {
		return g, nil
	}
	versions, ok := b.j.cache.Peek(cacheKey(topic, key))
	if !ok {
		if b.it == nil {
			b.it = b.view.NewIterator(badger.IteratorOptions{Prefix: []byte{recordKind}})
		}
		prefix := groupPrefix(topic, key)
		for b.it.Seek(prefix); b.it.ValidForPrefix(prefix); b.it.Next() {
			r, err := readRecord(b.it.Item())
			if err != nil {
				return nil, err
			}
			versions = append(versions, r)
		}
	}
	g := &group{versions: versions}
	b.groups[id] = g
	return g, nil
}

func (b *batch) update(r *request) (result, error) {
	g, err := b.load(r.topic, r.key)
	if err != nil {
		return unreadable(r.topic, err), nil
	}
	for _, c := range r.changes {
		if !r.cond.Holds(r.topic, g.member(c.Member)) {
			b.j.counters.conflicts.Add(1)
			return result{err: record.ErrConflict}, nil
		}
	}
	at := b.timeAfter(g.versions)
	own := b.sources[b.j.source]
	for _, c := range r.changes {
		own.head++
		err := b.put(g, record.Record{
			Topic: r.topic, Key: r.key, Member: c.Member, Source: b.j.source,
			Time: at, Expires: c.Expires, Deleted: c.Delete, Final: c.Final,
			Revision: own.head, Value: slices.Clone(c.Value),
		})
		if err != nil {
			return result{}, err
		}
	}
	b.sources[b.j.source] = own
	b.j.counters.updates.Add(1)
	return result{ack: record.Ack{Time: at, Revision: own.head, Copies: 1}}, nil
}

// timeAfter gives a time later than all versions that the writer can have
// seen. Where one of them is too far ahead to move the clock, this time alone is.
func (b *batch) timeAfter(versions []record.Record) record.Time {
	var seen record.Time
	for i := range versions {
		seen = max(seen, versions[i].Time)
	}
	b.j.clock.Observe(seen)
	at := b.j.clock.Next()
	own := b.sources[b.j.source]
	own.last = max(own.last, at)
	b.sources[b.j.source] = own
	return max(at, seen+1)
}

func (b *batch) follow(records []record.Record) (result, error) {
	for _, r := range records {
		g, err := b.load(r.Topic, r.Key)
		if err != nil {
			return unreadable(r.Topic, err), nil
		}
		s, ok := b.sources[r.Source]
		if !ok {
			s = b.j.committed.sources[r.Source]
		}
		if r.Revision > s.head {
			s.head, s.last = r.Revision, max(s.last, r.Time)
			b.sources[r.Source], b.dirty = s, true
		}
		if i, found := g.find(r.Member, r.Source); found && g.versions[i].Revision >= r.Revision {
			continue
		}
		b.j.clock.Observe(r.Time)
		r.Value = slices.Clone(r.Value)
		if err := b.put(g, r); err != nil {
			return result{}, err
		}
	}
	return result{}, nil
}

// put writes a version in place of the one that its source had.
func (b *batch) put(g *group, r record.Record) error {
	key := recordKey(&r)
	i, replaces := g.find(r.Member, r.Source)
	g.own()
	switch {
	case replaces:
		old := g.versions[i]
		if err := b.delete(revisionKey(old.Source, old.Revision)); err != nil {
			return err
		}
		if due, ok := hintOf(&old); ok {
			if err := b.delete(hint{due, key}.encode()); err != nil {
				return err
			}
		}
		b.count(&old, -1)
		g.versions[i] = r
	default:
		if r.Topic == record.Inventory && len(g.member(r.Member)) == 0 {
			if err := b.set(memberKey(r.Topic, r.Member, r.Key), nil); err != nil {
				return err
			}
		}
		g.versions = slices.Insert(g.versions, i, r)
	}
	b.count(&r, 1)
	b.written = append(b.written, r)
	if err := b.set(key, encodeRecord(&r)); err != nil {
		return err
	}
	if due, ok := hintOf(&r); ok {
		if err := b.file(hint{due, key}); err != nil {
			return err
		}
	}
	if err := b.set(revisionKey(r.Source, r.Revision), key); err != nil {
		return err
	}
	return b.reconsider(g, &r)
}

// reconsider has the sweep look again at tombstones that are over and stayed
// because of what they hid: r may have changed that.
func (b *batch) reconsider(g *group, r *record.Record) error {
	if !record.Tombstones(r.Topic) {
		return nil
	}
	now := b.j.clock.Wall().UnixMilli()
	for _, v := range g.member(r.Member) {
		due, ok := hintOf(&v)
		if !ok || due > now || v.Source == r.Source {
			continue
		}
		if err := b.file(hint{due, recordKey(&v)}); err != nil {
			return err
		}
	}
	return nil
}

// drop removes a version and all that points to it; watchers get a tombstone.
func (b *batch) drop(g *group, i int) error {
	r := g.versions[i]
	key := recordKey(&r)
	g.own()
	g.versions = slices.Delete(g.versions, i, i+1)
	gone := [][]byte{key, revisionKey(r.Source, r.Revision)}
	if due, ok := hintOf(&r); ok {
		gone = append(gone, hint{due, key}.encode())
	}
	if r.Topic == record.Inventory && len(g.member(r.Member)) == 0 {
		gone = append(gone, memberKey(r.Topic, r.Member, r.Key))
	}
	for _, k := range gone {
		if err := b.delete(k); err != nil {
			return err
		}
	}
	b.count(&r, -1)
	r.Deleted, r.Value = true, nil
	b.written = append(b.written, r)
	return nil
}

func (b *batch) count(r *record.Record, n int64) {
	if !r.Deleted {
		b.counts[r.Topic] += n
	}
}

func (b *batch) file(h hint) error {
	if b.lowest == 0 || h.due < b.lowest {
		b.lowest = h.due
	}
	return b.set(h.encode(), nil)
}

func (b *batch) set(key, value []byte) error {
	b.operations, b.bytes, b.dirty = b.operations+1, b.bytes+len(key)+len(value)+operationBytes, true
	return b.txn.Set(key, value)
}

func (b *batch) delete(key []byte) error {
	b.operations, b.bytes, b.dirty = b.operations+1, b.bytes+len(key)+operationBytes, true
	return b.txn.Delete(key)
}

// own makes the versions the batch's: others may hold those that were read.
func (g *group) own() {
	if !g.changed {
		g.versions, g.changed = slices.Clone(g.versions), true
	}
}

// member returns the versions of one member.
func (g *group) member(member string) []record.Record {
	from := sort.Search(len(g.versions), func(i int) bool { return g.versions[i].Member >= member })
	to := from
	for to < len(g.versions) && g.versions[to].Member == member {
		to++
	}
	return g.versions[from:to]
}

// find returns where the version of a member and source is, or would be.
func (g *group) find(member, source string) (int, bool) {
	i := sort.Search(len(g.versions), func(i int) bool {
		v := &g.versions[i]
		return v.Member > member || v.Member == member && v.Source >= source
	})
	return i, i < len(g.versions) && g.versions[i].Member == member && g.versions[i].Source == source
}
