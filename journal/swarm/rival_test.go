package swarm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTwoNodesWithOneName: the one that started later gives way, whoever joins
// whom, until the other is gone.
func TestTwoNodesWithOneName(t *testing.T) {
	for name, joins := range map[string]bool{"the later joins": true, "the earlier joins": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				first := w.node("first", func(m *member) { m.self.Name = "edge" })
				pause(time.Minute)
				second := w.node("second", func(m *member) { m.self.Name = "edge" })
				require.True(t, second.Ready())
				if joins {
					second.SetJoin([]string{"https://first:5971"})
				} else {
					first.SetJoin([]string{"https://second:5971"})
				}
				for range 20 {
					pause(5 * time.Second)
					err := second.Conflict()
					require.ErrorIs(t, err, ErrConflict)
					require.ErrorContains(t, err, "https://first:5971")
					require.ErrorContains(t, err, "https://second:5971")
					require.False(t, second.Ready())
					require.NoError(t, first.Conflict())
					require.True(t, first.Ready())
				}
				second.j.write(1)
				pause(time.Second)
				require.Zero(t, first.j.has("src-second"), "who is refused is not followed")
				require.Empty(t, first.Nodes())
				first.stop()
				pause(time.Minute)
				require.NoError(t, second.Conflict(), "the name of a node that is gone passes on")
				require.True(t, second.Ready())
			})
		})
	}
}

// TestThirdParty: two that do not know each other are told by one that knows both.
func TestThirdParty(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hub := w.node("hub", nil)
		w.bend("first", "second", cut)
		first := w.node("first", func(m *member) { m.self.Name = "edge" }, "hub")
		pause(time.Minute)
		second := w.node("second", func(m *member) { m.self.Name = "edge" }, "hub")
		pause(5 * time.Second)
		err := second.Conflict()
		require.ErrorIs(t, err, ErrConflict)
		require.ErrorContains(t, err, "https://first:5971")
		require.ErrorContains(t, err, "https://second:5971")
		require.NoError(t, first.Conflict())
		require.NoError(t, hub.Conflict())
		require.Equal(t, Active, hub.to("first").State)
		first.kill()
		pause(time.Minute)
		require.NoError(t, second.Conflict())
		require.Equal(t, Active, hub.to("second").State)
	})
}

// TestTheLaterOneWasThereFirst: it is let go when the earlier one comes.
func TestTheLaterOneWasThereFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hub := w.node("hub", nil)
		w.bend("first", "second", cut)
		first := w.node("first", func(m *member) { m.self.Name = "edge" })
		pause(time.Minute)
		second := w.node("second", func(m *member) { m.self.Name = "edge" }, "hub")
		pause(5 * time.Second)
		require.NoError(t, second.Conflict())
		first.SetJoin([]string{"https://hub:5971"})
		pause(time.Second)
		require.Equal(t, Lifesupport, hub.to("second").State, "let go at once")
		pause(40 * time.Second)
		require.NoError(t, first.Conflict())
		require.ErrorIs(t, second.Conflict(), ErrConflict)
		require.Equal(t, Active, hub.to("first").State)
		require.Equal(t, Lifesupport, hub.to("second").State)
	})
}

// TestCopiedDataFolder: two nodes with one identity.
func TestCopiedDataFolder(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		imposter := w.node("copy", func(m *member) {
			m.self.ID, m.self.Name, m.j = "id-b", "b", b.j.snapshot()
		}, "a")
		pause(5 * time.Second)
		err := imposter.Conflict()
		require.ErrorIs(t, err, ErrConflict)
		require.ErrorContains(t, err, "https://b:5971")
		require.ErrorContains(t, err, "https://copy:5971")
		require.False(t, imposter.Ready())
		require.NoError(t, a.Conflict())
		require.NoError(t, b.Conflict())
		imposter.SetJoin([]string{"https://b:5971"}) // itself, it might think
		pause(10 * time.Second)
		require.ErrorIs(t, imposter.Conflict(), ErrConflict)
		require.NoError(t, b.Conflict())
	})
}

// TestReplacedNode: a new node, with the name and the address of one that is
// gone, takes its place at once.
func TestReplacedNode(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		b.kill()
		b.self.ID, b.j = "id-b2", newFakeJournal("src-b2")
		b.restart()
		pause(5 * time.Second)
		require.NoError(t, b.Conflict())
		require.True(t, b.Ready())
		require.Equal(t, "id-b2", a.to("b").Node)
		require.Len(t, a.Nodes(), 1)
	})
}

func TestLaterIsTheSameForAll(t *testing.T) {
	a, b := hello{ID: "a", Started: 1}, hello{ID: "b", Started: 1}
	require.True(t, later(b, a))
	require.False(t, later(a, b))
	b.Started = 0
	require.True(t, later(a, b))
	require.False(t, later(b, a))
}
