package repair

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
)

func TestLostStoreIsReplacedAndItsSurplusDropped(t *testing.T) {
	w := newTown(t, 4)
	hashes := map[content.Hash]string{}
	for i := range 20 {
		data := fmt.Sprint("content ", i)
		hashes[w.put(data, w.nodes[i%4], w.nodes[(i+1)%4])] = data
	}
	w.run()
	gone := w.nodes[1]
	w.turn(w.away, gone, true)
	w.eventually("two clones beside the store that is lost", func() bool {
		for h, data := range hashes {
			good := 0
			for _, n := range w.holders(h, data) {
				if n != gone {
					good++
				}
			}
			if good < 2 {
				return false
			}
		}
		return true
	})
	w.turn(w.away, gone, false)
	w.eventually("no more than two clones", func() bool {
		for h, data := range hashes {
			if n := len(w.holders(h, data)); n != 2 {
				require.GreaterOrEqual(t, n, 2)
				return false
			}
		}
		return true
	})
	w.eventually("all is told", func() bool {
		var copied, dropped int64
		for _, n := range w.nodes {
			s := n.agent.Status()
			copied += s.Copied
			dropped += s.Dropped
		}
		for h := range hashes {
			if w.placed(h) != 2 {
				return false
			}
		}
		return copied >= 10 && copied == dropped
	})
}

// What a node has repaired is not told as missing until its next look at all contents.
func TestRepairedIsNotToldAsMissing(t *testing.T) {
	w := newTown(t, 3)
	w.put("told", w.nodes[0], w.nodes[1])
	w.run(w.nodes[0])
	w.turn(w.away, w.nodes[1], true)
	agent := w.nodes[0].agent
	w.eventually("it is copied", func() bool { return agent.Status().Copied == 1 })
	w.eventually("nothing is missing", func() bool {
		s := agent.Status()
		return !s.Walking && s.Clones == 1 && s.Missing == 0 && s.Urgent == 0
	})
}

func TestDownIsNotLost(t *testing.T) {
	w := newTown(t, 4)
	w.change(func(s *Settings) { s.After = time.Hour })
	h := w.put("stays", w.nodes[0], w.nodes[1])
	w.run()
	w.turn(w.away, w.nodes[1], true)
	w.eventually("it is down", func() bool { return strings.Contains(fmt.Sprint(w.nodes[0].agent.Status().Stores), "down") })
	require.NoError(t, w.nodes[0].agent.lookAtAll(t.Context()))
	require.Len(t, w.holders(h, "stays"), 2)

	// An operator knows better.
	require.Equal(t, []string{w.nodes[1].id()}, w.nodes[3].agent.Now(t.Context()))
	w.eventually("it is copied at once", func() bool { return len(w.holders(h, "stays")) == 3 })
}

// lookAtAll is a walk in the foreground.
func (a *Agent) lookAtAll(ctx context.Context) error {
	_, err := a.walk(ctx)
	return err
}

func TestTooManyAwayAreNotReplaced(t *testing.T) {
	w := newTown(t, 5)
	h := w.put("a switch has failed", w.nodes[0], w.nodes[1])
	w.turn(w.away, w.nodes[1], true)
	w.turn(w.away, w.nodes[2], true)
	w.run()
	w.eventually("they are held", func() bool { return w.nodes[0].agent.Status().Held == 2 })
	require.NoError(t, w.nodes[0].agent.lookAtAll(t.Context()))
	require.Len(t, w.holders(h, "a switch has failed"), 2)
	w.turn(w.away, w.nodes[2], false)
	w.eventually("one is few enough", func() bool { return len(w.holders(h, "a switch has failed")) == 3 })
}

func TestDrain(t *testing.T) {
	w := newTown(t, 3)
	for i := range 10 {
		w.put(fmt.Sprint("content ", i), w.nodes[i%2], w.nodes[i%2+1])
	}
	w.run()
	from := w.nodes[1]
	d, err := w.nodes[0].agent.Draining(t.Context(), from.id())
	require.NoError(t, err)
	require.Equal(t, int64(10), d.Left)
	require.False(t, d.Safe())
	w.turn(w.draining, from, true)
	w.eventually("nothing is left", func() bool {
		d, err := w.nodes[0].agent.Draining(t.Context(), from.id())
		require.NoError(t, err)
		return d.Left == 0 && d.Safe()
	})
	for i := range 10 {
		data := fmt.Sprint("content ", i)
		require.Len(t, w.holders(w.put(data), data), 2)
	}
}

