package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// effect is what a fault is to come to at the other nodes.
type effect int

const (
	none   effect = iota
	noRoom        // nobody gives it new clones
	away          // nobody chooses it
)

// blow is how a fault is made, and made good again.
type blow struct {
	effect effect
	strike func(s *stage, n *Node, f fault)
	heal   func(s *stage, n *Node, f fault)
}

var blows = map[string]blow{
	"killed":    {away, func(_ *stage, n *Node, _ fault) { n.Kill() }, func(_ *stage, n *Node, _ fault) { n.Restart() }},
	"frozen":    {away, func(_ *stage, n *Node, _ fault) { n.Freeze() }, func(_ *stage, n *Node, _ fault) { n.Thaw() }},
	"cut off":   {away, func(s *stage, n *Node, _ fault) { s.net.Cut(s.place[n]) }, func(s *stage, n *Node, _ fault) { s.net.Heal(s.place[n]) }},
	"unmounted": {away, must((*media).unmount), must((*media).mount)},
	"read-only": {noRoom, must(func(m *media, n *Node) error { return m.remount(n, "ro") }), must(func(m *media, n *Node) error { return m.remount(n, "rw") })},
	"full":      {noRoom, must((*media).fill), must((*media).makeRoom)},
	"flipped":   {none, flip, nothing},
	"rotten":    {none, rot, nothing},
	"deleted":   {none, remove, nothing},
	"restarted": {none, func(_ *stage, n *Node, _ fault) { n.Stop(); n.Restart() }, nothing},
	"reloaded": {none, func(s *stage, n *Node, _ fault) {
		r := n.Reload(n.config)
		require.Zero(s.t, r.Code, r.Err)
	}, nothing},
	"drained": {noRoom, func(s *stage, n *Node, _ fault) {
		s.command(s.Prism1, 0, "drain", "--no-wait", s.name(n))
	}, func(s *stage, n *Node, _ fault) {
		require.Contains(s.t, s.command(s.Prism2, 0, "drain", s.name(n)), "safe to remove")
		s.command(s.Prism2, 0, "undrain", s.name(n))
	}},
}

func nothing(*stage, *Node, fault) {}

// must makes a blow of what is done to a node's medium.
func must(do func(*media, *Node) error) func(*stage, *Node, fault) {
	return func(s *stage, n *Node, _ fault) {
		s.t.Helper()
		require.NoError(s.t, do(s.media, n))
	}
}

// fill leaves no room on a node's medium.
func (m *media) fill(n *Node) error {
	f, err := os.Create(m.path(n, "filler"))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<16)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (m *media) makeRoom(n *Node) error { return os.Remove(m.path(n, "filler")) }

// flip spoils a clone as a program does that writes to the file. Viewers go on
// asking for it: who opens it sees that it is not as recorded.
func flip(s *stage, n *Node, f fault) {
	path, e := s.clone(n, f.Pick)
	require.NoError(s.t, spoil(path, false))
	s.ledger.changed(e, present, nil)
	s.t.Logf("%s: a flipped clone was found and made anew after %s", s.name(n), s.found(n, path, e))
}

// rot spoils a clone as a medium does, which tells nobody: it is found when it
// is verified. Viewers must not ask meanwhile, because nothing tells that
// what they get is wrong.
func rot(s *stage, n *Node, f fault) {
	path, e := s.clone(n, f.Pick)
	require.NoError(s.t, spoil(path, true))
	s.command(n, exitDamaged, "verify", s.name(n), "--force")
	s.ledger.changed(e, present, nil)
	s.t.Logf("%s: a rotten clone, found by verifying, was made anew after %s", s.name(n), s.found(n, path, e))
}

// remove deletes a clone's file behind the node's back.
func remove(s *stage, n *Node, f fault) {
	path, e := s.clone(n, f.Pick)
	require.NoError(s.t, os.Remove(path))
	s.ledger.changed(e, present, nil)
	s.t.Logf("%s: a deleted clone was found and made anew after %s", s.name(n), s.found(n, path, e))
}

// command runs an oose command that is to end with an exit status; what finds
// the records away, as a busy machine may have Redis, is run again. 0 stands for
// damage that was found as well.
func (s *stage) command(n *Node, code int, args ...string) (out string) {
	s.t.Helper()
	s.until("oose "+strings.Join(args, " "), func() string {
		r := n.Run(args...)
		out = r.Out
		if r.Code == code || code == 0 && r.Code == exitDamaged {
			return ""
		}
		require.Contains(s.t, r.Err, "not available now", "oose %s ended with %d: %s", strings.Join(args, " "), r.Code, r.Out)
		return r.Err
	})
	return out
}

// found waits until a content whose clone was spoilt has two sound ones again.
// Nodes find out when somebody asks for it at the store: here, by a scan.
func (s *stage) found(n *Node, path string, e *entry) time.Duration {
	s.t.Helper()
	s.command(n, 0, "scan", s.name(n))
	return s.until("two sound clones of "+e.hash, func() string {
		if !s.ledger.still(e, present) {
			return ""
		}
		sound := 0
		for _, name := range []string{"store1", "store2", "store3", "store4"} {
			at := s.Nodes[name]
			if whole(s.media.path(at, "content", e.hash[:2], e.hash[2:4], e.hash+".bin"), e) == "" {
				sound++
			}
		}
		if sound < 2 {
			return fmt.Sprintf("%d are sound", sound)
		}
		return ""
	}).Round(time.Millisecond)
}

// suffer lets a fault happen, and be over: until nobody chooses who is struck,
// during what is given, and until all nodes are well again.
func (s *stage) suffer(f fault, during func()) {
	s.t.Helper()
	n, b := s.Nodes[f.Node], blows[f.Kind]
	s.views.strike(n)
	began := time.Now()
	b.strike(s, n, f)
	if b.effect != none {
		s.until(f.Node+" is "+f.Kind+": nobody chooses it", func() string {
			chosen, room := s.look(n)
			if b.effect == away && len(chosen) > 0 || len(room) > 0 {
				return fmt.Sprintf("still chosen by %v, given clones by %v", chosen, room)
			}
			return ""
		})
		s.t.Logf("%s %s: not chosen any more after %s", f.Node, f.Kind, time.Since(began).Round(time.Millisecond))
	}
	if during != nil {
		during()
	}
	began = time.Now()
	b.heal(s, n, f)
	s.WaitKnown()
	s.t.Logf("%s %s: used again everywhere %s after it was made good", f.Node, f.Kind, time.Since(began).Round(time.Millisecond))
	s.views.heal(n)
	require.Empty(s.t, s.views.failed(), "viewers, while %s was %s", f.Node, f.Kind)
}
