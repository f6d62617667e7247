package journal

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func TestBranchName(t *testing.T) {
	for source, want := range map[string]struct {
		root string
		to   uint64
		is   bool
	}{
		"abc":                  {root: "abc"},
		"abc.1z141z4":          {"abc", 4294967296, true},
		"abc.":                 {root: "abc."},
		"abc.0":                {root: "abc.0"},
		"abc.01":               {root: "abc.01"},
		"abc.Z":                {root: "abc.Z"},
		"abc.-1":               {root: "abc.-1"},
		"abc.def.ghi":          {root: "abc.def.ghi"},
		"abc.zzzzzzzzzzzzzzzz": {root: "abc.zzzzzzzzzzzzzzzz"},
	} {
		root, to, is := parseBranch(source)
		require.Equal(t, want.is, is, source)
		require.Equal(t, want.to, to, source)
		require.Equal(t, want.root, root, source)
	}
	require.Equal(t, "abc.1z141z4", branchName("abc", 1<<32))
	require.Equal(t, "abc.1z141z4", branchName("abc.1", 1<<32), "also from a branch")
}

// writing makes and names what the tests here write.
func writing(r *running, from, to int, value string) {
	r.tb.Helper()
	for i := from; i <= to; i++ {
		r.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte(value)})
	}
}

func meeting(t *testing.T, nodes ...*running) {
	t.Helper()
	for range 2 {
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b {
					require.NoError(t, a.Part(t.Context(), b.Catalogue()))
				}
			}
		}
	}
}

// everything has nodes follow all sources of one another until they have them.
func everything(t *testing.T, nodes ...*running) {
	t.Helper()
	meeting(t, nodes...)
	for _, a := range nodes {
		for _, b := range nodes {
			for _, s := range b.Catalogue() {
				if a != b && s.Source != a.Source() && s.Claim > a.Claims()[s.Source] {
					l := a.follow(b, s.Source)
					a.reaches(s.Source, s.Claim)
					l.cut()
				}
			}
		}
	}
}

// TestSplit: a database restored from an old copy goes on as another source.
// What it wrote before it noticed is kept, and what it had written once before
// comes back from others.
func TestSplit(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, b := start(t, options("a")), start(t, options("b"))
	l := b.follow(a, a.Source())
	writing(a, 0, 49, "before")
	b.reaches(a.Source(), 50)
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	a.putMany(record.User, 800, func(i int) (string, record.Change) {
		return fmt.Sprint("u", 25+i), record.Change{Value: []byte("lost")}
	})
	b.reaches(a.Source(), 850)
	l.cut()
	a.stop()

	a = start(t, options("old"))
	old := a.Source()
	var last record.Time
	for i := range 700 {
		last = a.put(record.User, fmt.Sprint("u", 40+i), record.Change{Value: []byte("after")}).Time
	}
	head := a.Head()
	require.Greater(t, head, uint64(minLeap))
	require.True(t, a.Ahead(b.Claims()[old]))
	require.ErrorIs(t, a.Stream(t.Context(), old, b.Since(old, old), io.Discard, nil), ErrAhead)
	streamed := make(chan error, 1)
	go func() { streamed <- a.Stream(t.Context(), old, 0, io.Discard, nil) }()
	require.Eventually(t, func() bool { return a.Stats().Streams == 1 }, 30*time.Second, time.Millisecond)

	require.NoError(t, a.Part(t.Context(), b.Catalogue()))
	require.ErrorIs(t, <-streamed, record.ErrUnavailable, "who reads the old source must ask again")
	require.Equal(t, branchName(old, head-700), a.Source())
	require.Equal(t, head, a.Head(), "its records keep their revisions")
	require.EqualValues(t, 50, a.Claims()[old])
	require.NoError(t, a.Part(t.Context(), b.Catalogue()), "once is enough")
	ack := a.put(record.User, "u41", record.Change{Value: []byte("mine")})
	require.Greater(t, ack.Time, last, "the clock does not fall behind")
	require.Equal(t, head+1, ack.Revision)

	everything(t, a, b)
	same(t, a, b)
	for i, want := range map[int]string{3: "before", 30: "lost", 39: "lost", 40: "after", 41: "mine", 739: "after", 740: "lost", 824: "lost"} {
		r, ok := record.Merge(record.User, a.get(record.User, fmt.Sprint("u", i)))
		require.True(t, ok)
		require.Equal(t, want, string(r.Value), i)
	}
	a = a.reopen()
	require.Equal(t, head+1, a.Head())
	same(t, a, b)
	require.Equal(t, map[string]uint64{}, a.Stats().Followers)
	a.Acknowledge("b", map[string]uint64{a.Source(): 0})
	require.Equal(t, map[string]uint64{"b": 701}, a.Stats().Followers, "of what it wrote under that name")
}