// What comes to a store that is drained, from uploads that had chosen it before,
// leaves it as well, and not only when the next walk comes by.
func TestDrainOfWhatComesLate(t *testing.T) {
	w := newTown(t, 3)
	from := w.nodes[1]
	w.turn(w.draining, from, true)
	w.run()
	w.put("earlier", w.nodes[0], from)
	w.eventually("it is empty", func() bool { return len(w.holders(w.put("earlier"), "earlier")) == 2 && w.placedAt(from) == 0 })
	for i := range 10 {
		w.put(fmt.Sprint("late ", i), w.nodes[2*(i%2)], from)
	}
	w.eventually("it is empty again", func() bool { return w.placedAt(from) == 0 })
	for i := range 10 {
		data := fmt.Sprint("late ", i)
		require.Len(t, w.holders(w.put(data), data), 2)
	}
}

func TestDrainWithNowhereToGo(t *testing.T) {
	w := newTown(t, 2)
	h := w.put("nowhere", w.nodes[0], w.nodes[1])
	w.turn(w.draining, w.nodes[1], true)
	w.run()
	w.eventually("it is said", func() bool {
		return strings.Contains(w.nodes[0].agent.Status().LastError, "no other store takes one") || strings.Contains(w.nodes[1].agent.Status().LastError, "no other store takes one")
	})
	require.Len(t, w.holders(h, "nowhere"), 2)
	d, err := w.nodes[0].agent.Draining(t.Context(), w.nodes[1].id())
	require.NoError(t, err)
	require.Equal(t, Drain{Left: 1, Bytes: 7, Needed: 1}, d)
}

// TestSecondInRankTakesOver has the first in rank answer and do nothing.
func TestSecondInRankTakesOver(t *testing.T) {
	w := newTown(t, 3)
	w.change(func(s *Settings) { s.Copies = 3 })
	h := w.put("taken over", w.nodes[0], w.nodes[1])
	require.NoError(t, w.nodes[0].agent.lookAtAll(t.Context()))
	w.nodes[0].agent.look()
	f, err := w.nodes[0].agent.examine(t.Context(), h)
	require.NoError(t, err)
	require.Len(t, f.Workers, 2)
	second := w.nodes[0]
	if f.Workers[0] == second.id() {
		second = w.nodes[1]
	}
	w.run(second)
	w.eventually("it is copied", func() bool { return len(w.holders(h, "taken over")) == 3 })
	w.eventually("it is told", func() bool { return second.agent.Status().Copied == 1 })
}

// TestWhoIsBusyIsNotPushedAside has the first in rank say that it is about to.
func TestWhoIsBusyIsNotPushedAside(t *testing.T) {
	w := newTown(t, 3)
	w.change(func(s *Settings) { s.Copies = 3 })
	h := w.put("busy", w.nodes[0], w.nodes[1])
	w.nodes[0].agent.look()
	f, err := w.nodes[0].agent.examine(t.Context(), h)
	require.NoError(t, err)
	first, second := w.nodes[0], w.nodes[1]
	if f.Workers[0] == second.id() {
		first, second = second, first
	}
	var asked atomic.Int64
	first.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != Prefix+"doing" {
			return false
		}
		asked.Add(1)
		fmt.Fprintln(rw, `{"result":{"doing":true}}`)
		return true
	})
	w.run(second)
	w.eventually("it is asked again and again", func() bool { return asked.Load() >= 3 })
	require.Len(t, w.holders(h, "busy"), 2)
	w.run(first)
	w.eventually("the first one does it", func() bool { return len(w.holders(h, "busy")) == 3 })
	w.eventually("it is told", func() bool { return first.agent.Status().Copied == 1 })
}

func TestRottenSourceIsQuarantinedAndReplaced(t *testing.T) {
	w := newTown(t, 4)
	w.nodes[0].agent.look()
	data := "this one rots"
	h := w.put(data, w.nodes[0], w.nodes[1])
	w.change(func(s *Settings) { s.Copies = 3 })
	f, err := w.nodes[0].agent.examine(t.Context(), h)
	require.NoError(t, err)
	for _, n := range w.nodes[:2] {
		if n.id() != f.Workers[0] {
			continue
		}
		path := filepath.Join(n.volume.Root(), filepath.FromSlash(disk.ClonePath(h, "txt", false)))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, 0o644))
		require.NoError(t, os.WriteFile(path, []byte(strings.ToUpper(data)), 0o644))
		require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()))
	}
	w.run()
	w.eventually("three sound clones", func() bool { return len(w.holders(h, data)) == 3 && w.placed(h) == 3 })
}

