package inventory

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/ooseio/oose/content"
)

// Target is a store that could take a clone.
type Target struct {
	ID    string // the store's id
	Node  string // the process it belongs to
	Group string // its failure domain; where groups of several sites share a name, with the site before it
	Free  int64  // bytes that may still be written
}

// Choose picks up to copies stores for a new clone of size bytes (-1: not
// known) among writable candidates: never twice on one node while another has
// room, then in different groups, and among equals at random, weighted by free
// space. Without a source of randomness the choice follows from the hash
// alone. Candidates are not changed.
func Choose(h content.Hash, copies int, size int64, cands []Target, rnd *rand.Rand) []Target {
	return ChooseBeside(h, copies, size, nil, cands, rnd)
}

// ChooseBeside is Choose for a content that stores hold already: their nodes
// and groups count as chosen.
func ChooseBeside(h content.Hash, copies int, size int64, held, cands []Target, rnd *rand.Rand) []Target {
	if rnd == nil {
		rnd = rand.New(seedOf(h))
	}
	left := make([]Target, 0, len(cands))
	for _, c := range cands {
		if c.Free > 0 && c.Free >= size {
			left = append(left, c)
		}
	}
	nodes, groups := map[string]int{}, map[string]int{}
	for _, t := range held {
		nodes[t.Node]++
		groups[t.Group]++
	}
	var chosen []Target
	for len(chosen) < copies && len(left) > 0 {
		i := pick(left, nodes, groups, rnd)
		chosen = append(chosen, left[i])
		nodes[left[i].Node]++
		groups[left[i].Group]++
		left[i] = left[len(left)-1]
		left = left[:len(left)-1]
	}
	return chosen
}

// pick returns the index of one of the targets whose node, then group, was
// chosen least often.
func pick(left []Target, nodes, groups map[string]int, rnd *rand.Rand) int {
	better := func(a, b Target) bool {
		if nodes[a.Node] != nodes[b.Node] {
			return nodes[a.Node] < nodes[b.Node]
		}
		return groups[a.Group] < groups[b.Group]
	}
	best, total := 0, 0.0
	for i, t := range left {
		if better(t, left[best]) {
			best, total = i, 0
		}
		if !better(left[best], t) {
			total += float64(t.Free)
		}
	}
	at := rnd.Float64() * total
	chosen := best
	for i := best; i < len(left); i++ {
		if better(left[best], left[i]) {
			continue
		}
		chosen = i
		if at -= float64(left[i].Free); at < 0 {
			break
		}
	}
	return chosen
}

func seedOf(h content.Hash) *rand.PCG {
	var b [16]byte
	copy(b[:], h.Sum())
	return rand.NewPCG(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}