// TestSplitByWhoFollowed: the node that was restored was followed over the gap
// by one that knew less, and is gone before anybody meets who knows what is in
// the gap. Those who are left find out by themselves.
func TestSplitByWhoFollowed(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, b, c := start(t, options("a")), start(t, options("b")), start(t, options("c"))
	d := start(t, options("d"))
	source := a.Source()
	writing(a, 1, 10, "1")
	ca := c.follow(a, source)
	c.reaches(source, 10)
	ca.cut()
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	writing(a, 11, 20, "1")
	a.put(record.Purchase, "token", record.Change{Value: []byte("1"), Final: true})
	ba := b.follow(a, source)
	b.reaches(source, 21)
	ba.cut()
	a.stop()

	a = start(t, options("old"))
	a.put(record.Purchase, "token", record.Change{Value: []byte("2")})
	writing(a, 8, 30, "2")
	require.NoError(t, a.Part(t.Context(), c.Catalogue()), "nobody can tell yet")
	require.Equal(t, source, a.Source())
	ca = c.follow(a, source)
	c.reaches(source, a.Head())
	ca.cut()
	a.stop()

	dc := d.follow(c, source)
	d.reaches(source, c.Claims()[source])
	dc.cut()
	everything(t, b, c, d)
	same(t, b, c)
	same(t, b, d)
	branch := branchName(source, a.Head()-24)
	for _, r := range []*running{b, c, d} {
		require.EqualValues(t, 21, r.Claims()[source])
		require.Equal(t, a.Head(), r.Claims()[branch])
	}
	for _, r := range []*running{b, c, d} {
		for i := 1; i <= 30; i++ {
			require.NotEmpty(t, r.get(record.User, fmt.Sprint("u", i)))
		}
		p, ok := record.Merge(record.Purchase, r.get(record.Purchase, "token"))
		require.True(t, ok)
		require.True(t, p.Final, "what was revoked before the copy was restored stays so")
	}
	require.Len(t, b.get(record.User, "u9"), 1, "the branch replaces its own past")
	require.Len(t, b.get(record.User, "u15"), 2, "and nothing else")
}

// TestSplitBySingleRecords: one record of either side, imported by a node that
// claims nothing, is enough to tell.
func TestSplitBySingleRecords(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	a, b, c := start(t, options("a")), start(t, options("b")), start(t, options("c"))
	source := a.Source()
	writing(a, 1, 10, "1")
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	writing(a, 11, 20, "1")
	require.NoError(t, c.Import(t.Context(), a.get(record.User, "u15")))
	a.stop()
	a = start(t, options("old"))
	writing(a, 5, 7, "2")
	require.NoError(t, c.Import(t.Context(), a.get(record.User, "u7")), "it hides the other from the catalogue")
	ba := b.follow(a, source)
	b.reaches(source, a.Head())
	ba.cut()
	require.NoError(t, b.Part(t.Context(), c.Catalogue()))
	require.Len(t, b.Claims(), 2, "nobody can tell yet")
	l := c.follow(b, source)
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.err != nil
	}, 30*time.Second, time.Millisecond)
	require.ErrorIs(t, l.err, ErrForked)
	everything(t, a, b, c)
	same(t, a, b)
	require.Len(t, a.Claims(), 2)
	require.Equal(t, branchName(source, a.Head()-3), a.Source())
}

// TestSplitBroken: where the process ends in the midst of it, the next start
// does the rest.
func TestSplitBroken(t *testing.T) {
	a := start(t, Options{Cluster: true})
	writing(a, 1, 100, "1")
	a = a.reopen()
	a.putMany(record.User, 1200, func(i int) (string, record.Change) {
		return fmt.Sprint("v", i), record.Change{Value: []byte("2")}
	})
	a.stop()
	old, head := a.Source(), a.Head()

	j, err := Open(Options{Dir: a.opts.Dir, Cluster: true})
	require.NoError(t, err)
	commits := 0
	j.sync = func(txn *badger.Txn) error {
		if commits++; commits == 3 {
			return errCut
		}
		return txn.Commit()
	}
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	require.ErrorIs(t, j.Part(t.Context(), []SourceState{{Source: old, Claim: 101}}), errCut)
	require.ErrorIs(t, j.Stream(t.Context(), old, 0, io.Discard, nil), record.ErrUnavailable)
	require.ErrorIs(t, j.Stream(t.Context(), j.Source(), 0, io.Discard, nil), record.ErrUnavailable)
	require.NoError(t, j.Close())
	require.NoError(t, <-done)

	a = start(t, a.opts)
	require.Equal(t, branchName(old, head-1200), a.Source())
	a.put(record.User, "w", record.Change{Value: []byte("3")})
	all := bySource(a.walk())
	require.Len(t, all[old], 100)
	require.Len(t, all[a.Source()], 1201)
	require.Len(t, a.keys("r"), 1301)
	require.Len(t, a.keys("v"), 1301)
	b := start(t, Options{Cluster: true})
	everything(t, a, b)
	same(t, a, b)
}

