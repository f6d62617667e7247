package pull

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/ooseio/oose/content"
)

// maxWanted bounds how many contents other nodes can want at the same time.
const maxWanted = 4096

// State is how far a copy is that other nodes want.
type State uint8

// The states of a copy.
const (
	Absent State = iota // with an error that says why
	Begun               // its fetch has just begun
	Coming              // its fetch goes on
	Whole
)

// Want says that other nodes are asked for a content so often that they want a
// copy here, which they may say again until then. Where the copy
// is not whole, its fetch goes on, or begins, in the background. fetch is as Join
// has it. Errors: ErrOff, ErrGone, ErrBusy, ErrFull, in all of which
// nothing is fetched.
func (c *Cache) Want(h content.Hash, size int64, until time.Time, fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)) (State, error) {
	if h.IsZero() || size <= 0 {
		return Absent, errRange
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, again := c.wanted[h]
	switch {
	case c.disabled() != "":
		return Absent, ErrOff
	case !again && len(c.wanted) >= maxWanted:
		return Absent, ErrBusy
	}
	if found, ok := c.copies.Load(h); ok {
		e := found.(*entry)
		if e.size != size {
			return Absent, errSize
		}
		c.use(e)
		c.wanted[h] = until
		return Whole, nil
	}
	if c.isRefused(h) {
		return Absent, ErrGone
	}
	state := Coming
	if c.fetches[h] == nil {
		if _, err := c.begin(h, size, 0, true, fetch); err != nil {
			return Absent, err
		}
		state = Begun
	}
	c.wanted[h] = until
	return state, nil
}

// Lend returns a whole copy for another node, at its beginning, for the caller
// to close.
func (c *Cache) Lend(h content.Hash) (*os.File, bool) {
	f, _, ok := c.openCopy(h)
	if ok {
		c.counts.lent.Add(1)
	}
	return f, ok
}

// fetchesWanted counts the fetches for other nodes. c.mu is held.
func (c *Cache) fetchesWanted() int {
	n := 0
	for _, f := range c.fetches {
		if f.wanted {
			n++
		}
	}
	return n
}

// cool has the copies that no other node wants any more go first, unless they
// are used here. The disk is told too, so that it holds after a restart.
func (c *Cache) cool() {
	var cold []*entry
	c.mu.Lock()
	now := c.tune.now()
	for h, until := range c.wanted {
		if now.Before(until) {
			continue
		}
		delete(c.wanted, h)
		if found, ok := c.copies.Load(h); ok && found.(*entry).foreign.Load() {
			e := found.(*entry)
			c.order.first(e)
			e.touched.Store(0)
			cold = append(cold, e)
		}
	}
	c.mu.Unlock()
	for _, e := range cold {
		c.touch(e)
	}
}