func TestFullTargetIsPassedOver(t *testing.T) {
	w := newTown(t, 4)
	h := w.put("somewhere else", w.nodes[0])
	for _, n := range w.nodes[1:3] {
		n.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/cluster/upload/") {
				return false
			}
			rw.WriteHeader(http.StatusInsufficientStorage)
			fmt.Fprintln(rw, `{"error":"no room","kind":"full"}`)
			return true
		})
	}
	w.run()
	w.eventually("it is copied", func() bool { return len(w.holders(h, "somewhere else")) == 2 })
	require.Contains(t, w.holders(h, "somewhere else"), w.nodes[3])
}

func TestNoPromiseNoDrop(t *testing.T) {
	w := newTown(t, 3)
	h := w.put("kept", w.nodes...)
	for _, n := range w.nodes {
		n.agent.look()
	}
	f, err := w.nodes[0].agent.examine(t.Context(), h)
	require.NoError(t, err)
	require.Len(t, f.Drops, 1)
	var dropping *townNode
	for _, n := range w.nodes {
		if n.id() == f.Drops[0] {
			dropping = n
		}
	}
	for _, n := range w.nodes {
		if n != dropping {
			n.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "promise") {
					panic(http.ErrAbortHandler)
				}
				return false
			})
			break
		}
	}
	require.ErrorIs(t, dropping.agent.Drop(t.Context(), h, dropping.id(), 0), ErrNeeded)
	require.Len(t, w.holders(h, "kept"), 3)
	for _, n := range w.nodes {
		n.intercept(nil)
	}
	// Those who promised do not drop; the other one does, also where another
	// node asks it to.
	asking := w.nodes[0]
	if asking == dropping {
		asking = w.nodes[1]
	}
	require.NoError(t, asking.agent.Drop(t.Context(), h, dropping.id(), 0))
	require.Len(t, w.holders(h, "kept"), 2)
	for _, n := range w.holders(h, "kept") {
		require.Error(t, asking.agent.Drop(t.Context(), h, n.id(), 0))
	}
	require.Len(t, w.holders(h, "kept"), 2)

	// Who asks may know of a smaller number before the store's node does. The last
	// one stays all the same.
	left := w.holders(h, "kept")
	require.NoError(t, asking.agent.Drop(t.Context(), h, left[0].id(), 1))
	require.Equal(t, left[1:], w.holders(h, "kept"))
	require.ErrorIs(t, asking.agent.Drop(t.Context(), h, left[1].id(), 1), ErrNeeded)
}

// A clone is moved also where its store has promised to keep it: those that stay
// promise that in its place, the new one among them.
func TestMoveOfWhatIsPromised(t *testing.T) {
	w := newTown(t, 4)
	const data = "moved"
	h := w.put(data, w.nodes[:3]...)
	for _, n := range w.nodes {
		n.agent.look()
	}
	require.NoError(t, w.nodes[0].agent.Drop(t.Context(), h, w.nodes[2].id(), 0))
	from, to := w.nodes[1], w.nodes[3]
	c, ok, err := from.volume.Has(t.Context(), h)
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, from.volume.Promising(c))
	_, err = w.nodes[0].agent.Copy(t.Context(), h, to.id(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, from.agent.dropSurplus(t.Context(), from.id(), h), inventory.ErrPromised, "repair waits")
	require.NoError(t, w.nodes[0].agent.Drop(t.Context(), h, from.id(), 0))
	require.ElementsMatch(t, []*townNode{w.nodes[0], to}, w.holders(h, data))
	for _, n := range w.holders(h, data) {
		c, _, err := n.volume.Has(t.Context(), h)
		require.NoError(t, err)
		require.True(t, n.volume.Promising(c))
	}
}

func TestWishForOneContent(t *testing.T) {
	w := newTown(t, 4)
	h := w.put("wanted", w.nodes[0], w.nodes[1])
	w.run()
	require.NoError(t, w.nodes[2].index.Want(t.Context(), h, 4))
	w.eventually("four clones", func() bool { return len(w.holders(h, "wanted")) == 4 })
	require.NoError(t, w.nodes[2].index.Want(t.Context(), h, 3))
	w.eventually("three clones", func() bool { return len(w.holders(h, "wanted")) == 3 })
}

func TestBlockedContentIsLeftAlone(t *testing.T) {
	w := newTown(t, 3)
	h := w.put("taken down", w.nodes[0])
	_, err := w.nodes[0].index.Block(t.Context(), inventory.Block{Hash: h})
	require.NoError(t, err)
	w.nodes[0].agent.look()
	require.NoError(t, w.nodes[0].agent.lookAtAll(t.Context()))
	require.Len(t, w.holders(h, "taken down"), 1)
	require.Equal(t, int64(1), w.nodes[0].agent.Status().Blocked)
	_, err = w.nodes[0].agent.Copy(t.Context(), h, w.nodes[1].id(), nil)
	require.ErrorIs(t, err, inventory.ErrBlocked)
}