// TestSplitWhileWalked: a walk meets what moves to the new source meanwhile.
func TestSplitWhileWalked(t *testing.T) {
	j := start(t, Options{Cluster: true})
	writing(j, 0, 0, "1")
	j = j.reopen()
	const records = pageRecords + 10
	j.putMany(record.User, records, func(i int) (string, record.Change) {
		return fmt.Sprintf("k%05d", i), record.Change{Value: []byte("1")}
	})
	seen := make(map[string]bool)
	for r, err := range j.Walk(t.Context(), nil) {
		require.NoError(t, err)
		if len(seen) == 0 {
			require.NoError(t, j.Part(t.Context(), []SourceState{{Source: j.Source(), Head: 2}}))
		}
		seen[r.Key] = true
	}
	require.Len(t, seen, records+1)
}

// TestSplitClean: where nothing was written since the old copy was opened, the
// old source stays known up to its head.
func TestSplitClean(t *testing.T) {
	a := start(t, Options{Cluster: true})
	writing(a, 1, 2, "1")
	a = a.reopen()
	old := a.Source()
	require.NoError(t, a.Part(t.Context(), []SourceState{{Source: old, Claim: 2}}))
	require.Equal(t, old, a.Source())
	require.NoError(t, a.Part(t.Context(), []SourceState{{Source: old, Claim: 3}}))
	require.EqualValues(t, 2, a.Claims()[old])
	second := a.Source()
	require.Equal(t, branchName(old, a.Head()), second)
	writing(a, 3, 3, "1")
	require.NoError(t, a.Part(t.Context(), []SourceState{{Source: second, Claim: 1 << 60}}), "more than it ever left out")
	require.NotEqual(t, second, a.Source())
	require.Len(t, a.Catalogue(), 3)
	writing(a, 4, 4, "1")
	require.Len(t, a.walk(), 4)
}

// TestAhead: a restored database leaps over the revisions that it may have
// given before, so that who knows one of them shows it, however much is
// written before they meet.
func TestAhead(t *testing.T) {
	a := start(t, Options{Cluster: true})
	writing(a, 1, 2, "1")
	require.False(t, a.Ahead(2))
	require.True(t, a.Ahead(3))
	a = a.reopen()
	require.False(t, a.Ahead(2))
	require.True(t, a.Ahead(3))
	writing(a, 1, 9, "2")
	require.Greater(t, a.Head(), uint64(minLeap))
	require.False(t, a.Ahead(2))
	require.True(t, a.Ahead(3))
	require.False(t, a.Ahead(a.Head()-8))
	require.True(t, a.Ahead(a.Head()-9))
	require.False(t, a.Ahead(a.Head()))
	lost := record.Record{Topic: record.User, Key: "x", Source: a.Source(), Revision: 3, Time: 1, Value: []byte("1")}
	require.ErrorIs(t, a.Import(t.Context(), []record.Record{lost}), record.ErrInvalid, "it may not seem to be kept")
	a.Acknowledge("b", map[string]uint64{a.Source(): 2})
	require.Equal(t, map[string]uint64{"b": 9}, a.Stats().Followers, "what was left out does not count")
	require.EqualValues(t, 9, a.Behind(2))
}

// TestLeaps: they are told apart, kept in order, and come back as they were
// written.
func TestLeaps(t *testing.T) {
	l := leaps{}.with(leap{50, 100}, leap{10, 20}).with(leap{200, 300}, leap{50, 100})
	require.Equal(t, leaps{{10, 20}, {50, 100}, {200, 300}}, l)
	for revision, in := range map[uint64]bool{10: false, 11: true, 20: true, 21: false, 50: false, 100: true, 301: false} {
		require.Equal(t, in, l.within(revision), revision)
	}
	require.Equal(t, leaps{{10, 20}}, l.before(100))
	decoded, rest, err := decodeLeaps(append(l.appendTo(nil), "rest"...))
	require.NoError(t, err)
	require.Equal(t, l, decoded)
	require.Equal(t, "rest", string(rest))
	for i := range l.appendTo(nil) {
		_, _, err := decodeLeaps(l.appendTo(nil)[:i])
		require.ErrorIs(t, err, errValue, i)
	}
	var many leaps
	for i := range uint64(maxLeaps + 1) {
		many = many.with(leap{i * 10, i*10 + 5})
	}
	require.Len(t, many, maxLeaps)
	require.Equal(t, leap{10, 15}, many[0], "the oldest is forgotten")
}
