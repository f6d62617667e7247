package repair

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/content"
	plan "github.com/ooseio/oose/inventory/repair"
)

// Copying is a clone that is being made.
type Copying struct {
	Hash string `json:"hash"`
	From string `json:"from"` // the id of a store
	To   string `json:"to"`   // the id of a store
	Size int64  `json:"size"` // bytes
	Done int64  `json:"done"` // bytes

	done *atomic.Int64
}

// StoreStatus is how a store stands, as this node sees it.
type StoreStatus struct {
	ID       string `json:"id"`
	Node     string `json:"node"`
	Standing string `json:"standing"`       // good, suspect, draining, down or lost
	Room     bool   `json:"room,omitempty"` // it takes new clones
}

// Status is what this node repairs. The cluster's is the sum of its nodes'.
type Status struct {
	Walking  bool  `json:"walking"`            // a walk over all clones is under way
	WalkedAt int64 `json:"walkedAt,omitempty"` // when the latest one ended, milliseconds since 1970
	Clones   int64 `json:"clones"`             // that it has looked at
	Missing  int64 `json:"missing"`            // clones to be made by this node
	Urgent   int64 `json:"urgent"`             // of these: of contents that have one good clone left, or none
	Waiting  int64 `json:"waiting"`            // contents whose missing clones are another node's to make
	Surplus  int64 `json:"surplus"`            // clones of this node's stores that are not needed
	Blocked  int64 `json:"blocked,omitempty"`  // clones of blocked contents, left as they are

	Copying   []Copying `json:"copying"`
	Rate      int64     `json:"rate"`     // bytes copied per second, now
	Copied    int64     `json:"copied"`   // clones made since the start
	Bytes     int64     `json:"bytes"`    // sent for that
	Verified  int64     `json:"verified"` // bytes read to promise something to other stores
	Dropped   int64     `json:"dropped"`  // clones dropped since the start
	Failed    int64     `json:"failed"`   // attempts since the start
	LastError string    `json:"lastError,omitempty"`
	ErrorAt   int64     `json:"errorAt,omitempty"` // milliseconds since 1970

	Stores []StoreStatus `json:"stores"`
	Held   int           `json:"held,omitempty"`   // stores that would be lost, were not so many away at once
	LostAt int64         `json:"lostAt,omitempty"` // when the next store that is down will be lost, milliseconds since 1970
}

// counts are what an agent has done.
type counts struct {
	copied, dropped, failed atomic.Int64
	moved                   atomic.Int64 // when something was achieved last, nanoseconds since 1970

	mu      sync.Mutex
	copying map[*Copying]struct{}
}

// begin counts a clone that is being made, until end is called.
func (c *counts) begin(k *Copying) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copying == nil {
		c.copying = map[*Copying]struct{}{}
	}
	c.copying[k] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.copying, k)
	}
}

func (c *counts) list() []Copying {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := []Copying{}
	for k := range c.copying {
		one := *k
		one.Done = k.done.Load()
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Copying) int { return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.To, b.To)) })
	return list
}

func (c *counts) progress() { c.moved.Store(time.Now().UnixNano()) }

// recently tells whether something was achieved within a while, or is under way.
func (c *counts) recently(while time.Duration) bool {
	c.mu.Lock()
	busy := len(c.copying) > 0
	c.mu.Unlock()
	return busy || time.Since(time.Unix(0, c.moved.Load())) < while
}

// Status tells what this node repairs.
func (a *Agent) Status() Status {
	now := time.Now()
	s := Status{
		Copying: a.counts.list(), Rate: a.copying.recent.rate(now), Copied: a.counts.copied.Load(), Bytes: a.copying.bytes.Load(),
		Verified: a.reading.bytes.Load(), Dropped: a.counts.dropped.Load(), Failed: a.counts.failed.Load(), Stores: []StoreStatus{},
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.survey
	s.Walking, s.Clones, s.Missing, s.Urgent, s.Waiting, s.Surplus, s.Blocked = v.Walking, v.Clones, v.Missing, v.Urgent, v.Waiting, v.Surplus, v.Blocked
	s.LastError, s.Held = a.lastErr, a.verdict.Held
	s.WalkedAt, s.ErrorAt, s.LostAt = milli(v.At), milli(a.errAt), milli(a.verdict.Next)
	for _, store := range a.cluster.Load().Stores() {
		s.Stores = append(s.Stores, StoreStatus{ID: store.ID, Node: store.Node, Standing: store.Standing.String(), Room: store.Room})
	}
	return s
}

// milli is a time in milliseconds since 1970, 0 for none.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Drain is how far the emptying of a store has come.
type Drain struct {
	Left    int64 `json:"left"`    // clones that records place in it
	Bytes   int64 `json:"bytes"`   // their size
	Needed  int64 `json:"needed"`  // of these: those of which too few others are good
	Alone   int64 `json:"alone"`   // of these: those of which no other is good
	Blocked int64 `json:"blocked"` // of all: those of blocked contents, which are not copied
}

// Safe tells whether the store can be taken away without any content having
// fewer clones than are wanted. What is blocked is given up with it.
func (d Drain) Safe() bool { return d.Needed == 0 }

// Draining tells how far the emptying of a store has come, whichever node
// carries it. It reads the records of all its clones.
func (a *Agent) Draining(ctx context.Context, store string) (Drain, error) {
	return a.DrainingEach(ctx, store, func(content.Hash) {})
}

// DrainingEach is Draining that names each content counted by Drain.Alone.
func (a *Agent) DrainingEach(ctx context.Context, store string, alone func(content.Hash)) (Drain, error) {
	var d Drain
	err := a.eachIn(ctx, store, func(_ string, h content.Hash) error {
		f, err := a.examine(ctx, h)
		if err != nil {
			return err
		}
		c, ok := f.clone(store)
		if !ok {
			return nil // a removal concerns it
		}
		d.Left++
		d.Bytes += c.Size
		good := f.Good
		if s, ok := a.cluster.Load().Store(store); ok && s.Standing == plan.Good {
			good-- // its own
		}
		switch {
		case f.refuse:
			d.Blocked++
		case good == 0:
			d.Alone++
			d.Needed++
			alone(h)
		case good < f.wanted:
			d.Needed++
		}
		return nil
	})
	return d, err
}
