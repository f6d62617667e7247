package inventory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// Placement is what this node knows about one content. It is shared by all who
// asked: it must not be changed.
type Placement struct {
	Clones  []Clone     // those that no removal concerns, the earliest stored first
	Removed record.Time // the latest removal, 0: never removed
	Blocked bool        // the operator refuses it
	Hidden  bool        // ... and viewers are answered as if nobody held it
}

// Index answers who holds what, from this node's own copy of the records.
type Index struct {
	engine record.Engine
	clock  *record.Clock
	cache  *record.Cache[*Placement]
	owners atomic.Pointer[Owners]
	stops  []func()
}

// NewIndex returns an index over an engine's records that keeps at most size
// placements in memory. Close ends it.
func NewIndex(e record.Engine, clock *record.Clock, size int) *Index {
	x := &Index{engine: e, clock: clock, cache: record.NewCache[*Placement](size)}
	for _, topic := range []record.Topic{record.Inventory, record.Removal, record.Block} {
		x.stops = append(x.stops, e.Watch(topic, func(records []record.Record) {
			for i := range records {
				if records[i].Key == "" {
					x.cache.Clear()
					continue
				}
				x.cache.Invalidate(records[i].Key)
			}
		}))
	}
	return x
}

// Close stops watching the engine. The index must not be used afterwards.
func (x *Index) Close() {
	for _, stop := range x.stops {
		stop()
	}
}

// Find returns what is known about a content, never nil without an error. What
// is found stays in memory until a record about it is committed.
func (x *Index) Find(ctx context.Context, h content.Hash) (*Placement, error) {
	return x.cache.Get(ctx, h.String(), func(ctx context.Context, key string) (*Placement, bool, error) {
		p, err := x.load(ctx, h, key)
		return p, err == nil, err
	})
}

// Forget drops what is kept in memory and returns about how much that was.
func (x *Index) Forget() int { return x.cache.Clear() }

// Cached returns about how many placements are in memory.
func (x *Index) Cached() int { return x.cache.Len() }

func (x *Index) load(ctx context.Context, h content.Hash, key string) (*Placement, error) {
	p := &Placement{}
	var err error
	if p.Removed, err = removedAt(ctx, x.engine, key); err != nil {
		return nil, err
	}
	var block Block
	if block, p.Blocked, err = blockOf(ctx, x.engine, key); err != nil {
		return nil, err
	}
	p.Hidden = block.Hidden
	versions, err := x.engine.Get(ctx, record.Inventory, key)
	if err != nil {
		return nil, fmt.Errorf("looking up the clones of %s: %w", key, err)
	}
	for _, r := range record.Members(record.Inventory, x.whose().counting(versions)) {
		// A record that can't be read says nothing; the store's next scan writes it anew.
		if c, err := decodeCloneOf(h, r); err == nil && (p.Removed == 0 || c.Kept > p.Removed) {
			p.Clones = append(p.Clones, c)
		}
	}
	slices.SortStableFunc(p.Clones, func(a, b Clone) int {
		return cmp.Or(cmp.Compare(a.Stored, b.Stored), cmp.Compare(a.Store, b.Store))
	})
	return p, nil
}

// List yields the clones that records place in a store, in the order of their
// hashes, from the first behind after (the zero hash: from the beginning). It
// ends at its first error.
func (x *Index) List(ctx context.Context, store string, after content.Hash) iter.Seq2[Clone, error] {
	return func(yield func(Clone, error) bool) {
		for r, err := range members(ctx, x.engine, x.whose(), store, after.String()) {
			if err != nil {
				yield(Clone{}, err)
				return
			}
			if c, err := decodeClone(r); err == nil && !yield(c, nil) {
				return
			}
		}
	}
}

// Totals is how much records place in a store.
type Totals struct {
	Clones int64
	Bytes  int64
}

// Count adds up a store's clones. It reads all their records.
func (x *Index) Count(ctx context.Context, store string) (Totals, error) {
	return count(ctx, x.engine, x.whose(), store)
}

func count(ctx context.Context, e record.Engine, whose Owners, store string) (Totals, error) {
	var t Totals
	for r, err := range members(ctx, e, whose, store, "") {
		if err != nil {
			return Totals{}, err
		}
		if c, err := decodeClone(r); err == nil {
			t.Clones++
			t.Bytes += c.Size
		}
	}
	return t, nil
}

// members yields the merged live records of one store in the order of keys.
func members(ctx context.Context, e record.Engine, whose Owners, store, after string) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		var versions []record.Record
		flush := func() bool {
			r, ok := record.Merge(record.Inventory, whose.counting(versions))
			return !ok || yield(r, nil)
		}
		for r, err := range e.List(ctx, record.Inventory, record.ByMember, store, after) {
			if err != nil {
				yield(record.Record{}, fmt.Errorf("listing the clones of store %s: %w", store, err))
				return
			}
			if len(versions) > 0 && versions[0].Key != r.Key {
				if !flush() {
					return
				}
				versions = versions[:0]
			}
			versions = append(versions, r)
		}
		flush()
	}
}

// removal is the value of a removal record. Its time stands in for the
// record's where a clone's kept time was ahead of this node's clock.
type removal struct {
	Time record.Time `json:"time"`
}

// Remove writes down that a content is removed, and returns the time of that:
// later than every kept time that this node has seen. The stores drop their
// clones when they see it.
func (x *Index) Remove(ctx context.Context, h content.Hash) (record.Time, error) {
	key := h.String()
	versions, err := x.engine.Get(ctx, record.Inventory, key)
	if err != nil {
		return 0, fmt.Errorf("removing %s: %w", key, err)
	}
	at := x.clock.Next()
	for _, r := range versions {
		if c, err := decodeCloneOf(h, r); err == nil {
			at = max(at, c.Kept+1)
		}
	}
	value, err := json.Marshal(removal{Time: at})
	if err != nil {
		return 0, fmt.Errorf("removing %s: %w", key, err)
	}
	ack, err := x.engine.Update(ctx, record.Removal, key, record.Condition{}, record.Change{Value: value})
	if err != nil {
		return 0, fmt.Errorf("removing %s: %w", key, err)
	}
	return max(at, ack.Time), nil
}

// removedAt returns the latest removal of a content, 0 where there is none.
func removedAt(ctx context.Context, e record.Engine, key string) (record.Time, error) {
	versions, err := e.Get(ctx, record.Removal, key)
	if err != nil {
		return 0, fmt.Errorf("looking up the removal of %s: %w", key, err)
	}
	var latest record.Time
	for _, r := range versions {
		latest = max(latest, removalTime(r))
	}
	return latest, nil
}

func removalTime(r record.Record) record.Time {
	if r.Deleted {
		return 0
	}
	var v removal
	if json.Unmarshal(r.Value, &v) != nil {
		return r.Time
	}
	return max(r.Time, v.Time)
}
