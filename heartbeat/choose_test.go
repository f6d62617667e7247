package heartbeat_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat"
)

func TestOrder(t *testing.T) {
	self := heartbeat.Location{Site: "lax1", Group: "rs106a"}
	candidate := func(id, site, group string, inFlight int64) heartbeat.Candidate {
		return heartbeat.Candidate{ID: id, Site: site, Group: group, InFlight: inFlight}
	}
	local := heartbeat.Candidate{ID: "local", Local: true, Site: "elsewhere", InFlight: 99}
	for _, c := range []struct {
		name       string
		self       heartbeat.Location
		candidates []heartbeat.Candidate
		want       []string
	}{
		{"none", self, nil, nil},
		{"one", self, []heartbeat.Candidate{local}, []string{"local"}},
		{
			"by distance, whatever they are doing", self,
			[]heartbeat.Candidate{candidate("far", "ams1", "x", 0), candidate("site", "lax1", "rs107a", 1), candidate("group", "lax1", "rs106a", 50), local},
			[]string{"local", "group", "site", "far"},
		},
		{
			"fewest in flight", self,
			[]heartbeat.Candidate{candidate("a", "ams1", "", 3), candidate("b", "fra1", "", 1), candidate("c", "ams1", "", 2)},
			[]string{"b", "c", "a"},
		},
		{
			"equals stay as they came", self,
			[]heartbeat.Candidate{candidate("b", "lax1", "rs106a", 1), candidate("a", "lax1", "rs106a", 1), candidate("c", "lax1", "rs106a", 1)},
			[]string{"b", "a", "c"},
		},
		{
			"a group of that name at another site is another", self,
			[]heartbeat.Candidate{candidate("other", "ams1", "rs106a", 0), candidate("site", "lax1", "rs1", 9)},
			[]string{"site", "other"},
		},
		{
			"no site and no group are shared with nobody", heartbeat.Location{},
			[]heartbeat.Candidate{candidate("a", "", "", 2), candidate("b", "lax1", "rs106a", 1)},
			[]string{"b", "a"},
		},
		{
			"no group", heartbeat.Location{Site: "lax1"},
			[]heartbeat.Candidate{candidate("a", "lax1", "", 2), candidate("b", "lax1", "rs106a", 1), candidate("c", "ams1", "", 0)},
			[]string{"b", "a", "c"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := slices.Clone(c.candidates)
			var ids []string
			for _, candidate := range heartbeat.Order(c.self, c.candidates) {
				ids = append(ids, candidate.ID)
			}
			require.Equal(t, c.want, ids)
			require.Equal(t, given, c.candidates, "what was given is not changed")
		})
	}
}

// An order leaves nobody out, and asking twice changes nothing.
func TestOrderIsAPermutation(t *testing.T) {
	names := rapid.SampledFrom([]string{"", "a", "b"})
	rapid.Check(t, func(t *rapid.T) {
		self := heartbeat.Location{Site: names.Draw(t, "site"), Group: names.Draw(t, "group")}
		candidates := rapid.SliceOf(rapid.Custom(func(t *rapid.T) heartbeat.Candidate {
			return heartbeat.Candidate{
				ID: rapid.String().Draw(t, "id"), Local: rapid.Bool().Draw(t, "local"),
				Group: names.Draw(t, "group"), Site: names.Draw(t, "site"), InFlight: rapid.Int64Range(0, 3).Draw(t, "in flight"),
			}
		})).Draw(t, "candidates")
		ordered := heartbeat.Order(self, candidates)
		require.ElementsMatch(t, candidates, ordered)
		require.Equal(t, ordered, heartbeat.Order(self, ordered))
	})
}

func BenchmarkOrder(b *testing.B) {
	self := heartbeat.Location{Site: "lax1", Group: "rs106a"}
	candidates := []heartbeat.Candidate{{ID: "a", Site: "ams1"}, {ID: "b", Site: "lax1", InFlight: 2}, {ID: "c", Site: "lax1", Group: "rs106a"}}
	b.ReportAllocs()
	for b.Loop() {
		heartbeat.Order(self, candidates)
	}
}
