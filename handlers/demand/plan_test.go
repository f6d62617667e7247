package demand

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWanted(t *testing.T) {
	for i, c := range []struct {
		rate         float64
		holders, now int
		want         int
	}{
		{0, 1, 0, 0}, {19.9, 1, 0, 0}, {20, 1, 0, 1}, {39, 1, 0, 1}, {40, 1, 1, 2}, {1e9, 1, 0, 4},
		{20, 2, 0, 0}, {39, 2, 0, 0}, {40, 2, 0, 1}, {60, 2, 1, 2}, // each of the holders may have 20
		{19, 0, 0, 0}, {20, 0, 0, 1}, // none is near
		{19, 1, 1, 1}, {10, 1, 1, 1}, {9.9, 1, 1, 0}, // it cools at half the rate
		{39, 1, 2, 2}, {20, 1, 2, 2}, {19, 1, 2, 1}, {9, 1, 2, 0}, {60, 2, 3, 3},
		{100, 8, 1, 1}, {100, 12, 1, 0}, // more clones than needed
		{30, 1, 4, 3}, {5, 1, 4, 0},
	} {
		require.Equal(t, c.want, wanted(c.rate, 20, c.holders, c.now, 4), "%d: %+v", i, c)
	}
}

func place(id, node, site, group string) Place {
	return Place{ID: id, Node: node, Site: site, Group: group}
}

func ids(places []Place) (list []string) {
	for _, p := range places {
		list = append(list, p.ID)
	}
	return list
}

func TestChoose(t *testing.T) {
	self := place("", "prism1", "a", "a1")
	places := []Place{
		place("own", "prism1", "a", "a1"), place("clone", "s1", "a", "a1"), place("beside", "s1", "a", "a1"),
		place("s2", "s2", "a", "a1"), place("s3", "s3", "a", "a2"), place("s3b", "s3", "a", "a2"), place("s4", "s4", "a", "a3"),
		place("far", "s5", "b", "b1"),
	}
	clone := places[1:2]
	for i := range uint64(50) {
		h := hash(t, i)
		all := choose(h, self, places, clone, 9)
		require.Len(t, all, 3, "one a node, of this site, none at a node that holds it")
		require.Equal(t, "s2", all[2].ID, "the group that holds it comes last")
		for n := range 3 {
			require.Equal(t, all[:n], append([]Place{}, choose(h, self, places, clone, n)...), "who wants fewer chooses the first of them")
		}
		other := place("", "prism2", "a", "a2")
		require.Equal(t, ids(all), ids(choose(h, other, places[1:], clone, 9)), "so does another prism of this site")
		require.Equal(t, []string{"far"}, ids(choose(h, place("", "prism3", "b", ""), places, clone, 9)))
		require.Len(t, choose(h, place("", "prism3", "c", ""), places, clone, 9), 5, "all, where this site has none")
		require.Len(t, choose(h, place("", "prism3", "", ""), places, clone, 2), 2)
	}
	require.Empty(t, choose(hash(t, 1), self, nil, clone, 3))
}

func TestHoldersInReach(t *testing.T) {
	here, there := place("1", "1", "a", ""), place("2", "2", "b", "")
	for i, c := range []struct {
		site            string
		holders, places []Place
		want            int
	}{
		{"a", []Place{here, there}, nil, 1}, {"b", []Place{here}, []Place{there}, 0}, {"b", []Place{here}, []Place{here}, 1},
		{"", []Place{here, there}, []Place{here}, 2}, {"", []Place{place("3", "3", "", "")}, nil, 1}, {"a", nil, nil, 0},
	} {
		require.Equal(t, c.want, inReach(place("", "", c.site, ""), c.holders, c.places), "%d", i)
	}
}

// Contents are spread evenly, and a store that goes moves no others.
func TestChooseByRendezvous(t *testing.T) {
	var places []Place
	for i := range 10 {
		places = append(places, place(fmt.Sprint("store", i), fmt.Sprint("node", i), "", ""))
	}
	count := map[string]int{}
	for i := range uint64(2000) {
		h := hash(t, i)
		first := choose(h, Place{Node: "prism"}, places, nil, 1)[0].ID
		count[first]++
		if first != "store0" {
			require.Equal(t, first, choose(h, Place{Node: "prism"}, places[1:], nil, 1)[0].ID)
		}
	}
	for id, n := range count {
		require.InDelta(t, 200, n, 80, id)
	}
}
