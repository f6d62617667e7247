package repair

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

func hashNo(t testing.TB, i int) content.Hash {
	t.Helper()
	h, err := content.ParseHash(fmt.Sprintf("%040x", i))
	require.NoError(t, err)
	return h
}

var standings = map[string]Standing{"good": Good, "suspect": Suspect, "draining": Draining, "down": Down, "lost": Lost}

// clusterOf reads stores like "a node1 rack1 good" or "b node2 rack2 good full".
func clusterOf(t testing.TB, lines ...string) *Cluster {
	t.Helper()
	var stores []Store
	for _, line := range lines {
		f := strings.Fields(line)
		standing, ok := standings[f[3]]
		require.True(t, ok, line)
		stores = append(stores, Store{
			Target:   inventory.Target{ID: f[0], Node: f[1], Group: f[2], Free: 1000},
			Standing: standing, Room: standing == Good && len(f) == 4,
		})
	}
	return NewCluster(stores)
}

func TestOf(t *testing.T) {
	four := []string{"a n1 g1 good", "b n2 g1 good", "c n3 g2 good", "d n4 g2 good"}
	with := func(changed ...string) []string {
		lines := append([]string(nil), four...)
		for _, line := range changed {
			lines[line[0]-'a'] = line
		}
		return lines
	}
	for _, test := range []struct {
		name    string
		stores  []string
		holders string
		wanted  int
		good    int
		down    int
		missing int
		targets int // candidates
		first   string
		drops   string // "?": any one
	}{
		{name: "as it should be", stores: four, holders: "a b", wanted: 2, good: 2},
		{name: "one is missing and goes to the other group", stores: four, holders: "a", wanted: 2, good: 1, missing: 1, targets: 3, first: "c d"},
		{name: "down is not lost", stores: with("b n2 g1 down"), holders: "a b", wanted: 2, good: 1, down: 1},
		{name: "lost does not count", stores: with("b n2 g1 lost"), holders: "a b", wanted: 2, good: 1, missing: 1, targets: 2, first: "c d"},
		{name: "a store that drains does not count, and keeps its clone meanwhile", stores: with("b n2 g1 draining"), holders: "a b", wanted: 2, good: 1, missing: 1, targets: 2, first: "c d"},
		{name: "a store that drains drops when there are enough others", stores: with("b n2 g1 draining"), holders: "a b c", wanted: 2, good: 2, drops: "b"},
		{name: "a suspect store does not count", stores: with("b n2 g1 suspect"), holders: "a b", wanted: 2, good: 1, missing: 1, targets: 2, first: "c d"},
		{name: "a suspect store drops nothing", stores: with("b n2 g1 suspect"), holders: "a b c", wanted: 2, good: 2},
		{name: "one too many", stores: four, holders: "a c d", wanted: 2, good: 3, drops: "?"},
		{name: "what is too many goes where two share a group", stores: four, holders: "a b c", wanted: 2, good: 3, drops: "a|b"},
		{name: "what is down is no surplus", stores: with("c n3 g2 down"), holders: "a b c", wanted: 2, good: 2, down: 1},
		{name: "nobody has it any more", stores: with("a n1 g1 lost"), holders: "a", wanted: 2, missing: 2, targets: 3, first: "?"},
		{name: "nowhere to put it", stores: []string{"a n1 g1 good", "b n2 g2 good full"}, holders: "a", wanted: 2, good: 1, missing: 1},
		{name: "the same node is better than nothing", stores: []string{"a n1 g1 good", "b n1 g1 good"}, holders: "a", wanted: 2, good: 1, missing: 1, targets: 1, first: "b"},
		{name: "another node comes before another store", stores: []string{"a n1 g1 good", "b n1 g1 good", "c n2 g1 good"}, holders: "a", wanted: 2, good: 1, missing: 1, targets: 2, first: "c"},
		{name: "more are wanted", stores: four, holders: "a c", wanted: 4, good: 2, missing: 2, targets: 2, first: "b d"},
		{name: "fewer are wanted", stores: four, holders: "a c", wanted: 1, good: 2, drops: "?"},
		{name: "nothing wanted is one wanted", stores: four, holders: "a", wanted: 0, good: 1},
		{name: "a store that nobody knows", stores: four, holders: "a x", wanted: 2, good: 1, missing: 1, targets: 3, first: "c d"},
		{name: "the last clone is on a store that drains", stores: with("a n1 g1 draining"), holders: "a", wanted: 1, missing: 1, targets: 3, first: "?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range 50 { // the choice differs by hash, what is right does not
				k := Content{Hash: hashNo(t, i), Size: 10, Wanted: test.wanted, Holders: strings.Fields(test.holders)}
				p := Of(clusterOf(t, test.stores...), k)
				require.Equal(t, [4]int{test.good, test.down, test.missing, test.targets}, [4]int{p.Good, p.Down, p.Missing, len(p.Targets)})
				if test.first != "" && test.first != "?" {
					require.Contains(t, strings.Fields(test.first), p.Targets[0])
				}
				switch {
				case test.drops == "?":
					require.Len(t, p.Drops, 1)
				case strings.Contains(test.drops, "|"):
					require.Len(t, p.Drops, 1)
					require.Contains(t, strings.Split(test.drops, "|"), p.Drops[0])
				default:
					require.Equal(t, strings.Fields(test.drops), append([]string{}, p.Drops...))
				}
				require.LessOrEqual(t, len(p.Keep), max(test.wanted, 1))
				for _, id := range p.Drops {
					require.NotContains(t, p.Keep, id)
				}
			}
		})
	}
}

