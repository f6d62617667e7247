package ask

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// stores is a town of a prism and nodes with stores.
func stores(t *testing.T, names ...string) *town {
	nodes := []Node{{ID: "prism", Zones: []string{"x"}}}
	for _, name := range names {
		nodes = append(nodes, Node{ID: name, Stores: true})
	}
	return newTown(t, nodes...)
}

// hold writes down that a node's store holds a content.
func (n *node) hold(i int) content.Hash {
	n.town.t.Helper()
	h, err := contentHash(i)
	require.NoError(n.town.t, err)
	_, err = n.engine.Update(n.town.t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{
		Member: "store-of-" + n.name, Value: []byte(`{"ext":"mp4","size":1,"stored":1,"kept":"1"}`),
	})
	require.NoError(n.town.t, err)
	return h
}

func (n *node) holders(h content.Hash) []string {
	n.town.t.Helper()
	versions, err := n.engine.Get(n.town.t.Context(), record.Inventory, h.String())
	require.NoError(n.town.t, err)
	var names []string
	for _, r := range record.Members(record.Inventory, versions) {
		names = append(names, r.Member)
	}
	return names
}

func TestContentHeldElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, Node{ID: "prism", Zones: []string{"x"}}, Node{ID: "edge", Zones: []string{"x"}}, Node{ID: "s1", Stores: true}, Node{ID: "s2", Stores: true})
		p, s1, s2 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"]
		h := s1.hold(1)
		s2.set(func() { s2.state.hangs = true })
		began := time.Now()
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.Zero(t, time.Since(began), "who has it is enough")
		require.Equal(t, []string{"store-of-s1"}, p.holders(h))

		unknown, err := contentHash(2)
		require.NoError(t, err)
		require.ErrorIs(t, p.asker.Content(t.Context(), unknown), ErrUnsure)
		s2.set(func() { s2.state = state{} })
		time.Sleep(silentTime)
		require.NoError(t, p.asker.Content(t.Context(), unknown), "all say no")
		require.Empty(t, p.holders(unknown))
		s1.questions()
		require.NoError(t, p.asker.Content(t.Context(), unknown))
		require.Zero(t, s1.questions(), "the no is kept")
		require.Zero(t, w.nodes["edge"].questions(), "it has no stores")

		s2.set(func() { s2.scans = true })
		time.Sleep(deniedTime)
		require.ErrorIs(t, p.asker.Content(t.Context(), unknown), ErrUnsure, "a first scan may still find it")
	})
}

// An answer brings what removes or blocks a content, so that nobody here gets
// what the other node would not give.
func TestRemovalsComeAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1")
		p, s1 := w.nodes["prism"], w.nodes["s1"]
		h := s1.hold(1)
		index := inventory.NewIndex(s1.engine, s1.clock, 10)
		defer index.Close()
		_, err := index.Remove(t.Context(), h)
		require.NoError(t, err)
		_, err = s1.engine.Update(t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(`{}`)})
		require.NoError(t, err)
		require.NoError(t, p.asker.Content(t.Context(), h))

		own := inventory.NewIndex(p.engine, p.clock, 10)
		defer own.Close()
		placement, err := own.Find(t.Context(), h)
		require.NoError(t, err)
		require.Positive(t, placement.Removed)
		require.True(t, placement.Blocked)
	})
}

// Clones that a store has dropped are a no.
func TestTombstonesAreANo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1")
		p, s1 := w.nodes["prism"], w.nodes["s1"]
		h := s1.hold(1)
		_, err := s1.engine.Update(t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: "store-of-s1", Delete: true})
		require.NoError(t, err)
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.Equal(t, 1, s1.questions())
	})
}

func TestManyContentsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2", "s3")
		p, s1, s2, s3 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"], w.nodes["s3"]
		var hashes []content.Hash
		for i := range maxKeys + 10 {
			h, err := contentHash(i)
			require.NoError(t, err)
			hashes = append(hashes, h)
		}
		s1.hold(3)
		s2.hold(3)
		s2.hold(maxKeys + 5)
		require.NoError(t, p.asker.Contents(t.Context(), hashes))
		require.Equal(t, 2, s1.questions())
		require.Equal(t, []string{"store-of-s1", "store-of-s2"}, p.holders(hashes[3]), "all answers count")
		require.Equal(t, []string{"store-of-s2"}, p.holders(hashes[maxKeys+5]))

		// One that is away leaves the others' answers.
		s3.set(func() { s3.state.err = errDown })
		h := s1.hold(1000)
		require.ErrorIs(t, p.asker.Contents(t.Context(), []content.Hash{hashes[0], h}), ErrUnsure)
		require.Equal(t, []string{"store-of-s1"}, p.holders(h))
		require.Empty(t, p.asker.denied, "many are asked anew each time")
	})
}

func TestNobodyToAsk(t *testing.T) {
	w := stores(t)
	p := w.nodes["prism"]
	h, err := contentHash(1)
	require.NoError(t, err)
	require.NoError(t, p.asker.Content(t.Context(), h))
	require.NoError(t, p.asker.Contents(t.Context(), []content.Hash{h}))
	p.set(func() { p.late = true })
	require.ErrorIs(t, p.asker.Content(t.Context(), h), ErrUnsure, "who they are is not known yet")
	require.ErrorIs(t, p.asker.Contents(t.Context(), []content.Hash{h}), ErrUnsure)
}

