package vote

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"slices"
)

// PanelSize is how many nodes are asked about one, where there are so many.
const PanelSize = 7

// depth is how many of the nodes that rank first for each one are kept. Where
// so many of them are away that they are too few, all are ranked again.
const depth = 32

// Roster is the nodes of a cluster at one time, with who ranks first for whom.
// It is never changed. Nodes are told by their places in the order of their ids.
type Roster struct {
	ids    []string
	hashes []uint64
	places map[string]int
	ranks  [][]int32 // by node: those that rank first for it
	seats  [][]int32 // by node: for whom it is among those
}

// NewRoster returns the roster of these ids. It costs the square of their number.
func NewRoster(ids []string) *Roster {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	r := &Roster{
		ids: ids, hashes: make([]uint64, len(ids)), places: make(map[string]int, len(ids)),
		ranks: make([][]int32, len(ids)), seats: make([][]int32, len(ids)),
	}
	for i, id := range ids {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id)) // it returns nil
		r.hashes[i], r.places[id] = mix(h.Sum64()), i
	}
	first := make([]rank, 0, depth+1)
	for target := range ids {
		first = r.first(target, first[:0])
		r.ranks[target] = make([]int32, len(first))
		for i, c := range first {
			r.ranks[target][i] = c.node
			r.seats[c.node] = append(r.seats[c.node], int32(target))
		}
	}
	return r
}

type rank struct {
	score uint64
	node  int32
}

// before tells who of two ranks higher.
func before(a, b rank) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.node, b.node)) }

// score is how another node ranks for one.
func (r *Roster) score(target, other int) uint64 {
	return mix(bits.RotateLeft64(r.hashes[target], 32) ^ r.hashes[other])
}

// first appends those that rank first for a node, in their order: most of the
// others are behind the last of these, which is all that is asked of them.
func (r *Roster) first(target int, first []rank) []rank {
	for i := range r.ids {
		c := rank{r.score(target, i), int32(i)}
		if i == target || len(first) == depth && before(first[depth-1], c) < 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(first, c, before)
		first = slices.Insert(first, at, c)
		first = first[:min(len(first), depth)]
	}
	return first
}

// rank orders all other nodes by how they rank for one.
func (r *Roster) rank(target int) []rank {
	all := make([]rank, 0, len(r.ids))
	for i := range r.ids {
		if i != target {
			all = append(all, rank{r.score(target, i), int32(i)})
		}
	}
	slices.SortFunc(all, before)
	return all
}

// mix spreads what differs in x over all bits: the last step of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Len returns how many nodes there are.
func (r *Roster) Len() int { return len(r.ids) }

// ID returns the id of the node in a place.
func (r *Roster) ID(place int) string { return r.ids[place] }

// Place returns where a node is, and false where it is not in the roster.
func (r *Roster) Place(id string) (int, bool) {
	place, ok := r.places[id]
	return place, ok
}

// Panel appends the places of the nodes that are asked about one: those of the
// available ones that rank first for it, itself not among them.
func (r *Roster) Panel(target int, available func(place int) bool, panel []int) []int {
	start := len(panel)
	for _, c := range r.ranks[target] {
		if available(int(c)) {
			if panel = append(panel, int(c)); len(panel)-start == PanelSize {
				return panel
			}
		}
	}
	if len(r.ranks[target]) == len(r.ids)-1 {
		return panel
	}
	for _, c := range r.rank(target)[depth:] {
		if available(int(c.node)) {
			if panel = append(panel, int(c.node)); len(panel)-start == PanelSize {
				break
			}
		}
	}
	return panel
}

// Watched returns the places of the nodes in whose panel a node is.
func (r *Roster) Watched(member int, available func(place int) bool) []int {
	if !available(member) {
		return nil
	}
	away := 0
	for i := range r.ids {
		if !available(i) {
			away++
		}
	}
	var watched []int
	panel := make([]int, 0, PanelSize)
	if len(r.ids)-1 > depth && away > depth-PanelSize { // lists may be too short to tell
		for target := range r.ids {
			if panel = r.Panel(target, available, panel[:0]); slices.Contains(panel, member) {
				watched = append(watched, target)
			}
		}
		return watched
	}
	for _, target := range r.seats[member] {
		if panel = r.Panel(int(target), available, panel[:0]); slices.Contains(panel, member) {
			watched = append(watched, int(target))
		}
	}
	return watched
}
