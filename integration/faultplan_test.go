package integration

import (
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is one thing that goes wrong with one node, or that its operator does.
type fault struct {
	Kind string
	Node string        // who is struck
	Pick uint64        // which of its clones, where it is about one
	Hold time.Duration // from then until it is made good
}

// storeFaults and prismFaults are what may happen to a node.
var (
	storeFaults = []string{
		"killed", "frozen", "cut off", "unmounted", "read-only", "full", "flipped", "rotten", "deleted", "restarted", "reloaded", "drained",
	}
	prismFaults = []string{"killed", "frozen", "cut off", "restarted", "reloaded"}
)

// faultPlan is the faults of a seed, without an end. The same seed gives the
// same ones. They follow one another: each is over before the next one begins,
// so that never both clones of a content are taken away.
func faultPlan(seed uint64) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		var left []fault
		for {
			if len(left) == 0 { // each once, and so on: none is left to luck
				left = eachFault(r)
			}
			f := left[0]
			left = left[1:]
			f.Pick, f.Hold = r.Uint64(), time.Duration(r.IntN(9000))*time.Millisecond
			if !yield(f) {
				return
			}
		}
	}
}

// eachFault is every fault once, in any order, at any node.
func eachFault(r *rand.Rand) (list []fault) {
	for _, kind := range storeFaults {
		list = append(list, fault{Kind: kind, Node: []string{"store1", "store2", "store3", "store4"}[r.IntN(4)]})
	}
	for _, kind := range prismFaults {
		list = append(list, fault{Kind: kind, Node: []string{"prism1", "prism2"}[r.IntN(2)]})
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// deed is one thing that a client does.
type deed struct {
	Kind string
	Node string // the prism that it is done at, where that one is well
	Pick uint64 // which content or purchase it is about
	Size int    // of what is uploaded, in bytes
}

// deedPlan is what one of several clients does, without an end, by a seed.
func deedPlan(seed, client uint64) iter.Seq[deed] {
	kinds := slices.Concat(
		slices.Repeat([]string{"upload"}, 10), slices.Repeat([]string{"buy"}, 10), slices.Repeat([]string{"revoke"}, 8),
		slices.Repeat([]string{"remove"}, 4), slices.Repeat([]string{"remove beside upload"}, 3), []string{"upload again", "block"},
	)
	return func(yield func(deed) bool) {
		r := rand.New(rand.NewPCG(seed, 1000+client))
		for {
			d := deed{Kind: kinds[r.IntN(len(kinds))], Node: []string{"prism1", "prism2"}[r.IntN(2)], Pick: r.Uint64(), Size: 1 + r.IntN(150_000)}
			if r.IntN(20) == 0 {
				d.Size *= 16
			}
			if !yield(d) {
				return
			}
		}
	}
}

// first returns the first n values of a sequence.
func first[T any](n int, seq iter.Seq[T]) (list []T) {
	for v := range seq {
		if list = append(list, v); len(list) == n {
			break
		}
	}
	return list
}

// A seed can be replayed, and leaves nothing out.
func TestFaultPlan(t *testing.T) {
	const n = 200
	require.Equal(t, first(n, faultPlan(7)), first(n, faultPlan(7)))
	require.NotEqual(t, first(n, faultPlan(7)), first(n, faultPlan(8)))
	require.Equal(t, first(n, deedPlan(7, 1)), first(n, deedPlan(7, 1)))
	require.NotEqual(t, first(n, deedPlan(7, 1)), first(n, deedPlan(7, 2)), "clients do not do the same")
	require.NotEqual(t, first(n, deedPlan(7, 1)), first(n, deedPlan(8, 1)))
	happened := map[string]int{}
	for _, f := range first(len(storeFaults)+len(prismFaults), faultPlan(9)) {
		happened[f.Kind]++
	}
	require.Len(t, happened, len(storeFaults), "every kind comes in the first round")
	require.Equal(t, 2, happened["killed"], "at a store and at a prism")
}