// What this node knows already is nobody's find: it neither ends a question
// before those who know more have answered, nor has it asked for ever.
func TestWhatIsKnownIsNoFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2")
		p, s1, s2 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"]
		h := s1.hold(1)
		require.NoError(t, p.asker.Content(t.Context(), h))
		s1.questions()
		s2.questions()
		s2.hold(1)
		s2.set(func() { s2.state.wait = time.Millisecond })
		require.NoError(t, p.asker.Content(t.Context(), h), "as where a removal hides what is known")
		require.Equal(t, []string{"store-of-s1", "store-of-s2"}, p.holders(h))
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.Equal(t, 2, s1.questions(), "one of them is a no, which is kept")
	})
}

// What counts for nothing is neither found nor kept.
func TestWhatDoesNotCountIsNoFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2")
		p, s1, s2 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"]
		p.passes = func(r record.Record) bool { return r.Source == s1.Source }
		h := s1.hold(1)
		s2.hold(1)
		s2.set(func() { s2.state.wait = time.Millisecond })
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.Equal(t, []string{"store-of-s2"}, p.holders(h))
	})
}

// A store whose clone was removed has not the last word: another may have been
// given the content again.
func TestARemovedCloneIsNotTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2")
		p, s1, s2 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"]
		h := s1.hold(1)
		index := inventory.NewIndex(s1.engine, s1.clock, 10)
		defer index.Close()
		_, err := index.Remove(t.Context(), h)
		require.NoError(t, err)
		s2.hold(1)
		s2.set(func() { s2.state.wait = time.Millisecond })
		require.NoError(t, p.asker.Content(t.Context(), h))
		require.Equal(t, []string{"store-of-s1", "store-of-s2"}, p.holders(h))
	})
}

// Who can't be asked at all is told from who does not answer just now.
func TestNodesThatAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2")
		p, s1, s2 := w.nodes["prism"], w.nodes["s1"], w.nodes["s2"]
		p.away = map[string]bool{"s1": true}
		unknown, err := contentHash(7)
		require.NoError(t, err)
		require.NoError(t, p.asker.Contents(t.Context(), []content.Hash{unknown}), "who answers is not away")
		for _, broken := range []state{{err: errDown}, {hangs: true}} {
			s1.set(func() { s1.state = broken })
			for _, ask := range []func() error{
				func() error { return p.asker.Content(t.Context(), unknown) },
				func() error { return p.asker.Contents(t.Context(), []content.Hash{unknown}) },
			} {
				err := ask()
				require.ErrorIs(t, err, ErrAway)
				require.ErrorIs(t, err, ErrUnsure, "which it is to those who need all")
				time.Sleep(silentTime)
			}
			s2.set(func() { s2.scans = true })
			require.NotErrorIs(t, p.asker.Contents(t.Context(), []content.Hash{unknown}), ErrAway, "another one may find it")
			time.Sleep(silentTime)
			s2.set(func() { s2.scans, s2.state = false, broken })
			err := p.asker.Contents(t.Context(), []content.Hash{unknown})
			require.ErrorIs(t, err, ErrUnsure)
			require.NotErrorIs(t, err, ErrAway)
			s2.set(func() { s2.state = state{} })
			time.Sleep(silentTime)
		}
	})
}

// A peer that answers with what was not asked, what can't be a record, or
// without end, is no peer to believe.
func TestGarbageIsNotTaken(t *testing.T) {
	good := record.Record{Topic: record.Inventory, Key: fmt.Sprintf("%040x", 1), Member: "m", Source: "s", Time: 1, Revision: 1, Value: []byte("{}")}
	for name, change := range map[string]func(*record.Record){
		"another topic": func(r *record.Record) { r.Topic, r.Member = record.Purchase, "" },
		"another key":   func(r *record.Record) { r.Key = fmt.Sprintf("%040x", 2) },
		"no revision":   func(r *record.Record) { r.Revision = 0 },
		"no source":     func(r *record.Record) { r.Source = "" },
		"too long":      func(r *record.Record) { r.Value = make([]byte, record.MaxValue+1) },
		"no member":     func(r *record.Record) { r.Member = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := stores(t, "s1")
				p, s1 := w.nodes["prism"], w.nodes["s1"]
				bad := good
				change(&bad)
				body, err := json.Marshal(wireAnswer{Records: []record.Record{good, bad}, Sure: true})
				require.NoError(t, err)
				s1.set(func() { s1.state.body = string(body) })
				h, err := contentHash(1)
				require.NoError(t, err)
				require.ErrorIs(t, p.asker.Content(t.Context(), h), ErrUnsure)
				require.Empty(t, p.holders(h))
			})
		})
	}
	t.Run("without end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := stores(t, "s1")
			p, s1 := w.nodes["prism"], w.nodes["s1"]
			body := `{"sure":true}` + strings.Repeat(" ", maxBody)
			s1.set(func() { s1.state.body = body })
			h, err := contentHash(1)
			require.NoError(t, err)
			require.ErrorIs(t, p.asker.Content(t.Context(), h), ErrUnsure)
		})
	})
}

// What can't be kept is not found.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1")
		p, s1 := w.nodes["prism"], w.nodes["s1"]
		h := s1.hold(1)
		p.engine.Fail(record.ErrUnavailable)
		require.ErrorIs(t, p.asker.Content(t.Context(), h), ErrUnsure)
	})
}
