package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
)

// Cache is the copies of one store. All methods can be called at the same time.
type Cache struct {
	disk     disk
	removals Removals // nil: nothing is known of removals
	log      *zap.Logger
	tune     *tuning

	max    atomic.Int64
	copies sync.Map // content.Hash to *entry: the whole copies
	counts counts
	heard  atomic.Uint64 // the medium that was listed, 0 until one was

	touched chan *entry   // to be touched on the disk
	kick    chan struct{} // has the worker look at once
	life    context.Context
	end     context.CancelFunc
	done    sync.WaitGroup // the worker and the fetches
	stop    func()         // ends the watch for removals

	mu    sync.Mutex
	state // under mu
}

// state is what a cache's mutex guards. The disk is never used under it.
type state struct {
	closed   bool
	medium   uint64                  // that order is of
	order    order                   // the whole copies by their last use
	taken    int64                   // bytes of copies and fetches
	fetching int64                   // bytes of fetches alone
	free     int64                   // what the disk could still take, when that was last asked
	fetches  map[content.Hash]*fetch // that go on
	inUse    map[*fetch]struct{}     // whose file is not closed yet
	asked    *doorkeeper
	refused  map[content.Hash]time.Time // no copies of these until then
	wanted   map[content.Hash]time.Time // by other nodes, until then
	off      string                     // why nothing is kept
	offUntil time.Time
	trash    []string // names to be removed
}

// counts is what Stats adds up.
type counts struct {
	hits, joined, misses, lent, fetched, failed, evicted atomic.Int64
}

func open(d disk, max int64, removals Removals, log *zap.Logger, tune *tuning) *Cache {
	c := &Cache{
		disk: d, removals: removals, log: log, tune: tune,
		touched: make(chan *entry, 256), kick: make(chan struct{}, 1), stop: func() {},
		state: state{
			fetches: map[content.Hash]*fetch{}, inUse: map[*fetch]struct{}{},
			asked: newDoorkeeper(), refused: map[content.Hash]time.Time{}, wanted: map[content.Hash]time.Time{},
		},
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.max.Store(max)
	if removals != nil {
		c.stop = removals.OnGone(c.Drop)
	}
	d.OnShort(c.give)
	c.done.Go(c.work)
	return c
}

// File returns a whole copy, at its beginning, for the caller to close. It takes
// no lock that others hold.
func (c *Cache) File(h content.Hash) (*os.File, bool) {
	f, e, ok := c.openCopy(h)
	if !ok {
		c.counts.misses.Add(1)
		return nil, false
	}
	c.counts.hits.Add(1)
	e.keepHere()
	return f, true
}

// openCopy opens a whole copy that is still as it was.
func (c *Cache) openCopy(h content.Hash) (*os.File, *entry, bool) {
	found, ok := c.copies.Load(h)
	if !ok || c.disk.Medium() != c.heard.Load() {
		return nil, nil, false
	}
	e := found.(*entry)
	f, size, err := c.disk.Open(c.life, e.name())
	switch {
	case errors.Is(err, os.ErrNotExist):
		c.lose(e, false)
		return nil, nil, false
	case err != nil:
		return nil, nil, false
	case size != e.size:
		c.log.Warn("a copy has changed on disk, it is thrown away", zap.Stringer("hash", h))
		c.lose(e, true)
		_ = f.Close() // nothing was read
		return nil, nil, false
	}
	c.use(e)
	return f, e, true
}

// Join returns a reader of a content's bytes from offset up to end, where a
// copy is whole, or is being fetched and not far from offset; it begins a fetch
// where that is worth it. Its errors are those above and ctx's.
//
// The reader ends with ctx. It may end early with one of the errors above, or
// the fetch's; what it gave before is good unless the error is ErrCorrupt. It
// must be closed. One of a whole copy has a method File, whose file is the
// whole content.
//
// fetch opens the content at a store, from an offset to its end. It is called
// again, with the offset reached, when a body breaks off, and should go on with
// the next store then. Its context and its calls outlive ctx: it must hold on to
// nothing of a request. Its body must not stay silent for ever.
func (c *Cache) Join(ctx context.Context, h content.Hash, size, offset, end int64, fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	if h.IsZero() || offset < 0 || end <= offset || size < end {
		return nil, fmt.Errorf("reading bytes %d to %d of %d: %w", offset, end, size, errRange)
	}
	f, err := c.join(h, size, offset, fetch)
	if err == nil && f == nil {
		if file, e, ok := c.openCopy(h); ok {
			c.counts.hits.Add(1)
			e.keepHere()
			return newWhole(file, offset, end), nil
		}
		f, err = c.join(h, size, offset, fetch) // it has just given way
	}
	if err == nil && f == nil {
		err = ErrBusy
	}
	if err != nil {
		return nil, err
	}
	r := &reader{fetch: f, ctx: ctx, offset: offset, end: end}
	if err := f.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	c.counts.joined.Add(1)
	return r, nil
}

var errRange = errors.New("no such range")

// Drop takes the copy of a content away and ends its fetch: it is removed or
// blocked, or its file can't be read. It is quick and never waits for the disk;
// for a few seconds no new copy is made, as long as somebody may still act on
// what was known before.
func (c *Cache) Drop(h content.Hash) {
	c.mu.Lock()
	c.refuse(h, c.tune.refuseGone)
	f := c.fetches[h]
	c.mu.Unlock()
	if f != nil {
		f.cancel(ErrGone)
	}
	if found, ok := c.copies.Load(h); ok {
		c.lose(found.(*entry), true)
	}
}

// Clear takes all whole copies away and returns how many there were.
func (c *Cache) Clear() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.order)
	for _, e := range c.order {
		c.trash = append(c.trash, e.name())
	}
	c.reset()
	sign(c.kick)
	return n
}

// SetMax changes the room for copies, in bytes.
func (c *Cache) SetMax(max int64) {
	c.max.Store(max)
	sign(c.kick)
}

// Stats returns what there is now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Max: c.max.Load(), Bytes: c.taken, Files: int64(len(c.order)), Fetches: int64(len(c.fetches)),
		Hits: c.counts.hits.Load(), Joined: c.counts.joined.Load(), Misses: c.counts.misses.Load(), Lent: c.counts.lent.Load(),
		Fetched: c.counts.fetched.Load(), Failed: c.counts.failed.Load(), Evicted: c.counts.evicted.Load(),
		Disabled: c.disabled(),
	}
}

// Close ends all fetches and their readers, and waits for them, at most until
// ctx ends. Whole copies that are open stay so, for whoever opened them.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.disk.OnShort(nil)
	c.end()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.done.Wait()
		c.closeFiles()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the cache of copies: %w", ctx.Err())
	}
}

// closeFiles closes what readers that have not noticed yet still hold open.
func (c *Cache) closeFiles() {
	c.mu.Lock()
	var left []*fetch
	for f := range c.inUse {
		left = append(left, f)
	}
	c.mu.Unlock()
	for _, f := range left {
		f.close()
	}
}
