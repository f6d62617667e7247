package pull

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Why nothing is kept, besides what the disk says.
const (
	offListing = "the copies there are have not been listed yet"
	offMedium  = "the disk can't be used"
	offClosed  = "closed"
)

// disabled tells why nothing is kept now, "" where something is. c.mu is held.
func (c *Cache) disabled() string {
	switch {
	case c.closed:
		return offClosed
	case c.off != "" && c.tune.now().Before(c.offUntil):
		return c.off
	}
	switch c.disk.Medium() {
	case 0:
		return offMedium
	case c.medium:
		return ""
	}
	return offListing
}

// listSoon is how often a disk is looked at until it is there for the first
// time: a store that opens takes a moment.
const listSoon = 250 * time.Millisecond

// work looks after the folder until the cache is closed.
func (c *Cache) work() {
	ticker := time.NewTicker(min(c.tune.tick, listSoon))
	defer ticker.Stop()
	c.look()
	for listed := false; ; {
		if !listed && c.heard.Load() != 0 {
			listed = true
			ticker.Reset(c.tune.tick)
		}
		select {
		case <-c.life.Done():
			return
		case e := <-c.touched:
			c.touch(e)
			continue
		case <-c.kick:
		case <-ticker.C:
		}
		c.look()
	}
}

// look lists a medium that is new, empties the trash, and sees to the room.
func (c *Cache) look() {
	if medium := c.disk.Medium(); medium != 0 && medium != c.heard.Load() {
		if err := c.list(medium); err != nil {
			c.log.Warn("listing copies; it is tried again", zap.Error(err))
			return
		}
	}
	c.mu.Lock()
	if c.off != "" && !c.tune.now().Before(c.offUntil) {
		c.off = ""
		c.log.Info("copies are kept again")
	}
	ready, trash := c.medium != 0 && c.medium == c.disk.Medium(), c.trash
	if ready {
		c.trash = nil
	}
	c.mu.Unlock()
	if !ready {
		return
	}
	c.sweep(c.life, trash)
	c.cool()
	if err := c.evict(c.life, 0); err != nil && c.life.Err() == nil && !errors.Is(err, ErrFull) {
		c.log.Warn("seeing to the room for copies", zap.Error(err))
	}
}

// list takes over what lies in the folder of a medium.
func (c *Cache) list(medium uint64) error {
	c.mu.Lock()
	c.reset()
	c.trash, c.medium = nil, 0
	c.heard.Store(0)
	c.mu.Unlock()
	var found []*entry
	err := c.disk.List(c.life, func(name string, size int64, used time.Time) {
		if h, length, ok := parseName(name); ok && length == size {
			found = append(found, newEntry(h, size, used))
		} else if ok {
			c.discard(name)
		}
	})
	if err != nil {
		return err
	}
	if found, err = c.without(found); err != nil {
		return err
	}
	free, err := c.disk.Room(c.life)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range found {
		c.add(e)
	}
	c.medium, c.free = medium, free
	c.heard.Store(medium)
	return nil
}

