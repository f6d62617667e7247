package vote_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat/vote"
)

const life = time.Minute

var start = time.Unix(1_800_000_000, 0)

func ballot(voter string, started int64, seq uint64, about ...string) vote.Ballot {
	b := vote.Ballot{Voter: voter, Started: started, Seq: seq}
	for _, id := range about {
		b.Votes = append(b.Votes, vote.Vote{About: id})
	}
	return b
}

func anyRun(string) int64 { return 0 }

func TestLedgerKeepsTheNewest(t *testing.T) {
	type step struct {
		b          vote.Ballot
		kept, news bool
		want       []string // who votes against x afterwards
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a vote and its withdrawal", []step{
			{ballot("a", 1, 1, "x"), true, true, []string{"a"}},
			{ballot("a", 1, 2), true, true, nil},
		}},
		{"an old message revives nothing", []step{
			{ballot("a", 1, 2), true, false, nil},
			{ballot("a", 1, 1, "x"), false, false, nil},
		}},
		{"what is said again is no news", []step{
			{ballot("a", 1, 1, "x"), true, true, []string{"a"}},
			{ballot("a", 1, 2, "x"), true, false, []string{"a"}},
			{ballot("a", 1, 2, "x"), false, false, []string{"a"}},
		}},
		{"a new run replaces the former", []step{
			{ballot("a", 1, 9, "x"), true, true, []string{"a"}},
			{ballot("a", 2, 1), true, true, nil},
			{ballot("a", 1, 10, "x"), false, false, nil},
		}},
		{"two voters", []step{
			{ballot("b", 1, 1, "x"), true, true, []string{"b"}},
			{ballot("a", 1, 1, "w", "x"), true, true, []string{"a", "b"}},
			{ballot("b", 1, 2), true, true, []string{"a"}},
		}},
		{"nobody votes about itself", []step{
			{ballot("x", 1, 1, "x"), true, true, nil},
		}},
		{"garbage", []step{
			{ballot("", 1, 1, "x"), false, false, nil},
			{ballot("a", 1, 1, make([]string, vote.MaxVotes+1)...), false, false, nil},
			{vote.Ballot{Voter: "a", Started: 1, Seq: 1, Age: life.Milliseconds(), Votes: []vote.Vote{{About: "x"}}}, false, false, nil},
			{vote.Ballot{Voter: "a", Started: 1, Seq: 1, Age: 1 << 62, Votes: []vote.Vote{{About: "x"}}}, false, false, nil},
			{vote.Ballot{Voter: "a", Started: -1, Age: -1 << 62, Votes: []vote.Vote{{About: "x"}}}, true, true, []string{"a"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := vote.NewLedger(life)
			for i, s := range c.steps {
				kept, news := l.Take(s.b, "somebody", start)
				require.Equal(t, s.kept, kept, "step %d", i)
				require.Equal(t, s.news, news, "step %d", i)
				require.Equal(t, s.want, l.Votes(anyRun)["x"], "step %d", i)
			}
		})
	}
}

func TestLedgerVotesAboutFormerRuns(t *testing.T) {
	l := vote.NewLedger(life)
	l.Take(vote.Ballot{Voter: "a", Started: 1, Seq: 1, Votes: []vote.Vote{{About: "x", Started: 100}}}, "a", start)
	l.Take(ballot("b", 1, 1, "x"), "b", start) // who knows no run of it at all
	for run, want := range map[int64][]string{0: {"a", "b"}, 100: {"a", "b"}, 101: {"b"}} {
		require.Equal(t, want, l.Votes(func(string) int64 { return run })["x"])
	}
}

// A vote dies a life after its voter said it, through whomever it went.
func TestLedgerVotesDie(t *testing.T) {
	first, second := vote.NewLedger(life), vote.NewLedger(life)
	first.Take(ballot("a", 1, 1, "x"), "a", start)
	now := start.Add(life - time.Second)
	require.False(t, first.Expire(now))
	list, _ := first.Since(0, "c", now)
	require.Len(t, list, 1)
	require.Equal(t, (life - time.Second).Milliseconds(), list[0].Age)
	kept, news := second.Take(list[0], "b", now)
	require.True(t, kept && news)
	now = now.Add(time.Second)
	require.True(t, first.Expire(now))
	require.True(t, second.Expire(now), "passing it on makes it no younger")
	require.False(t, second.Expire(now))
	require.Empty(t, second.Votes(anyRun))
	list, _ = second.Since(0, "c", now)
	require.Empty(t, list)
	// A copy that was under way for long is known to be old.
	kept, _ = second.Take(ballot("a", 1, 1, "x"), "c", now.Add(time.Second))
	require.False(t, kept)
	// Its voter says it again.
	kept, news = second.Take(ballot("a", 1, 2, "x"), "a", now.Add(2*time.Second))
	require.True(t, kept && news)
	second.Expire(now.Add(10 * life))
	kept, _ = second.Take(ballot("a", 1, 2, "x"), "a", now.Add(10*life))
	require.True(t, kept, "nothing of it is kept for ever")
}

