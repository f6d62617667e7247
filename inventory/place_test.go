package inventory

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/content"
)

func ids(targets []Target) []string {
	var ids []string
	for _, t := range targets {
		ids = append(ids, t.ID)
	}
	return ids
}

func TestChoose(t *testing.T) {
	a1, a2, a3 := Target{"a1", "n1", "A", 100}, Target{"a2", "n1", "A", 100}, Target{"a3", "n2", "A", 100}
	b1, b2 := Target{"b1", "n3", "B", 100}, Target{"b2", "n3", "B", 100}
	for name, test := range map[string]struct {
		copies int
		size   int64
		cands  []Target
		sets   [][]string // one of which must come
	}{
		"none":                          {2, 1, nil, [][]string{nil}},
		"no room":                       {2, 101, []Target{a1, b1}, [][]string{nil}},
		"size not known":                {1, -1, []Target{{ID: "full"}, a1}, [][]string{{"a1"}}},
		"one store for two copies":      {2, 1, []Target{a1}, [][]string{{"a1"}}},
		"two groups":                    {2, 1, []Target{a1, a2, a3, b1}, [][]string{{"a1", "b1"}, {"a2", "b1"}, {"a3", "b1"}}},
		"one group, two nodes":          {2, 1, []Target{a1, a2, a3}, [][]string{{"a1", "a3"}, {"a2", "a3"}}},
		"one node twice where it must":  {2, 1, []Target{a1, a2}, [][]string{{"a1", "a2"}}},
		"a third node before a group":   {3, 1, []Target{a1, a2, a3, b1, b2}, [][]string{{"a1", "a3", "b1"}, {"a2", "a3", "b1"}, {"a1", "a3", "b2"}, {"a2", "a3", "b2"}}},
		"the other group is full":       {2, 50, []Target{a1, a3, {"b1", "n3", "B", 10}}, [][]string{{"a1", "a3"}}},
		"more copies than there can be": {9, 1, []Target{a1, b1}, [][]string{{"a1", "b1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(50) {
				got := ids(Choose(content.Hash{}, test.copies, test.size, test.cands, rand.New(rand.NewPCG(seed, 1))))
				found := false
				for _, set := range test.sets {
					found = found || len(set) == len(got) && (len(set) == 0 || containsAll(got, set))
				}
				require.True(t, found, "%v", got)
			}
		})
	}
}

func containsAll(got, want []string) bool {
	seen := map[string]bool{}
	for _, g := range got {
		seen[g] = true
	}
	for _, w := range want {
		if !seen[w] {
			return false
		}
	}
	return true
}

func TestChooseWeighsByFreeSpace(t *testing.T) {
	cands := []Target{{"small", "n1", "A", 1 << 30}, {"large", "n2", "B", 9 << 30}}
	rnd := rand.New(rand.NewPCG(1, 2))
	large := 0
	for range 10000 {
		if Choose(content.Hash{}, 1, 1, cands, rnd)[0].ID == "large" {
			large++
		}
	}
	require.InDelta(t, 9000, large, 200)
}

func TestChooseFollowsTheHashWithoutRandomness(t *testing.T) {
	cands := []Target{{"a", "n1", "A", 1 << 30}, {"b", "n2", "A", 1 << 30}, {"c", "n3", "A", 1 << 30}}
	seen := map[string]bool{}
	for i := range 100 {
		h := hashOf(t, content.SHA1, fmt.Append(nil, i))
		first := Choose(h, 2, 1, cands, nil)
		require.Equal(t, first, Choose(h, 2, 1, cands, nil))
		seen[first[0].ID] = true
	}
	require.Len(t, seen, 3)
}

func TestChooseHoldsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cands := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Target {
			node := rapid.IntRange(0, 5).Draw(t, "node")
			return Target{ID: rapid.StringMatching(`[a-z]{8}`).Draw(t, "id"), Node: fmt.Sprint(node), Group: fmt.Sprint(node % 3), Free: rapid.Int64Range(-1, 100).Draw(t, "free")}
		}), 0, 12).Draw(t, "candidates")
		copies, size := rapid.IntRange(0, 6).Draw(t, "copies"), rapid.Int64Range(-1, 50).Draw(t, "size")
		before := append([]Target(nil), cands...)
		got := Choose(content.Hash{}, copies, size, cands, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		require.Equal(t, before, append([]Target(nil), cands...))

		room := map[string]int{}
		total := 0
		for _, c := range cands {
			if c.Free > 0 && c.Free >= size {
				room[c.Node]++
				total++
			}
		}
		require.Len(t, got, min(copies, total))
		used := map[string]int{}
		for _, g := range got {
			require.GreaterOrEqual(t, g.Free, size)
			used[g.Node]++
		}
		for node, n := range used {
			for other, places := range room {
				require.False(t, n > used[other]+1 && used[other] < places, "node %s has %d, %s has %d of %d", node, n, other, used[other], places)
			}
		}
	})
}