// without discards the copies of what was removed or blocked meanwhile.
func (c *Cache) without(found []*entry) ([]*entry, error) {
	if c.removals == nil {
		return found, nil
	}
	kept := found[:0]
	for _, e := range found {
		gone, err := c.removals.Gone(c.life, e.hash)
		if err != nil {
			return nil, err
		}
		if gone {
			c.discard(e.name())
		} else {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func (c *Cache) discard(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trash = append(c.trash, name)
}

// add takes a copy in. c.mu is held.
func (c *Cache) add(e *entry) {
	if until, ok := c.refused[e.hash]; ok && c.tune.now().Before(until) {
		c.trash = append(c.trash, e.name()) // dropped meanwhile
		sign(c.kick)
		return
	}
	if old, ok := c.copies.Load(e.hash); ok {
		c.forget(old.(*entry), old.(*entry).size != e.size)
	}
	c.order.add(e)
	c.taken += charge(e.size)
	c.copies.Store(e.hash, e)
}

// forget takes a copy out; with remove, its file is to go. c.mu is held.
func (c *Cache) forget(e *entry, remove bool) bool {
	if !c.order.remove(e) {
		return false
	}
	c.taken -= charge(e.size)
	c.copies.CompareAndDelete(e.hash, e)
	if remove {
		c.trash = append(c.trash, e.name())
	}
	return true
}

// reset takes all copies out and leaves their files alone. c.mu is held.
func (c *Cache) reset() {
	for _, e := range c.order {
		e.place = -1
		c.copies.CompareAndDelete(e.hash, e)
	}
	c.order, c.taken = nil, c.fetching
}

// lose takes a copy out that is not there any more, or must not be.
func (c *Cache) lose(e *entry, remove bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(e, remove) && remove {
		sign(c.kick)
	}
}

// sweep removes files; those that can't be removed now are tried again.
func (c *Cache) sweep(ctx context.Context, names []string) {
	for i, name := range names {
		h, _, ok := parseName(name)
		if ok && c.holds(h, name) {
			continue // fetched again since
		}
		if err := c.disk.Remove(ctx, name); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("removing copies; it is tried again", zap.Error(err))
			}
			c.mu.Lock()
			c.trash = append(c.trash, names[i:]...)
			c.mu.Unlock()
			return
		}
	}
}

// holds tells whether a name is that of a whole copy.
func (c *Cache) holds(h content.Hash, name string) bool {
	found, ok := c.copies.Load(h)
	return ok && found.(*entry).name() == name
}

// evict removes the least recently used copies until all that are there or
// being fetched fit, and the disk has room for want more bytes.
func (c *Cache) evict(ctx context.Context, want int64) error {
	free, err := c.disk.Room(ctx)
	if err != nil {
		return diskError{err}
	}
	c.mu.Lock()
	c.free = free
	var victims []string
	for c.taken > c.max.Load() || len(c.order) > c.tune.files || free < want {
		e := c.order.oldest()
		if e == nil {
			break
		}
		free += charge(e.size)
		c.forget(e, false)
		victims = append(victims, e.name())
	}
	over := c.taken > c.max.Load()
	c.mu.Unlock()
	c.counts.evicted.Add(int64(len(victims)))
	c.sweep(ctx, victims)
	if free < want || over && want > 0 {
		return fmt.Errorf("%w: the disk has no room for %d bytes more", ErrFull, want)
	}
	return nil
}

// give has copies give way to a clone.
func (c *Cache) give(bytes int64) bool {
	var victims []string
	c.mu.Lock()
	for given := int64(0); given < bytes; {
		e := c.order.oldest()
		if e == nil {
			break
		}
		given += charge(e.size)
		c.forget(e, false)
		victims = append(victims, e.name())
	}
	c.mu.Unlock()
	c.counts.evicted.Add(int64(len(victims)))
	c.sweep(c.life, victims)
	return len(victims) > 0
}

// settle draws the conclusions from a fetch that has come to its end.
func (c *Cache) settle(f *fetch, err error) {
	f.logged(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fetches, f.hash)
	c.taken -= charge(f.size)
	c.fetching -= charge(f.size)
	if err == nil {
		c.counts.fetched.Add(1)
		if f.medium == c.medium {
			e := newEntry(f.hash, f.size, c.tune.now())
			e.foreign.Store(f.wanted && !f.joined.Load())
			c.add(e)
		}
		return
	}
	c.counts.failed.Add(1)
	failed := diskError{}
	switch {
	case errors.Is(err, ErrCorrupt):
		c.refuse(f.hash, c.tune.refuseCorrupt)
	case errors.Is(err, ErrFull):
	case errors.As(err, &failed):
		c.turnOff(err)
	}
}

// turnOff keeps nothing for a while. c.mu is held.
func (c *Cache) turnOff(err error) {
	now, length := c.tune.now(), c.tune.offFor
	if errors.Is(err, inventory.ErrOffline) {
		length /= 10 // whether the disk is there is watched anyway
	}
	if c.off == "" {
		c.log.Warn("no copies are kept for a while: the disk can't take them", zap.Error(err))
	}
	c.off, c.offUntil = err.Error(), now.Add(length)
}

// use notes that a copy was used, now and then on the disk too.
func (c *Cache) use(e *entry) {
	now := c.tune.now().UnixNano()
	e.used.Store(now)
	touched := e.touched.Load()
	if now-touched < int64(c.tune.touchEvery) || !e.touched.CompareAndSwap(touched, now) {
		return
	}
	select {
	case c.touched <- e:
	default: // the next use tells
		e.touched.Store(touched)
	}
}

func (c *Cache) touch(e *entry) {
	if err := c.disk.Touch(c.life, e.name(), time.Unix(0, e.used.Load())); err != nil && c.life.Err() == nil {
		c.log.Debug("touching a copy", zap.Error(err))
	}
}

// sign leaves a sign where none is waiting.
func sign(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
