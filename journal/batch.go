package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

// batch is one commit in the making. It reads through what it has itself
// written so far, so that each request is judged after those before it.
type batch struct {
	j      *Journal
	txn    *badger.Txn
	view   *badger.Txn      // what was committed before
	it     *badger.Iterator // over view, made when it is first needed
	source string           // the journal's own
	now    int64            // when it began, in milliseconds since 1970

	groups     map[groupID]*group
	sources    map[string]state // those that changed, and this journal's own
	complete   map[string]int64 // see committed
	totals     totals
	written    []written // in order
	operations int       // keys set or deleted
	bytes      int       // of these keys and their values
	lowest     int64     // the earliest hint that was written, 0: none
	dirty      bool
	arena      []byte // keys are cut from it
}

// written is a version that was put, or dropped: then it is a tombstone, for
// the watchers, and stored is nil.
type written struct {
	record.Record
	stored []byte // its value in the database
}

func (j *Journal) newBatch() *batch {
	source := j.Source()
	return &batch{
		j:        j,
		txn:      j.db.NewTransaction(true),
		view:     j.db.NewTransaction(false),
		source:   source,
		now:      j.clock.Wall().UnixMilli(),
		groups:   make(map[groupID]*group),
		sources:  map[string]state{source: j.committed.sources[source]},
		totals:   j.committed.totals.clone(),
		complete: make(map[string]int64),
	}
}

func (b *batch) discard() {
	if b.it != nil {
		b.it.Close()
	}
	b.view.Discard()
	b.txn.Discard()
}

// state is what is known of a source, as this batch leaves it.
func (b *batch) state(source string) state {
	if s, ok := b.sources[source]; ok {
		return s
	}
	return b.j.committed.sources[source]
}

// commit writes what the batch says, with the heads that go with it.
func (b *batch) commit() error {
	own := b.sources[b.source]
	own.claim = own.head
	b.sources[b.source] = own
	for source, s := range b.sources {
		if err := b.set(stateKey(source), s.encode()); err != nil {
			return err
		}
	}
	all, err := json.Marshal(b.totals)
	if err != nil {
		return err
	}
	if err := b.set(countKey, all); err != nil {
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
	case r.due != nil:
		return b.sweep(r.due)
	case r.gone != nil:
		return b.forget(r.gone, r.former)
	case r.changes == nil:
		return b.receive(r)
	}
	return b.update(r)
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
	own := b.sources[b.source]
	for _, c := range r.changes {
		b.j.next(&own)
		b.sources[b.source] = own // what it leapt over counts for what it replaces
		in := makeIncoming(record.Record{
			Topic: r.topic, Key: r.key, Member: c.Member, Source: b.source,
			Time: at, Expires: c.Expires, Deleted: c.Delete, Final: c.Final,
			Revision: own.head, Value: c.Value,
		})
		if err := b.keep(g, &in); err != nil {
			return result{}, err
		}
	}
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
	own := b.sources[b.source]
	own.last = max(own.last, at)
	b.sources[b.source] = own
	return max(at, seen+1)
}

// put writes a version in place of the one that its source had.
func (b *batch) put(g *group, in *incoming) error {
	r := &in.Record
	g.own()
	i, replaces := g.find(r.Member, r.Source)
	switch {
	case replaces:
		if err := b.unlink(&g.versions[i]); err != nil {
			return err
		}
		g.versions[i] = *r
	default:
		if r.Topic == record.Inventory && len(g.member(r.Member)) == 0 {
			if err := b.set(memberKey(r.Topic, r.Member, r.Key), nil); err != nil {
				return err
			}
		}
		g.versions = slices.Insert(g.versions, i, *r)
	}
	b.totals.add(r, &in.sum, 1)
	b.written = append(b.written, written{*r, in.stored})
	if err := b.set(in.key, in.stored); err != nil {
		return err
	}
	if due, ok := b.due(r); ok {
		if err := b.file(hint{due, in.key}); err != nil {
			return err
		}
	}
	if err := b.set(b.revisionKey(r), in.key); err != nil {
		return err
	}
	return b.reconsider(g, r)
}

// unlink removes what points to a version, which itself is replaced or removed.
func (b *batch) unlink(r *record.Record) error {
	key := recordKey(r)
	if err := b.delete(b.revisionKey(r)); err != nil {
		return err
	}
	if due, ok := hintOf(r); ok {
		if err := b.delete(hint{due, key}.encode()); err != nil {
			return err
		}
	}
	if !r.Deleted {
		s := sumOf(key, encodeRecord(r))
		b.totals.add(r, &s, -1)
	}
	return nil
}

// due returns when a version that is written now may have to go. A tombstone
// that comes late, because this node is catching up, stays for as long as a
// new one: what it hides may not have come yet.
func (b *batch) due(r *record.Record) (int64, bool) {
	due, ok := hintOf(r)
	keep := record.KeepTombstone.Milliseconds()
	if ok && r.Deleted && r.Source != b.source && record.Tombstones(r.Topic) && due < b.now+keep/2 {
		due = b.now + keep
	}
	return due, ok
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
	g.own()
	g.versions = slices.Delete(g.versions, i, i+1)
	if err := b.unlink(&r); err != nil {
		return err
	}
	if err := b.delete(recordKey(&r)); err != nil {
		return err
	}
	if r.Topic == record.Inventory && len(g.member(r.Member)) == 0 {
		if err := b.delete(memberKey(r.Topic, r.Member, r.Key)); err != nil {
			return err
		}
	}
	r.Deleted, r.Value = true, nil
	b.written = append(b.written, written{Record: r})
	return nil
}

func (b *batch) file(h hint) error {
	if b.lowest == 0 || h.due < b.lowest {
		b.lowest = h.due
	}
	key := binary.BigEndian.AppendUint64(append(b.cut(9+len(h.key)), dueKind), uint64(h.due))
	return b.set(append(key, h.key...), nil)
}

func (b *batch) set(key, value []byte) error {
	b.operations, b.bytes, b.dirty = b.operations+1, b.bytes+len(key)+len(value)+operationBytes, true
	return b.txn.Set(key, value)
}

func (b *batch) delete(key []byte) error {
	b.operations, b.bytes, b.dirty = b.operations+1, b.bytes+len(key)+operationBytes, true
	return b.txn.Delete(key)
}

// revisionKey is the key of a version's place in what its source wrote.
func (b *batch) revisionKey(r *record.Record) []byte {
	key := b.cut(10 + len(r.Source))
	key = append(append(append(key, revisionKind), r.Source...), 0)
	return binary.BigEndian.AppendUint64(key, r.Revision)
}

const arenaBytes = 64 << 10

// cut returns an empty slice with room for n bytes. A batch has thousands of
// small keys.
func (b *batch) cut(n int) []byte {
	if cap(b.arena)-len(b.arena) < n {
		b.arena = make([]byte, 0, max(n, arenaBytes))
	}
	at := len(b.arena)
	b.arena = b.arena[:at+n]
	return b.arena[at : at : at+n]
}
