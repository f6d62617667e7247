package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// TestDroppingNeverLosesTheLastClones runs real volumes, each with an engine
// and a clock of its own, through any interleaving of uploads, copies, drops,
// moves, removals, blocks, crashes, rot and time, while records reach the other nodes
// late, in parts or not at all. Whenever a store drops a clone that no removal
// concerns, as many sound ones as are wanted must be left.
func TestDroppingNeverLosesTheLastClones(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"upload":    func(rt *rapid.T) { m.upload(m.any(rt)) },
			"renew":     func(rt *rapid.T) { m.renew(m.any(rt)) },
			"copy from": func(rt *rapid.T) { m.beginCopy(m.any(rt)) },
			"copy to":   func(rt *rapid.T) { m.endCopy(m.any(rt)) },
			"begin":     func(rt *rapid.T) { m.begin(m.any(rt), false) },
			"move":      func(rt *rapid.T) { m.begin(m.any(rt), true) },
			"give up":   func(rt *rapid.T) { m.nodes[m.any(rt)].stopAsking() },
			"ask":       func(rt *rapid.T) { m.ask(m.any(rt), m.any(rt)) },
			"ask more":  func(rt *rapid.T) { m.ask(m.any(rt), m.any(rt)) },
			"finish":    func(rt *rapid.T) { m.finish(rt, m.any(rt), false) },
			"cut off":   func(rt *rapid.T) { m.finish(rt, m.any(rt), true) },
			"drop":      func(rt *rapid.T) { m.dropNow(rt, m.any(rt), rapid.Bool().Draw(rt, "moved")) },
			"drop late": func(rt *rapid.T) { m.dropLate(rt, m.any(rt), m.any(rt), rapid.Bool().Draw(rt, "moved")) },
			"cross":     func(rt *rapid.T) { m.cross(rt, m.any(rt), m.any(rt)) },
			"remove":    func(rt *rapid.T) { m.remove(m.any(rt)) },
			"block":     func(rt *rapid.T) { m.block(m.any(rt), rapid.Bool().Draw(rt, "blocked")) },
			"obey":      func(rt *rapid.T) { m.obey(m.any(rt)) },
			"deliver":   func(rt *rapid.T) { m.deliver(m.any(rt), m.any(rt), rapid.IntRange(1, 4).Draw(rt, "records")) },
			"crash":     func(rt *rapid.T) { m.crash(m.any(rt)) },
			"rot":       func(rt *rapid.T) { m.rot(m.any(rt)) },
			"time": func(rt *rapid.T) {
				m.wall.ahead += time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute
			},
		})
	})
}

// model is a cluster around one content.
type model struct {
	t      testing.TB
	dir    string
	wanted int
	data   []byte
	hash   content.Hash
	wall   turned
	nodes  []*modelNode
	copies []record.Time // kept times of clones that are being copied
}

type modelNode struct {
	*bench
	faults  faults
	said    []record.Record // what its engine wrote
	heard   map[int]int     // by node: how much of what that said
	asking  bool            // it wants to drop
	handsOn func()          // ends that promises are handed on, nil where they are not
	seen    Clone
	got     map[int]bool // who promised
	doubted bool         // its clone is not sound, and was not when it last promised
}

func newModel(t testing.TB, rt *rapid.T) *model {
	dir, err := os.MkdirTemp("", "oose-model")
	require.NoError(t, err)
	m := &model{t: t, dir: dir, wanted: rapid.IntRange(1, 2).Draw(rt, "wanted"), data: []byte("what must not be lost")}
	m.hash = hashOf(t, content.SHA1, m.data)
	for i := range rapid.IntRange(3, 4).Draw(rt, "stores") {
		clock := record.NewClock(m.wall.now)
		n := &modelNode{heard: map[int]int{}}
		engine := recordtest.NewMemoryOf(fmt.Sprint("node", i), clock)
		for _, topic := range record.Topics() {
			engine.Watch(topic, func(records []record.Record) {
				for _, r := range records {
					if r.Source == engine.Source() {
						n.said = append(n.said, r)
					}
				}
			})
		}
		n.bench = &bench{t: t, engine: engine, clock: clock, index: NewIndex(engine, clock, 10)}
		n.cfg = VolumeConfig{Name: fmt.Sprint("om", i), Root: filepath.Join(dir, fmt.Sprint("om", i)), tuning: quick(), hook: n.faults.hook}
		n.openQuietly()
		m.nodes = append(m.nodes, n)
		m.upload(i)
	}
	return m
}

