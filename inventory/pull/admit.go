package pull

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"time"

	"github.com/ooseio/oose/content"
)

// join finds the fetch that a reader at offset can wait for, or begins one, and
// counts the reader. There is none where the copy is whole.
func (c *Cache) join(h content.Hash, size, offset int64, source func(context.Context, int64) (io.ReadCloser, error)) (*fetch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disabled() != "" {
		return nil, ErrOff
	}
	if found, ok := c.copies.Load(h); ok {
		if found.(*entry).size != size {
			return nil, errSize
		}
		return nil, nil
	}
	if c.isRefused(h) {
		return nil, ErrGone
	}
	f := c.fetches[h]
	if f == nil {
		var err error
		if f, err = c.begin(h, size, offset, false, source); err != nil {
			return nil, err
		}
	}
	if f.size != size {
		return nil, errSize
	}
	if !f.enter(offset) {
		return nil, ErrAhead
	}
	return f, nil
}

var errSize = errors.New("another size than the copy's")

// begin begins a fetch where that is worth it; what other nodes want always is.
// c.mu is held.
func (c *Cache) begin(h content.Hash, size, offset int64, wanted bool, source func(context.Context, int64) (io.ReadCloser, error)) (*fetch, error) {
	max, room := c.max.Load(), charge(size)
	again := c.asked.again(h, c.tune.now(), c.tune.askedWithin) || wanted
	switch {
	case room > max:
		return nil, ErrFull
	case offset > c.tune.ahead && room > max/4:
		return nil, ErrAhead
	case len(c.fetches) >= c.tune.fetches, c.fetching+room > max, wanted && c.fetchesWanted() >= c.tune.wanted:
		return nil, ErrBusy
	case (c.taken+room > max || room > c.free || len(c.order) >= c.tune.files) && !again:
		return nil, ErrOnce
	}
	c.taken += room
	c.fetching += room
	f := newFetch(c, h, size, source)
	f.medium, f.wanted = c.medium, wanted
	c.fetches[h], c.inUse[f] = f, struct{}{}
	c.done.Go(f.run)
	return f, nil
}

// isRefused tells whether no copy of a content is kept for a while. c.mu is held.
func (c *Cache) isRefused(h content.Hash) bool {
	until, ok := c.refused[h]
	if ok && !c.tune.now().Before(until) {
		delete(c.refused, h)
		return false
	}
	return ok
}

// maxRefused bounds how many contents are refused at the same time.
const maxRefused = 4096

// refuse keeps no copies of a content for a while. c.mu is held.
func (c *Cache) refuse(h content.Hash, length time.Duration) {
	now := c.tune.now()
	if len(c.refused) >= maxRefused {
		for other, until := range c.refused {
			if now.After(until) {
				delete(c.refused, other)
			}
		}
	}
	if len(c.refused) < maxRefused {
		c.refused[h] = now.Add(length)
	}
}

// doorkeeper knows roughly what was asked for lately.
type doorkeeper struct {
	seed      maphash.Seed
	now, then map[uint64]struct{}
	since     time.Time // when now was begun
}

// maxAsked bounds what a doorkeeper remembers, twice over.
const maxAsked = 16384

func newDoorkeeper() *doorkeeper {
	return &doorkeeper{seed: maphash.MakeSeed(), now: map[uint64]struct{}{}}
}

// again notes a request, and tells whether there was one for the same content
// within about that long.
func (d *doorkeeper) again(h content.Hash, at time.Time, within time.Duration) bool {
	if at.Sub(d.since) >= 2*within {
		clear(d.now)
	}
	if len(d.now) >= maxAsked || at.Sub(d.since) >= within {
		d.then, d.now, d.since = d.now, map[uint64]struct{}{}, at
	}
	key := maphash.Comparable(d.seed, h)
	_, now := d.now[key]
	_, then := d.then[key]
	d.now[key] = struct{}{}
	return now || then
}
