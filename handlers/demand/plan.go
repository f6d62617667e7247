package demand

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"

	"github.com/ooseio/oose/content"
)

// Place is a store, and where it is.
type Place struct {
	ID      string
	Node    string // the id of the node that carries it
	Address string // at which other nodes reach that node
	Site    string
	Group   string
}

// wanted tells how many copies there are to be of a content that is asked for
// at this rate, in requests a second, and has so many holders in reach: as many
// as bring what each of all has to serve below the bound. Where there are copies
// now, they are given up only when half the bound would do. most bounds them.
func wanted(rate, above float64, holders, now, most int) int {
	least, enough := needed(rate, above, holders), needed(2*rate, above, holders)
	return min(max(least, min(now, enough)), most)
}

// needed is how many copies bring the rate at each holder below the bound.
func needed(rate, above float64, holders int) int {
	if rate < above {
		return 0
	}
	return max(int(min(math.Floor(rate/above), 1e6))+1-max(holders, 1), 0)
}

// near returns the places of this site, or where there are none, or it has no
// name, all of them: what is asked for often is to come from near.
func near(self Place, places []Place) []Place {
	var list []Place
	for _, p := range places {
		if self.Site != "" && p.Site == self.Site {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return places
	}
	return list
}

// inReach counts the holders that this node is to read from: those of its site,
// where there are any stores, else all.
func inReach(self Place, holders, places []Place) int {
	here := func(p Place) bool { return self.Site != "" && p.Site == self.Site }
	if !slices.ContainsFunc(holders, here) && !slices.ContainsFunc(places, here) {
		return len(holders)
	}
	return len(slices.DeleteFunc(slices.Clone(holders), func(p Place) bool { return !here(p) }))
}

// choose returns the stores to take copies, the first to be asked first: none on
// this node or one that holds the content, no two on one node, near ones, spread
// over groups, and then by rendezvous, so that all prisms of a site choose the
// same, and one that wants fewer chooses the first of those.
func choose(h content.Hash, self Place, places, holders []Place, most int) []Place {
	taken := map[string]bool{self.Node: true}
	groups := make(map[[2]string]int)
	for _, p := range holders {
		taken[p.Node] = true
		groups[[2]string{p.Site, p.Group}]++
	}
	left := slices.DeleteFunc(slices.Clone(places), func(p Place) bool { return taken[p.Node] })
	left = slices.Clone(near(self, left))
	slices.SortFunc(left, func(a, b Place) int { return cmp.Or(cmp.Compare(score(h, a), score(h, b)), cmp.Compare(a.ID, b.ID)) })
	var chosen []Place
	for len(left) > 0 && len(chosen) < most {
		best := 0
		for i, p := range left {
			if groups[[2]string{p.Site, p.Group}] < groups[[2]string{left[best].Site, left[best].Group}] {
				best = i
			}
		}
		p := left[best]
		chosen = append(chosen, p)
		groups[[2]string{p.Site, p.Group}]++
		left = slices.DeleteFunc(left, func(other Place) bool { return other.Node == p.Node })
	}
	return chosen
}

// score ranks stores for a content, in the same way on every node.
func score(h content.Hash, p Place) uint64 {
	var digits [128]byte
	d := fnv.New64a()
	d.Write(h.AppendTo(digits[:0]))
	d.Write([]byte(p.ID))
	// What is written last hardly reaches all bits of this sum: mix them.
	sum := d.Sum64()
	sum = (sum ^ sum>>30) * 0xbf58476d1ce4e5b9
	sum = (sum ^ sum>>27) * 0x94d049bb133111eb
	return sum ^ sum>>31
}