func (n *modelNode) openQuietly() {
	v, err := OpenVolume(n.cfg, n.engine, n.clock, zap.NewNop())
	require.NoError(n.t, err)
	n.Volume = v
}

func (m *model) close() {
	for _, n := range m.nodes {
		require.NoError(m.t, n.Close())
		n.index.Close()
	}
	require.NoError(m.t, os.RemoveAll(m.dir))
}

func (m *model) any(rt *rapid.T) int { return rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "store") }

func (m *model) ctx() context.Context { return context.Background() }

// upload is an upload of the content to one store.
func (m *model) upload(i int) {
	n := m.nodes[i]
	had, have := n.own(m.hash)
	c, err := n.Put(m.ctx(), m.hash, "txt", bytes.NewReader(m.data), int64(len(m.data)))
	if errors.Is(err, ErrBlocked) {
		return
	}
	require.NoError(m.t, err)
	if !have || had.Mtime != c.Mtime {
		n.doubted = false // it is another file
	}
}

func (m *model) renew(i int) {
	_, _, err := m.nodes[i].Renew(m.ctx(), m.hash)
	if err != nil {
		require.ErrorIs(m.t, err, ErrBlocked)
	}
}

// beginCopy is that a node reads a clone of its own, to copy it.
func (m *model) beginCopy(i int) {
	if c, ok, err := m.nodes[i].Has(m.ctx(), m.hash); err == nil && ok && m.sound(i) {
		m.copies = append(m.copies, c.Kept)
	}
}

// endCopy is that the oldest copy under way has reached a store.
func (m *model) endCopy(i int) {
	if len(m.copies) == 0 {
		return
	}
	kept, n := m.copies[0], m.nodes[i]
	m.copies = m.copies[1:]
	had, have := n.own(m.hash)
	temp, err := n.Create(m.ctx(), int64(len(m.data)))
	require.NoError(m.t, err)
	_, err = temp.Write(m.data)
	require.NoError(m.t, err)
	c, err := temp.CommitCopy(m.ctx(), m.hash, "txt", kept)
	if err != nil {
		require.True(m.t, errors.Is(err, ErrRemoved) || errors.Is(err, ErrBlocked), "%v", err)
	} else if !have || had.Mtime != c.Mtime {
		n.doubted = false
	}
}

// begin is that a store wants to drop its clone, whatever the others hold; with
// move also where it has promised to keep it.
func (m *model) begin(i int, move bool) {
	n := m.nodes[i]
	n.stopAsking()
	if move {
		n.handsOn = n.HandOn(m.hash)
	}
	c, ok, err := n.Has(m.ctx(), m.hash)
	require.NoError(m.t, err)
	if ok && (move || !n.Promising(c)) {
		n.asking, n.seen, n.got = true, c, map[int]bool{}
	}
}

// stopAsking is that a store wants to drop no more.
func (n *modelNode) stopAsking() {
	if n.asking = false; n.handsOn != nil {
		n.handsOn()
		n.handsOn = nil
	}
}

// ask is that a store that wants to drop asks another one.
func (m *model) ask(i, j int) {
	n := m.nodes[i]
	if i == j || !n.asking {
		return
	}
	_, err := m.nodes[j].Promise(m.ctx(), m.hash, PromiseOptions{Kept: n.seen.Kept})
	switch {
	case err == nil:
		n.got[j] = true
		m.nodes[j].doubted = !m.sound(j)
	case errors.Is(err, ErrNotExist), errors.Is(err, ErrMismatch), errors.Is(err, ErrBlocked):
	default:
		require.NoError(m.t, err)
	}
}

// finish is that a store with enough promises drops; halfway, its process ends
// between the file and the record.
func (m *model) finish(rt *rapid.T, i int, halfway bool) {
	n := m.nodes[i]
	if !n.asking || len(n.got) < m.wanted {
		return
	}
	defer n.stopAsking()
	errCut := errors.New("cut off")
	if halfway {
		n.faults.fail("unrecord", errCut)
		defer n.faults.fail("unrecord", nil)
	}
	err := n.Surrender(m.ctx(), n.seen)
	switch {
	case errors.Is(err, ErrPromised), errors.Is(err, record.ErrConflict), errors.Is(err, ErrNotExist):
		return
	case halfway:
		require.ErrorIs(m.t, err, errCut)
		m.crash(i)
	default:
		require.NoError(m.t, err)
	}
	m.requireEnough(rt, i)
}

