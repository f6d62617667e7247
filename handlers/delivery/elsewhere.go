package delivery

import (
	"context"
	"io"
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
	// operator has switched it off. It asks nobody.
	Candidate(store string, anyway bool) (heartbeat.Candidate, bool)
	// Open gives a content's bytes from offset up to, not including, end. Its
	// Read fails where no byte comes for too long, or fewer than were asked for.
	// The end of ctx ends both.
	Open(ctx context.Context, store string, h content.Hash, offset, end int64) (io.ReadCloser, error)
	// Failed says that a store did not give what it should have, and why.
	Failed(store string, err error)
	// Answered says that a store gave its first byte.
	Answered(store string)
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
	for i := range p.Clones {
		clone := &p.Clones[i]
		if _, here := c.deps.Stores.Volume(clone.Store); here {
			continue
		}
		if store, ok := c.deps.Elsewhere.Candidate(clone.Store, anyway); ok {
			store.ID, store.Local = clone.Store, false
			list = append(list, candidate{clone: clone})
			stores = append(stores, store)
		}
	}
	arrange(list, heartbeat.Order(c.deps.Self, stores))
	return list
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
