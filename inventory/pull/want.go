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

// Want says that other nodes are asked for a content so often that they want a
// copy here, which they may say again until then. It tells whether the copy is
// whole; where it is not, its fetch goes on, or begins, in the background. fetch
// is as Join has it. Errors: ErrOff, ErrGone, ErrBusy, ErrFull, in all of which
// nothing is fetched.
func (c *Cache) Want(h content.Hash, size int64, until time.Time, fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)) (whole bool, err error) {
	if h.IsZero() || size <= 0 {
		return false, errRange
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, again := c.wanted[h]
	switch {
	case c.disabled() != "":
		return false, ErrOff
	case !again && len(c.wanted) >= maxWanted:
		return false, ErrBusy
	}
	if found, ok := c.copies.Load(h); ok {
		e := found.(*entry)
		if e.size != size {
			return false, errSize
		}
		c.use(e)
		c.wanted[h] = until
		return true, nil
	}
	if c.isRefused(h) {
		return false, ErrGone
	}
	if c.fetches[h] == nil {
		if _, err := c.begin(h, size, 0, true, fetch); err != nil {
			return false, err
		}
	}
	c.wanted[h] = until
	return false, nil
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
