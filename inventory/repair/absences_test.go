package repair

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory"
)

// sightsOf reads "a/n1 b/n2!": a store, its node, and "!" where it is away,
// "~" where it drains, "?" where it is suspect.
func sightsOf(text string) []Sight {
	var sights []Sight
	for _, word := range strings.Fields(text) {
		id, rest, _ := strings.Cut(word, "/")
		node := strings.TrimRight(rest, "!~?")
		sights = append(sights, Sight{
			Target: inventory.Target{ID: id, Node: node, Free: 1},
			Up:     !strings.Contains(rest, "!"), Draining: strings.Contains(rest, "~"), Suspect: strings.Contains(rest, "?"), Room: true,
		})
	}
	return sights
}

func standingsOf(v Verdict) string {
	var words []string
	for _, s := range v.Cluster.Stores() {
		if s.Standing != Good {
			words = append(words, s.ID+"="+s.Standing.String())
		}
	}
	return strings.Join(words, " ")
}

func TestAbsences(t *testing.T) {
	type step struct {
		at     time.Duration
		sights string
		word   string // stores that the operator gives up before
		want   string
		held   int
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"down, then lost, then back", []step{
			{0, "a/n1 b/n2! c/n3 d/n4", "", "b=down", 0},
			{9 * time.Minute, "a/n1 b/n2! c/n3 d/n4", "", "b=down", 0},
			{10 * time.Minute, "a/n1 b/n2! c/n3 d/n4", "", "b=lost", 0},
			{11 * time.Minute, "a/n1 b/n2 c/n3 d/n4", "", "", 0},
			{12 * time.Minute, "a/n1 b/n2! c/n3 d/n4", "", "b=down", 0},
		}},
		{"a flap begins anew", []step{
			{0, "a/n1 b/n2! c/n3", "", "b=down", 0},
			{5 * time.Minute, "a/n1 b/n2 c/n3", "", "", 0},
			{6 * time.Minute, "a/n1 b/n2! c/n3", "", "b=down", 0},
			{12 * time.Minute, "a/n1 b/n2! c/n3", "", "b=down", 0},
			{16 * time.Minute, "a/n1 b/n2! c/n3", "", "b=lost", 0},
		}},
		{"the operator's word counts at once, until it is back", []step{
			{0, "a/n1 b/n2! c/n3", "", "b=down", 0},
			{time.Second, "a/n1 b/n2! c/n3", "b a", "b=lost", 0},
			{2 * time.Second, "a/n1 b/n2 c/n3", "", "", 0},
			{3 * time.Second, "a/n1 b/n2! c/n3", "", "b=down", 0},
		}},
		{"too many are away", []step{
			{0, "a/n1 b/n2! c/n3! d/n4", "", "b=down c=down", 0},
			{10 * time.Minute, "a/n1 b/n2! c/n3! d/n4", "", "b=down c=down", 2},
			{11 * time.Minute, "a/n1 b/n2! c/n3 d/n4", "", "b=lost", 0},
		}},
		{"what is lost stays so when more goes away", []step{
			{0, "a/n1 b/n2! c/n3 d/n4", "", "b=down", 0},
			{10 * time.Minute, "a/n1 b/n2! c/n3 d/n4", "", "b=lost", 0},
			{11 * time.Minute, "a/n1 b/n2! c/n3! d/n4!", "", "b=lost c=down d=down", 0},
			{30 * time.Minute, "a/n1 b/n2! c/n3! d/n4!", "", "b=lost c=down d=down", 2},
			{31 * time.Minute, "a/n1 b/n2! c/n3! d/n4!", "c", "b=lost c=lost d=down", 1},
		}},
		{"all stores of one node, of three", []step{
			{0, "a/n1! b/n1! c/n2 d/n3", "", "a=down b=down", 0},
			{10 * time.Minute, "a/n1! b/n1! c/n2 d/n3", "", "a=lost b=lost", 0},
		}},
		{"all stores of one node, of two", []step{
			{0, "a/n1! b/n1! c/n2 d/n2", "", "a=down b=down", 0},
			{10 * time.Minute, "a/n1! b/n1! c/n2 d/n2", "", "a=down b=down", 2},
		}},
		{"one of three disks in one machine", []step{
			{0, "a/n1! b/n1 c/n1", "", "a=down", 0},
			{10 * time.Minute, "a/n1! b/n1 c/n1", "", "a=lost", 0},
		}},
		{"a store that drains and goes away is lost at once, and no sign of trouble", []step{
			{0, "a/n1~ b/n2 c/n3 d/n4", "", "a=draining", 0},
			{1, "a/n1~! b/n2! c/n3 d/n4", "", "a=lost b=down", 0},
			{10*time.Minute + 1, "a/n1~! b/n2! c/n3 d/n4", "", "a=lost b=lost", 0},
		}},
		{"suspect", []step{{0, "a/n1? b/n2", "", "a=suspect", 0}}},
		{"one that was forgotten and comes back begins anew", []step{
			{0, "a/n1 b/n2! c/n3", "", "b=down", 0},
			{9 * time.Minute, "a/n1 c/n3", "", "", 0},
			{10 * time.Minute, "a/n1 b/n2! c/n3", "", "b=down", 0},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a Absences
			begin := time.Now()
			for i, s := range test.steps {
				if s.word != "" {
					a.GiveUp(strings.Fields(s.word)...)
				}
				v := a.Judge(begin.Add(s.at), sightsOf(s.sights), Limits{After: 10 * time.Minute, MaxShare: 0.3})
				require.Equal(t, s.want, standingsOf(v), "step %d", i)
				require.Equal(t, s.held, v.Held, "step %d", i)
			}
		})
	}
}

func TestBackForAWhile(t *testing.T) {
	var a Absences
	begin, limits := time.Now(), Limits{After: time.Minute, MaxShare: 0.3}
	back := func(at time.Duration, sights string) bool {
		s, _ := a.Judge(begin.Add(at), sightsOf(sights), limits).Cluster.Store("a")
		return s.Back
	}
	require.False(t, back(0, "a/n1 b/n2"), "one that was never away is not back")
	require.False(t, back(time.Second, "a/n1! b/n2"))
	require.True(t, back(2*time.Second, "a/n1 b/n2"))
	require.True(t, back(61*time.Second, "a/n1 b/n2"))
	require.False(t, back(62*time.Second, "a/n1 b/n2"))
}

// TestAbsencesOfALargeCluster shows where the share ends: a rack of 30 out of
// 100 is repaired, one of 31 is not.
func TestAbsencesOfALargeCluster(t *testing.T) {
	for _, away := range []int{30, 31} {
		var text []string
		for i := range 100 {
			mark := ""
			if i < away {
				mark = "!"
			}
			text = append(text, fmt.Sprintf("s%02d/n%02d%s", i, i/2, mark))
		}
		var a Absences
		begin, limits := time.Now(), Limits{After: time.Minute, MaxShare: 0.3}
		sights := sightsOf(strings.Join(text, " "))
		v := a.Judge(begin, sights, limits)
		require.Equal(t, begin.Add(time.Minute), v.Next)
		v = a.Judge(v.Next, sights, limits)
		require.Equal(t, away == 31, v.Held == 31)
		s, ok := v.Cluster.Store("s00")
		require.True(t, ok)
		require.Equal(t, away == 30, s.Standing == Lost)
	}
}