func TestWhoPromisedStays(t *testing.T) {
	c := clusterOf(t, "a n1 g1 good", "b n1 g1 good", "c n2 g2 good")
	for i := range 50 {
		k := Content{Hash: hashNo(t, i), Size: 1, Wanted: 2, Holders: []string{"a", "b", "c"}, Bound: []string{"a", "b"}}
		require.Equal(t, []string{"c"}, Of(c, k).Drops)
	}
}

func TestNothingIsDroppedForWhoIsJustBack(t *testing.T) {
	c := clusterOf(t, "a n1 g1 good", "b n2 g1 good", "c n3 g2 good")
	c.stores[1].Back = true
	require.Empty(t, Of(c, Content{Hash: hashNo(t, 1), Size: 1, Wanted: 2, Holders: []string{"a", "b", "c"}}).Drops)
	require.Len(t, Of(c, Content{Hash: hashNo(t, 1), Size: 1, Wanted: 1, Holders: []string{"a", "c"}}).Drops, 1)
}

func TestRoomIsAskedFor(t *testing.T) {
	c := clusterOf(t, "a n1 g1 good", "b n2 g2 good")
	p := Of(c, Content{Hash: hashNo(t, 1), Size: 1001, Wanted: 2, Holders: []string{"a"}})
	require.Equal(t, 1, p.Missing)
	require.Empty(t, p.Targets)
}

func TestWorkersShareTheWork(t *testing.T) {
	c := clusterOf(t, "s1 n1 g1 good", "s2 n2 g1 good", "s3 n3 g2 lost", "s4 n4 g2 suspect")
	first := map[string]int{}
	for i := range 1000 {
		k := Content{Hash: hashNo(t, i), Size: 1, Wanted: 3, Holders: []string{"s1", "s2", "s3", "s4"}}
		p := Of(c, k)
		require.Len(t, p.Workers, 3)
		require.Equal(t, "s4", p.Workers[2], "a suspect disk is read last")
		require.Equal(t, 1, p.Turn(p.Workers[1]))
		require.Equal(t, -1, p.Turn("s3"))
		first[p.Workers[0]]++
	}
	require.InDelta(t, 500, first["s1"], 100)
	require.InDelta(t, 500, first["s2"], 100)
}

// TestOrderOfHoldersDoesNotMatter shows that nodes which list the same things
// differently decide alike.
func TestOrderOfHoldersDoesNotMatter(t *testing.T) {
	a := clusterOf(t, "a n1 g1 good", "b n2 g1 good", "c n3 g2 good", "d n4 g2 lost", "e n5 g3 good")
	b := clusterOf(t, "e n5 g3 good", "d n4 g2 lost", "c n3 g2 good", "b n2 g1 good", "a n1 g1 good")
	for i := range 100 {
		one := Of(a, Content{Hash: hashNo(t, i), Size: 1, Wanted: 3, Holders: []string{"a", "b", "d"}})
		two := Of(b, Content{Hash: hashNo(t, i), Size: 1, Wanted: 3, Holders: []string{"d", "b", "a"}})
		require.Equal(t, one, two)
	}
}
