// Package repair decides which clones of a content are to be made and which are
// too many, from what one node knows. It only decides: nothing here reads a
// clock, a disk or a record, so that every decision can be shown in a table.
//
// Absences tells from what a node sees of the stores how each one stands: one
// that is away is down for a while, and expected back, before it is lost. Plan
// tells from that what a content needs, and whose turn it is.
package repair

import (
	"cmp"
	"slices"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Standing tells what a store's clones are worth.
type Standing uint8

// The standings of a store.
const (
	Good     Standing = iota // they count
	Suspect                  // they can be read, but the disk has failed once: they don't count
	Draining                 // they can be read, but the operator empties the store: they don't count
	Down                     // they can't be read now; they count, because the store is expected back
	Lost                     // it has been away for too long: they don't count
)

// String returns the word for a standing, as logs and status have it.
func (s Standing) String() string {
	return [...]string{"good", "suspect", "draining", "down", "lost"}[s]
}

// readable tells whether clones can be copied from a store of this standing.
func (s Standing) readable() bool { return s <= Draining }

// Store is one store of the cluster, as this node sees it.
type Store struct {
	inventory.Target
	Standing Standing
	Room     bool // it takes new clones
	Back     bool // it was away a while ago: nothing is dropped yet because of what it holds
}

// Cluster is all stores that a node knows. It is not changed any more.
type Cluster struct {
	stores []Store // in the order of their ids, so that every node chooses alike
	byID   map[string]int
}

// NewCluster returns the cluster of these stores.
func NewCluster(stores []Store) *Cluster {
	c := &Cluster{stores: slices.Clone(stores), byID: make(map[string]int, len(stores))}
	slices.SortFunc(c.stores, func(a, b Store) int { return cmp.Compare(a.ID, b.ID) })
	for i, s := range c.stores {
		c.byID[s.ID] = i
	}
	return c
}

// Store returns the store with an id.
func (c *Cluster) Store(id string) (Store, bool) {
	i, ok := c.byID[id]
	if !ok {
		return Store{}, false
	}
	return c.stores[i], true
}

// Stores returns all stores in the order of their ids. The slice is shared and
// must not be changed.
func (c *Cluster) Stores() []Store { return c.stores }

// Content is what is known of one content.
type Content struct {
	Hash    content.Hash
	Size    int64    // bytes
	Wanted  int      // clones that there are to be, at least 1
	Holders []string // the ids of the stores that hold it
	Bound   []string // those of them that have promised to keep it: they can't drop it now
}