// Each node is told what is new to it, and not what it told itself.
func TestLedgerSince(t *testing.T) {
	l := vote.NewLedger(life)
	voters := func(version uint64, to string) (names []string, upTo uint64) {
		list, upTo := l.Since(version, to, start)
		for _, b := range list {
			names = append(names, b.Voter)
		}
		return names, upTo
	}
	l.Take(ballot("b", 1, 1, "x"), "b", start)
	l.Take(ballot("a", 1, 1, "x"), "c", start)
	names, upTo := voters(0, "d")
	require.Equal(t, []string{"b", "a"}, names)
	require.Equal(t, l.Version(), upTo)
	names, _ = voters(upTo, "d")
	require.Empty(t, names)
	names, _ = voters(0, "c")
	require.Equal(t, []string{"b"}, names, "c told us of a")
	names, _ = voters(0, "a")
	require.Equal(t, []string{"b"}, names, "a knows what it said")
	l.Take(ballot("b", 1, 2, "x"), "b", start)
	names, _ = voters(upTo, "d")
	require.Equal(t, []string{"b"}, names)
	l.Unheard("c")
	names, _ = voters(0, "c")
	require.Equal(t, []string{"a", "b"}, names, "it has forgotten what it told")
}

// More than fits into one message comes in several.
func TestLedgerSinceIsBounded(t *testing.T) {
	l := vote.NewLedger(life)
	for i := range vote.MaxBallots {
		l.Take(ballot(fmt.Sprint("n", i), 1, 1, "x", "y", "z"), "s", start)
	}
	kept, _ := l.Take(ballot("one more", 1, 1, "x"), "s", start)
	require.False(t, kept)
	seen, version := 0, uint64(0)
	for range 10 {
		var list []vote.Ballot
		list, version = l.Since(version, "d", start)
		seen += len(list)
		require.LessOrEqual(t, len(list), 2048)
	}
	require.Equal(t, vote.MaxBallots, seen)
}

// In whatever order, how often and through whomever ballots come, who has heard
// all of them knows the same.
func TestLedgersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		ballots := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) vote.Ballot {
			about := rapid.SliceOfNDistinct(ids, 0, 3, rapid.ID).Draw(t, "about")
			slices.Sort(about)
			return ballot(ids.Draw(t, "voter"), rapid.Int64Range(1, 2).Draw(t, "run"), uint64(rapid.IntRange(1, 4).Draw(t, "seq")), about...)
		}), 1, 12, func(b vote.Ballot) string { return fmt.Sprint(b.Voter, b.Started, b.Seq) }).Draw(t, "ballots")
		order := rapid.Permutation(append(slices.Clone(ballots), ballots...)).Draw(t, "order")
		one, other, third := vote.NewLedger(life), vote.NewLedger(life), vote.NewLedger(life)
		for _, b := range ballots {
			one.Take(b, b.Voter, start)
		}
		version := uint64(0)
		for _, b := range order {
			other.Take(b, "x", start)
			var list []vote.Ballot
			list, version = other.Since(version, "third", start)
			for _, b := range list {
				third.Take(b, "other", start)
			}
		}
		require.Equal(t, one.Votes(anyRun), other.Votes(anyRun))
		require.Equal(t, one.Votes(anyRun), third.Votes(anyRun))
	})
}

// Whoever has heard up to a version is given each newer ballot that counts once,
// the oldest first, however often ballots were replaced since.
func TestSinceGivesWhatIsNew(t *testing.T) {
	l := vote.NewLedger(time.Minute)
	newest := make(map[string]uint64) // by voter: its version
	for i := range 5000 {
		voter := fmt.Sprint("voter", i*i%17)
		kept, _ := l.Take(vote.Ballot{Voter: voter, Started: 1, Seq: uint64(i + 1)}, "", time.Unix(0, 0))
		require.True(t, kept)
		newest[voter] = l.Version()
		if i%97 != 0 {
			continue
		}
		for since := l.Version() - min(l.Version(), 40); since <= l.Version(); since++ {
			var want []string
			for voter, version := range newest {
				if version > since {
					want = append(want, voter)
				}
			}
			slices.SortFunc(want, func(a, b string) int { return cmp.Compare(newest[a], newest[b]) })
			var got []string
			list, upTo := l.Since(since, "somebody", time.Unix(1, 0))
			for _, b := range list {
				got = append(got, b.Voter)
			}
			require.Equal(t, want, got)
			require.Equal(t, l.Version(), upTo)
		}
	}
	l.Expire(time.Unix(1000, 0))
	list, _ := l.Since(0, "somebody", time.Unix(1000, 0))
	require.Empty(t, list)
}