// dropNow is a drop that nothing interrupts: all are asked.
func (m *model) dropNow(rt *rapid.T, i int, move bool) {
	m.begin(i, move)
	for j := range m.nodes {
		m.ask(i, j)
	}
	m.finish(rt, i, false)
}

// dropLate is a drop that another one overtakes by hours.
func (m *model) dropLate(rt *rapid.T, i, other int, move bool) {
	m.begin(i, move)
	for j := range m.nodes {
		m.ask(i, j)
	}
	m.wall.ahead += 2 * PromiseLife
	if other != i {
		m.dropNow(rt, other, move)
	}
	m.wall.ahead += 2 * PromiseLife
	m.finish(rt, i, false)
}

// cross is that two stores are moved from at once, and ask each other, which
// they may have done before.
func (m *model) cross(rt *rapid.T, i, j int) {
	m.begin(i, true)
	m.begin(j, true)
	for _, asking := range []int{i, j} {
		for other := range m.nodes {
			m.ask(asking, other)
		}
	}
	m.finish(rt, i, false)
	m.finish(rt, j, false)
}

func (m *model) remove(i int) {
	_, err := m.nodes[i].index.Remove(m.ctx(), m.hash)
	require.NoError(m.t, err)
}

func (m *model) block(i int, yes bool) {
	value := []byte(`{"blocked":false}`)
	if yes {
		value = []byte(`{"blocked":true}`)
	}
	_, err := m.nodes[i].engine.Update(m.ctx(), record.Block, m.hash.String(), record.Condition{}, record.Change{Value: value})
	require.NoError(m.t, err)
}

func (m *model) obey(i int) { require.NoError(m.t, m.nodes[i].obey(m.ctx(), m.hash)) }

// deliver is that a node hears some of what another one said.
func (m *model) deliver(from, to, count int) {
	if from == to {
		return
	}
	said, heard := m.nodes[from].said, m.nodes[to].heard[from]
	end := min(heard+count, len(said))
	require.NoError(m.t, m.nodes[to].engine.Import(m.ctx(), said[heard:end]))
	m.nodes[to].heard[from] = end
}

// crash is that a process ends and starts again: what it was about to do is
// forgotten, and a record without a file is found.
func (m *model) crash(i int) {
	n := m.nodes[i]
	n.stopAsking()
	require.NoError(m.t, n.Close())
	n.cfg.KnownID = n.ID()
	n.openQuietly()
	n.faults.fail("unrecord", nil)
	_, err := n.Scan(m.ctx(), ScanOptions{}, nil)
	require.NoError(m.t, err)
}

// rot flips bits of a clone.
func (m *model) rot(i int) {
	n := m.nodes[i]
	c, ok := n.own(m.hash)
	if !ok || !m.sound(i) {
		return
	}
	rot(m.t, n.bench, c)
	n.doubted = c.Promised == 0
}

// own is what a store's own node has recorded of its clone.
func (n *modelNode) own(h content.Hash) (Clone, bool) {
	c, ok, err := n.lookup(context.Background(), h)
	require.NoError(n.t, err)
	return c, ok
}

// sound tells whether a store's file is what it should be.
func (m *model) sound(i int) bool {
	c, ok := m.nodes[i].own(m.hash)
	if !ok {
		return false
	}
	data, err := os.ReadFile(filepath.Join(m.nodes[i].Root(), filepath.FromSlash(disk.ClonePath(c.Hash, c.Ext, c.Deep))))
	return err == nil && bytes.Equal(data, m.data)
}

// requireEnough shows that a store that has just dropped left enough behind. A
// clone that rotted after it was promised counts: no rule of dropping helps
// against that.
func (m *model) requireEnough(rt *rapid.T, dropped int) {
	var removed record.Time
	for _, n := range m.nodes {
		at, err := removedAt(m.ctx(), n.engine, m.hash.String())
		require.NoError(m.t, err)
		removed = max(removed, at)
	}
	if m.nodes[dropped].seen.Kept <= removed {
		return
	}
	left := 0
	for i, n := range m.nodes {
		c, ok := n.own(m.hash)
		if !ok || c.Kept <= removed || n.doubted {
			continue
		}
		if _, err := os.Stat(n.path(c)); err == nil && (m.sound(i) || c.Promised > 0) {
			left++
		}
	}
	if left < m.wanted {
		rt.Fatalf("store %d has dropped its clone, and %d of %d are left", dropped, left, m.wanted)
	}
}
