package vote_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat/vote"
)

func everybody(int) bool { return true }

func roster(n int) *vote.Roster {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("node%04d", i)
	}
	return vote.NewRoster(ids)
}

func TestPanel(t *testing.T) {
	for _, c := range []struct{ nodes, panel int }{{1, 0}, {2, 1}, {3, 2}, {7, 6}, {8, 7}, {9, 7}, {33, 7}, {34, 7}, {1000, 7}} {
		t.Run(fmt.Sprint(c.nodes), func(t *testing.T) {
			r := roster(c.nodes)
			asked := make([]int, c.nodes)
			for target := range c.nodes {
				panel := r.Panel(target, everybody, nil)
				require.Len(t, panel, c.panel)
				require.NotContains(t, panel, target, "nobody is asked about itself")
				for _, m := range panel {
					asked[m]++
					require.Contains(t, r.Watched(m, everybody), target)
				}
			}
			total := 0
			for m := range c.nodes {
				require.Len(t, r.Watched(m, everybody), asked[m])
				total += asked[m]
			}
			require.Equal(t, c.nodes*c.panel, total, "the cost of a round for each node is that of its panel, however many nodes there are")
		})
	}
}

// Whoever lists the nodes, in whatever order, comes to the same panels.
func TestPanelIsTheSameForAll(t *testing.T) {
	ids := []string{"c", "a", "b", "d", "a", "e", "f", "g", "h", "i", "j"}
	r := vote.NewRoster(ids)
	require.Equal(t, 10, r.Len())
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	other := vote.NewRoster(ids)
	for target := range r.Len() {
		require.Equal(t, r.ID(target), other.ID(target))
		require.Equal(t, r.Panel(target, everybody, nil), other.Panel(target, everybody, nil))
	}
	_, known := r.Place("nobody")
	require.False(t, known)
}

// Who goes away is replaced by one, and the others stay; even where nearly all
// are away a panel is found.
func TestPanelOfTheAvailable(t *testing.T) {
	const nodes = 200
	r := roster(nodes)
	full := r.Panel(5, everybody, nil)
	gone := full[2]
	without := r.Panel(5, func(p int) bool { return p != gone }, nil)
	require.Len(t, without, vote.PanelSize)
	require.Equal(t, slices.Delete(slices.Clone(full), 2, 3), without[:vote.PanelSize-1])

	for left := range 12 {
		alive := make(map[int]bool)
		for len(alive) < left {
			alive[rand.IntN(nodes)] = true
		}
		available := func(p int) bool { return alive[p] }
		members := make(map[int][]int)
		for target := range nodes {
			want := left
			if alive[target] {
				want--
			}
			panel := r.Panel(target, available, nil)
			require.Len(t, panel, min(want, vote.PanelSize))
			for _, m := range panel {
				require.True(t, alive[m])
				members[m] = append(members[m], target)
			}
		}
		for p := range nodes {
			require.Equal(t, members[p], r.Watched(p, available), "of %d left", left)
		}
	}
}

func BenchmarkNewRoster(b *testing.B) {
	for _, nodes := range []int{6, 100, 1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for b.Loop() {
				roster(nodes)
			}
		})
	}
}

func BenchmarkWatched(b *testing.B) {
	r := roster(1000)
	for name, available := range map[string]func(int) bool{"all": everybody, "half": func(p int) bool { return p%2 == 0 }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Watched(500, available)
			}
		})
	}
}
