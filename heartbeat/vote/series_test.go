package vote_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat/vote"
)

// Probes are judged in the order in which they began: + good, - bad, each with
// the number of its probe.
func TestSeries(t *testing.T) {
	type end struct {
		probe uint64
		good  bool
		want  int // failures in a row after it
	}
	bad := func(probe uint64, want int) end { return end{probe, false, want} }
	good := func(probe uint64, want int) end { return end{probe, true, want} }
	for _, c := range []struct {
		name string
		ends []end
	}{
		{"all good", []end{good(0, 0), good(1, 0), good(2, 0)}},
		{"all bad", []end{bad(0, 1), bad(1, 2), bad(2, 3), bad(3, 4)}},
		{"one good ends it", []end{bad(0, 1), bad(1, 2), good(2, 0), bad(3, 1)}},
		{"a gap is waited for", []end{bad(1, 0), bad(2, 0), bad(0, 3)}},
		{"a good one before them does not hide them", []end{bad(1, 0), bad(2, 0), good(0, 2), bad(3, 3)}},
		{"a good one after them does, also with one open", []end{bad(1, 0), good(3, 0), bad(2, 0), bad(0, 0), bad(4, 1)}},
		{"what is told twice", []end{bad(0, 1), bad(0, 1), good(0, 1), good(1, 0), bad(1, 0)}},
		{"what was never begun", []end{bad(9, 0), good(9, 0), bad(0, 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s vote.Series
			for range 5 {
				_, ok := s.Start()
				require.True(t, ok)
			}
			for i, e := range c.ends {
				if e.good {
					s.Good(e.probe)
				} else {
					s.Bad(e.probe)
				}
				require.Equal(t, e.want, s.Failures(), "after step %d", i)
			}
		})
	}
}

func TestSeriesIsBounded(t *testing.T) {
	var s vote.Series
	n := uint64(0)
	for ok := true; ok; n++ {
		_, ok = s.Start()
	}
	require.EqualValues(t, 65, n)
	s.Bad(0)
	_, ok := s.Start()
	require.True(t, ok)
	require.Equal(t, 1, s.Failures())
	s.Forgive()
	require.Equal(t, 1, s.Failures(), "what was judged stays")
	s.Bad(3)
	s.Good(4)
	require.Equal(t, 1, s.Failures(), "what was under way says nothing")
	s.Reset()
	require.Zero(t, s.Failures())
}

// In whatever order probes end: once all have, the failures in a row are those
// behind the last good one.
func TestSeriesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		outcomes := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "good")
		order := make([]uint64, len(outcomes))
		var s vote.Series
		want := 0
		for i, good := range outcomes {
			order[i], _ = s.Start()
			if want++; good {
				want = 0
			}
		}
		for _, n := range rapid.Permutation(order).Draw(t, "order") {
			if outcomes[n] {
				s.Good(n)
			} else {
				s.Bad(n)
			}
			require.LessOrEqual(t, s.Failures(), len(outcomes))
		}
		require.Equal(t, want, s.Failures())
	})
}
