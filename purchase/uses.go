package purchase

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/record"
)

// useShards bounds how many uses of different purchases wait for one another.
const useShards = 64

// uses counts what is used of the purchases whose uses are bounded. Purchases
// without such a bound never come here.
type uses struct {
	source  func() string
	past    func(record.Record) bool // tells whether a version is of this node's own past, under another name
	clock   *record.Clock
	began   time.Time // what durations are counted from, so that a set clock does no harm
	bound   int64     // clients remembered
	clients atomic.Int64
	seed    maphash.Seed
	wake    chan struct{} // holds one where there is something to write
	shards  [useShards]useShard
}

type useShard struct {
	mu       sync.Mutex
	counters map[Token]*counter
	renewals map[Token]bool // purchases whose expiry may have changed
	stale    uint64         // how many changes by others there were
}

// counter is what this node knows of one purchase's uses.
type counter struct {
	own     int64         // counted by this node
	others  int64         // counted by the others
	written int64         // what of own is kept
	expires int64         // of the purchase, milliseconds since 1970
	kept    int64         // the expiry of the record that is kept
	saved   time.Duration // when its clients were written last
	due     bool          // its clients are to be written again
	stale   bool          // what others wrote has changed
	clients map[clientKey]*client
}

// dirty tells whether a counter's record is missing or behind.
func (n *counter) dirty() bool {
	return n.own != n.written || n.own > 0 && (n.due || n.kept < n.expires)
}

// useValue is the value of a record of topic use. The clients are those that
// this node knew when it wrote, so that a restart, or another node, goes on
// knowing them.
type useValue struct {
	Count   int64               `json:"count"`
	Clients map[clientKey]int64 `json:"clients,omitempty"` // last request, milliseconds since 1970
}

func newUses(source func() string, clock *record.Clock, clients int) *uses {
	u := &uses{
		source: source, past: func(record.Record) bool { return false }, clock: clock, began: clock.Wall(), bound: int64(clients),
		seed: maphash.MakeSeed(), wake: make(chan struct{}, 1),
	}
	for i := range u.shards {
		u.shards[i].counters = make(map[Token]*counter)
		u.shards[i].renewals = make(map[Token]bool)
	}
	return u
}

// renewed has what others wrote read again: what this node wrote behind the copy
// that was restored may be among it now.
func (u *uses) renewed() {
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		shard.stale++
		for _, n := range shard.counters {
			n.stale = true
		}
		shard.mu.Unlock()
	}
}

func (u *uses) shard(t Token) *useShard {
	return &u.shards[maphash.String(u.seed, string(t))%useShards]
}

// now is the time since began, by the monotonic clock.
func (u *uses) now() time.Duration { return u.clock.Wall().Sub(u.began) }

// noUse is what ends a use that is not counted.
func noUse() {}

// Use counts a request as a use of a purchase where its client (the address,
// of IPv6 its /64, and the user agent) made none in the last 10 minutes and
// has none running. The caller calls done when the request has ended, once.
// HEAD and 304 are no uses: call Spent for these. Errors: ErrSpent, for a
// client that is not known while all uses are counted out; record.ErrUnavailable.
func (b *Book) Use(ctx context.Context, p *Purchase, addr netip.Addr, userAgent string) (done func(), err error) {
	if p.Count == 0 {
		return noUse, nil
	}
	var c *client
	shard := b.uses.shard(p.Token)
	err = b.withCounter(ctx, p, shard, func(n *counter) error {
		c, err = b.uses.admit(shard, n, p, keyOf(p.Token, addr, userAgent))
		return err
	})
	if err != nil {
		return nil, err
	}
	var once sync.Once
	return func() { once.Do(func() { b.uses.ended(shard, c) }) }, nil
}

// Spent returns ErrSpent where Use would, and counts nothing.
func (b *Book) Spent(ctx context.Context, p *Purchase, addr netip.Addr, userAgent string) error {
	if p.Count == 0 {
		return nil
	}
	return b.withCounter(ctx, p, b.uses.shard(p.Token), func(n *counter) error {
		if n.own+n.others < p.Count || b.uses.known(n.clients[keyOf(p.Token, addr, userAgent)]) {
			return nil
		}
		return ErrSpent
	})
}

// Used returns how many uses of a counted purchase are counted, by all nodes.
func (b *Book) Used(ctx context.Context, p *Purchase) (int64, error) {
	var used int64
	if p.Count == 0 {
		return 0, nil
	}
	err := b.withCounter(ctx, p, b.uses.shard(p.Token), func(n *counter) error {
		used = n.own + n.others
		return nil
	})
	return used, err
}

// withCounter calls f, with the shard locked, with the counter of a purchase
// as its records say it is.
func (b *Book) withCounter(ctx context.Context, p *Purchase, shard *useShard, f func(*counter) error) error {
	shard.mu.Lock()
	n := shard.counters[p.Token]
	if n == nil || n.stale { // once: what changes meanwhile is read by the next
		began := shard.stale
		shard.mu.Unlock()
		r, err := b.readUses(ctx, p.Token)
		if err != nil {
			return err
		}
		shard.mu.Lock()
		if n = shard.counters[p.Token]; n == nil {
			n = &counter{own: r.own, written: r.own, kept: r.expires, saved: b.uses.now(), clients: make(map[clientKey]*client)}
			shard.counters[p.Token] = n
		}
		n.others, n.stale = r.others, shard.stale != began
		b.uses.learn(n, r.clients)
	}
	defer shard.mu.Unlock()
	// For as long as the purchase is kept: its life may be made longer again.
	if n.expires = max(p.Expires, p.until); n.dirty() {
		b.uses.call()
	}
	return f(n)
}

// reading is what the records say about a purchase's uses.
type reading struct {
	own, others int64               // counted by this node and by the others
	expires     int64               // of this node's record
	clients     map[clientKey]int64 // the latest of all
}

func (b *Book) readUses(ctx context.Context, t Token) (reading, error) {
	versions, err := b.engine.Get(ctx, record.Use, string(t))
	if err != nil {
		return reading{}, fmt.Errorf("reading the uses of purchase %s: %w", t.Short(), err)
	}
	r, source := reading{clients: make(map[clientKey]int64)}, b.uses.source()
	for _, v := range versions {
		var value useValue
		if v.Deleted {
			continue
		}
		if err := json.Unmarshal(v.Value, &value); err != nil {
			return reading{}, fmt.Errorf("reading the uses of purchase %s: %w", t.Short(), err)
		}
		switch {
		case v.Source == source:
			r.own, r.expires = max(r.own, value.Count), v.Expires
		case b.uses.past(v):
			r.own = max(r.own, value.Count) // which this node's next version replaces
		default:
			r.others += value.Count
		}
		for key, last := range value.Clients {
			r.clients[key] = max(r.clients[key], last)
		}
	}
	return r, nil
}
