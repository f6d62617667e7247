package record

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		versions []Record
		want     string // the winner's source, empty where nothing is live
	}{
		"none":                       {nil, ""},
		"one":                        {[]Record{{Source: "a", Time: 1}}, "a"},
		"later":                      {[]Record{{Source: "a", Time: 2}, {Source: "b", Time: 1}}, "a"},
		"greater source among equal": {[]Record{{Source: "a", Time: 2}, {Source: "b", Time: 2}}, "b"},
		"final beats later":          {[]Record{{Source: "a", Time: 1, Final: true}, {Source: "b", Time: 2}}, "a"},
		"later final":                {[]Record{{Source: "a", Time: 1, Final: true}, {Source: "b", Time: 2, Final: true}}, "b"},
		"tombstone":                  {[]Record{{Source: "a", Time: 1}, {Source: "b", Time: 2, Deleted: true}}, ""},
		"made again":                 {[]Record{{Source: "a", Time: 3}, {Source: "b", Time: 2, Deleted: true}}, "a"},
	} {
		for range 5 {
			rand.Shuffle(len(c.versions), func(i, k int) { c.versions[i], c.versions[k] = c.versions[k], c.versions[i] })
			r, ok := Merge(User, c.versions)
			require.Equal(t, c.want != "", ok, name)
			if ok {
				require.Equal(t, c.want, r.Source, name)
			}
		}
	}
}

func TestMembers(t *testing.T) {
	got := Members(Inventory, []Record{
		{Member: "a", Source: "x", Time: 1}, {Member: "a", Source: "y", Time: 2},
		{Member: "b", Source: "x", Time: 1}, {Member: "b", Source: "y", Time: 2, Deleted: true},
		{Member: "c", Source: "z", Time: 1},
	})
	require.Len(t, got, 2)
	require.Equal(t, "y", got[0].Source)
	require.Equal(t, "c", got[1].Member)
	require.Empty(t, Members(Inventory, nil))
}

func TestCondition(t *testing.T) {
	live := []Record{{Source: "a", Time: 5}, {Source: "b", Time: 3, Deleted: true}}
	gone := []Record{{Source: "a", Time: 5}, {Source: "b", Time: 7, Deleted: true}}
	for _, versions := range [][]Record{nil, live, gone} {
		require.True(t, Condition{}.Holds(User, versions))
	}
	require.True(t, IfAbsent().Holds(User, nil))
	require.True(t, IfAbsent().Holds(User, gone))
	require.False(t, IfAbsent().Holds(User, live))
	require.True(t, IfUnchanged(5).Holds(User, live))
	require.False(t, IfUnchanged(3).Holds(User, live))
	require.False(t, IfUnchanged(7).Holds(User, gone))
	require.False(t, IfUnchanged(0).Holds(User, nil))
}

func TestTopics(t *testing.T) {
	Topics()[0] = "changed"
	require.Equal(t, Peer, Topics()[0], "the list is the caller's")
	require.True(t, Known(Certificate))
	require.False(t, Known("nonsense"))
}
