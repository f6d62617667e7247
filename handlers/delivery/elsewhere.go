package delivery

import (
	"context"
	"io"
	"math/rand/v2"
	"os"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
)

// Elsewhere gives clones of stores that are not in this process.
// *clones.Source is one.
type Elsewhere interface {
	// Candidate tells where a store is and how busy, and false where it is not
	// available; with anyway, only where nobody knows how to reach it, or the
	// operator has switched it off. One that has only failed a request lately is
	// Failing, and to be asked last. It asks nobody.
	Candidate(store string, anyway bool) (heartbeat.Candidate, bool)
	// Open gives a content's bytes from offset up to, not including, end. Its
	// Read fails where no byte comes for too long, or fewer than were asked for.
	// The end of ctx ends both.
	Open(ctx context.Context, store string, h content.Hash, offset, end int64) (io.ReadCloser, error)
	// Failed says that a store did not give what it should have, and why.
	Failed(store string, err error)
	// Answered says that a store gave its first byte.
	Answered(store string)
	// Overtaken says that a store gave no byte of a content while another one,
	// asked later, did. It does not wait.
	Overtaken(store string, h content.Hash)
}

// Demand counts what is read from elsewhere, and knows which stores have taken
// it in because of that. Count and Copies are for the way of every such request:
// they take no lock and ask nobody. *demand.Agent is one.
type Demand interface {
	// Count counts a request that is served from elsewhere; copied tells that it
	// is from one of the Copies.
	Count(h content.Hash, copied bool)
	// Copies returns the copies of a content at stores elsewhere, which are no
	// clones and may be gone. Nobody changes what it returns.
	Copies(h content.Hash) []inventory.Clone
	// Lost says that a store has no copy any more.
	Lost(h content.Hash, store string)
}

// Cache keeps copies of contents that no store of this process holds; they are
// no clones. *pull.Cache is one.
type Cache interface {
	// File returns the open file of a whole, verified copy.
	File(h content.Hash) (*os.File, bool)
	// Join gives a content's bytes from offset up to end while they are fetched:
	// one fetch for all who ask, which goes on when they leave. fetch gives the
	// content from an offset to its end. An error, also one of reading, says that
	// the content is to be read where it is; pull.ErrCorrupt, that what was read
	// is not the content.
	Join(ctx context.Context, h content.Hash, size, offset, end int64, fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)) (io.ReadCloser, error)
}

var _ Cache = (*pull.Cache)(nil)

// away returns the clones on available stores that are not in this process, the
// best to ask first; with anyway, on all that can be tried.
func (c *core) away(p *inventory.Placement, anyway bool) []candidate {
	if c.deps.Elsewhere == nil || p == nil {
		return nil
	}
	var list []candidate
	var stores []heartbeat.Candidate
	add := func(clone *inventory.Clone) {
		if _, here := c.deps.Stores.Volume(clone.Store); here {
			return
		}
		if store, ok := c.deps.Elsewhere.Candidate(clone.Store, anyway); ok {
			store.ID, store.Local = clone.Store, false
			list = append(list, candidate{clone: clone, failing: store.Failing})
			stores = append(stores, store)
		}
	}
	for i := range p.Clones {
		add(&p.Clones[i])
	}
	if copies := c.copies(p); len(copies) > 0 {
		for i := range copies {
			if copies[i].Size == p.Clones[0].Size && !holds(p, copies[i].Store) {
				add(&copies[i])
			}
		}
		c.level(stores)
	}
	arrange(list, heartbeat.Order(c.deps.Self, stores))
	return list
}

// copies returns the copies elsewhere that are no clones.
func (c *core) copies(p *inventory.Placement) []inventory.Clone {
	if c.deps.Demand == nil || len(p.Clones) == 0 {
		return nil
	}
	return c.deps.Demand.Copies(p.Clones[0].Hash)
}

// holds tells whether a store's clone is in a placement.
func holds(p *inventory.Placement, store string) bool {
	for i := range p.Clones {
		if p.Clones[i].Store == store {
			return true
		}
	}
	return false
}

// level has all stores of this site share what is asked for often, in whatever
// group they are; those that have as much to do come in any order.
func (c *core) level(stores []heartbeat.Candidate) {
	for i := range stores {
		if self := c.deps.Self; self.Site != "" && stores[i].Site == self.Site {
			stores[i].Group = self.Group
		}
	}
	rand.Shuffle(len(stores), func(i, j int) { stores[i], stores[j] = stores[j], stores[i] })
}

// arrange puts candidates in the order of their stores.
func arrange(list []candidate, stores []heartbeat.Candidate) {
	for to, store := range stores {
		for from := to; from < len(list); from++ {
			if list[from].clone.Store == store.ID {
				list[to], list[from] = list[from], list[to]
			}
		}
	}
}
