package repair

import (
	"cmp"
	"slices"

	"github.com/ooseio/oose/inventory"
)

// Plan is what a content needs.
type Plan struct {
	Good    int      // clones that count and can be used now
	Down    int      // clones that count and can't be used now
	Missing int      // clones to be made
	Workers []string // who has a clone to copy from: the first one makes what is missing, the next one where that does nothing
	Targets []string // where to make them, in this order; more than are missing, for one may refuse
	Drops   []string // clones that are not needed: each one's own store may drop it
	Keep    []string // the others, which a store that drops asks to stay
}

// Of returns what a content needs in a cluster. Holders that the cluster does
// not know don't count.
func Of(c *Cluster, k Content) Plan {
	var p Plan
	var good, rest []Store // rest can be read, but does not count
	wanted := max(k.Wanted, 1)
	for _, id := range k.Holders {
		s, ok := c.Store(id)
		switch {
		case !ok:
		case s.Standing == Good:
			good = append(good, s)
		case s.Standing == Down:
			p.Down++
		case s.Standing.readable():
			rest = append(rest, s)
		}
	}
	p.Good = len(good)
	p.Workers = workers(k, good, rest)
	if p.Missing = max(wanted-p.Good-p.Down, 0); p.Missing > 0 {
		p.Targets = targets(c, k, good)
	}
	keep, surplus := spread(k, good, wanted)
	for _, s := range keep {
		p.Keep = append(p.Keep, s.ID)
	}
	if p.Good < wanted || slices.ContainsFunc(good, func(s Store) bool { return s.Back }) {
		return p
	}
	for _, s := range append(rest, surplus...) {
		if s.Standing != Suspect { // its disk is to be left alone
			p.Drops = append(p.Drops, s.ID)
		}
	}
	return p
}

// Turn is at which place a store stands among those that could make what is
// missing, from 0; -1 where it could not.
func (p *Plan) Turn(store string) int { return slices.Index(p.Workers, store) }

// workers puts those who could copy in their order: each hash has another one,
// so that the work is shared. A suspect disk is read last.
func workers(k Content, good, rest []Store) []string {
	all := slices.Concat(good, rest)
	slices.SortFunc(all, func(a, b Store) int {
		return cmp.Or(
			compareBool(a.Standing == Suspect, b.Standing == Suspect),
			cmp.Compare(rank(k.Hash, b.ID), rank(k.Hash, a.ID)),
			cmp.Compare(a.ID, b.ID))
	})
	ids := make([]string, 0, len(all))
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// targets puts the stores that could take a clone in order, by the rules of
// placement.
func targets(c *Cluster, k Content, good []Store) []string {
	var held, cands []inventory.Target
	for _, s := range good {
		held = append(held, s.Target)
	}
	for _, s := range c.stores {
		if s.Standing == Good && s.Room && !slices.Contains(k.Holders, s.ID) {
			cands = append(cands, s.Target)
		}
	}
	var ids []string
	for _, t := range inventory.ChooseBeside(k.Hash, len(cands), k.Size, held, cands, nil) {
		ids = append(ids, t.ID)
	}
	return ids
}

// spread parts clones that count into those to be kept, on different nodes and
// in different groups as far as there are, and those that are too many. Who has
// promised to stay stays.
func spread(k Content, good []Store, wanted int) (keep, surplus []Store) {
	left := slices.Clone(good)
	nodes, groups := map[string]int{}, map[string]int{}
	for len(left) > 0 {
		best := slices.MinFunc(left, func(a, b Store) int {
			return cmp.Or(
				compareBool(!slices.Contains(k.Bound, a.ID), !slices.Contains(k.Bound, b.ID)),
				cmp.Compare(nodes[a.Node], nodes[b.Node]),
				cmp.Compare(groups[a.Group], groups[b.Group]),
				cmp.Compare(rank(k.Hash, b.ID), rank(k.Hash, a.ID)),
				cmp.Compare(a.ID, b.ID))
		})
		nodes[best.Node]++
		groups[best.Group]++
		left = slices.DeleteFunc(left, func(s Store) bool { return s.ID == best.ID })
		if len(keep) < wanted {
			keep = append(keep, best)
		} else {
			surplus = append(surplus, best)
		}
	}
	return keep, surplus
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
