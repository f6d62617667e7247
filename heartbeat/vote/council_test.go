package vote_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat/vote"
)

func TestCouncil(t *testing.T) {
	five := []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		name  string
		nodes []string
		votes map[string][]string
		want  []string
	}{
		{"nobody votes", five, nil, nil},
		{"of two, one decides", []string{"a", "b"}, map[string][]string{"b": {"a"}}, []string{"b"}},
		{"of three, both others", []string{"a", "b", "c"}, map[string][]string{"c": {"a"}}, nil},
		{"of three, both others do", []string{"a", "b", "c"}, map[string][]string{"c": {"a", "b"}}, []string{"c"}},
		{"half is not more than half", five, map[string][]string{"e": {"a", "b"}}, nil},
		{"more than half", five, map[string][]string{"e": {"a", "b", "c"}}, []string{"e"}},
		{"strangers do not count", five, map[string][]string{"e": {"a", "b", "x", "y", "z"}}, nil},
		{"nor does a stranger go down", five, map[string][]string{"x": five}, nil},
		{"the smaller part can't vote the larger down", five,
			map[string][]string{"a": {"c", "d", "e"}, "b": {"c", "d", "e"}, "c": {"a", "b"}, "d": {"a", "b"}, "e": {"a", "b"}}, []string{"a", "b"}},
		{"who is down does not count", five,
			map[string][]string{"a": {"b", "c", "d"}, "e": {"a", "b"}, "d": {"a"}}, []string{"a"}},
		{"a panel shrinks as others go", five,
			map[string][]string{"a": {"c", "d", "e"}, "b": {"c", "d"}}, []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			council := vote.NewCouncil()
			r := vote.NewRoster(c.nodes)
			require.Equal(t, c.want != nil, council.Decide(r, c.votes))
			require.Equal(t, c.want, council.AllDown())
			require.False(t, council.Decide(r, c.votes), "the same votes, the same verdict")
			require.Equal(t, c.want != nil, council.Decide(r, nil))
			require.Empty(t, council.AllDown(), "without votes nobody is down")
		})
	}
}

// A vote that has counted goes on counting when somebody who ranks higher joins.
func TestCouncilKeepsSeats(t *testing.T) {
	r := roster(40)
	target := r.ID(3)
	var voters []string
	for _, p := range r.Panel(3, everybody, nil)[:4] {
		voters = append(voters, r.ID(p))
	}
	council := vote.NewCouncil()
	votes := map[string][]string{target: voters}
	require.True(t, council.Decide(r, votes))
	ids := []string{}
	for i := range r.Len() {
		ids = append(ids, r.ID(i))
	}
	for i := range 200 {
		ids = append(ids, fmt.Sprint("joined", i))
	}
	larger := vote.NewRoster(ids)
	place, _ := larger.Place(target)
	still := 0
	for _, p := range larger.Panel(place, everybody, nil) {
		for _, v := range voters {
			if larger.ID(p) == v {
				still++
			}
		}
	}
	require.Less(t, still, 4, "the panel is another one")
	require.False(t, council.Decide(larger, votes))
	require.True(t, council.Down(target))
	require.False(t, vote.NewCouncil().Decide(larger, votes), "for who never saw them count they don't")
	council.Decide(vote.NewRoster(nil), votes)
	require.False(t, council.Down(target), "who left the cluster is not down in it")
}

// Whatever the votes: a verdict is reached, and who is down has a majority of
// those who are not against it.
func TestCouncilComesToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "nodes")
		r := roster(n)
		votes := make(map[string][]string)
		for about := range n {
			for voter := range n {
				if about != voter && rapid.Bool().Draw(t, "vote") {
					votes[r.ID(about)] = append(votes[r.ID(about)], r.ID(voter))
				}
			}
		}
		council := vote.NewCouncil()
		council.Decide(r, votes)
		require.Less(t, len(council.AllDown()), max(n, 1), "somebody is left")
		for _, id := range council.AllDown() {
			living := 0
			for _, voter := range votes[id] {
				if !council.Down(voter) {
					living++
				}
			}
			require.Positive(t, living, "nobody is down by the votes of the dead alone")
		}
	})
}

// Votes that go in a circle end with nobody down whom only the dead accuse.
func TestCouncilOfACircle(t *testing.T) {
	r := roster(5)
	votes := make(map[string][]string)
	for about, voters := range [][]int{{}, {2, 3}, {0, 3}, {0}, {1, 2, 3}} {
		for _, voter := range voters {
			votes[r.ID(about)] = append(votes[r.ID(about)], r.ID(voter))
		}
	}
	council := vote.NewCouncil()
	for range 3 {
		council.Decide(r, votes)
		for _, id := range council.AllDown() {
			require.True(t, slices.ContainsFunc(votes[id], func(voter string) bool { return !council.Down(voter) }), "%s by %v", id, votes[id])
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	r := roster(1000)
	votes := make(map[string][]string)
	for i := 0; i < 1000; i += 2 {
		for _, p := range r.Panel(i, func(p int) bool { return p%2 == 1 }, nil) {
			votes[r.ID(i)] = append(votes[r.ID(i)], r.ID(p))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		vote.NewCouncil().Decide(r, votes)
	}
}
