package demand

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/content"
)

const (
	sketchRows  = 2
	sketchWidth = 4096 // cells of a row, a power of two
	tallyShards = 8    // a power of two
	maxWatched  = 256  // contents that are counted one by one
	maxFound    = 32   // contents that a period may add to them

	// halfLife is after how long a request weighs half as much in a rate.
	halfLife = 5 * time.Second
)

// Counter counts requests by content. Add is called for every request, and
// takes no lock, allocates nothing and asks nobody; its memory is bounded.
//
// All contents share a sketch, whose counts are never too low but may be too
// high. What may be asked for often, by the sketch, is counted one by one from
// then on, each in a few cells of which a request takes any.
type Counter struct {
	seed    maphash.Seed
	sketch  [sketchRows][sketchWidth]atomic.Uint32
	mark    atomic.Uint32 // what the sketch must say of a content for it to be watched, 0: nothing is counted
	watched atomic.Pointer[map[content.Hash]*tally]

	full  atomic.Bool // found takes no more
	mu    sync.Mutex  // of found; who would have to wait for it does not
	found []content.Hash
}

// tally counts the requests for one content.
type tally struct {
	shards [tallyShards]struct {
		n atomic.Uint32
		_ [60]byte // a cache line each
	}
	rate float64 // requests a second; Turn's own
}

// Rate is how often a content is asked for.
type Rate struct {
	Hash      content.Hash
	PerSecond float64
}

// NewCounter returns a counter that counts nothing until its first Turn.
func NewCounter() *Counter {
	c := &Counter{seed: maphash.MakeSeed(), found: make([]content.Hash, 0, maxFound)}
	c.watched.Store(&map[content.Hash]*tally{})
	return c
}

// Add counts a request.
func (c *Counter) Add(h content.Hash) {
	mark := c.mark.Load()
	if mark == 0 {
		return
	}
	if t, ok := (*c.watched.Load())[h]; ok {
		t.shards[rand.Uint32()%tallyShards].n.Add(1)
		return
	}
	sum := maphash.Comparable(c.seed, h)
	least := uint32(math.MaxUint32)
	for row := range c.sketch {
		least = min(least, c.sketch[row][sum%sketchWidth].Add(1))
		sum >>= 32
	}
	if least >= mark && !c.full.Load() {
		c.find(h)
	}
}

// find has a content watched from the next period on.
func (c *Counter) find(h content.Hash) {
	if !c.mu.TryLock() {
		return // its next request does it
	}
	defer c.mu.Unlock()
	for i := range c.found {
		if c.found[i] == h {
			return
		}
	}
	if len(c.found) == cap(c.found) {
		c.full.Store(true)
		return
	}
	c.found = append(c.found, h)
}

// Turn ends a period of this length, which one goroutine does about every
// second. It returns the rates of the contents that are asked for most; those
// below least requests a second are watched no more. mark is the rate at which a
// content gets to be watched, in requests a second; 0: nothing is counted.
func (c *Counter) Turn(period time.Duration, mark, least float64) []Rate {
	found := c.takeFound()
	c.mark.Store(uint32(min(max(math.Ceil(mark), 0), math.MaxUint32)))
	c.halve()
	next := make(map[content.Hash]*tally)
	rates := make([]Rate, 0, maxFound)
	keep := math.Exp2(-period.Seconds() / halfLife.Seconds())
	for h, t := range *c.watched.Load() {
		t.rate = t.rate*keep + float64(t.take())/max(period.Seconds(), 1e-3)*(1-keep)
		if mark > 0 && t.rate >= least {
			next[h] = t
			rates = append(rates, Rate{h, t.rate})
		}
	}
	for _, h := range found {
		if _, ok := next[h]; !ok && mark > 0 && len(next) < maxWatched {
			t := new(tally)
			t.rate = mark / 4 // it has come to the mark for the first time
			next[h] = t
			rates = append(rates, Rate{h, t.rate})
		}
	}
	c.watched.Store(&next)
	return rates
}

// takeFound returns what was found since the last period began.
func (c *Counter) takeFound() []content.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := append([]content.Hash(nil), c.found...)
	c.found = c.found[:0]
	c.full.Store(false)
	return found
}

// halve has what was counted in the sketch weigh half as much. A request that
// comes at the same moment may be lost, which an estimate bears.
func (c *Counter) halve() {
	for row := range c.sketch {
		for i := range c.sketch[row] {
			if n := c.sketch[row][i].Load(); n > 0 {
				c.sketch[row][i].Store(n / 2)
			}
		}
	}
}

// take returns the count and begins anew.
func (t *tally) take() (n uint32) {
	for i := range t.shards {
		n += t.shards[i].n.Swap(0)
	}
	return n
}
