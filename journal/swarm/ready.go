package swarm

import (
	"time"

	"go.uber.org/zap"
)

// startTime is how long after its start a node waits for its peers to answer.
const startTime = 5 * time.Second

// readiness is what a node still has to hear of before it is ready. Swarm.mu
// guards it.
type readiness struct {
	began    time.Time
	targets  map[string]*target // by node
	complete bool               // it had, now or in former times, all that a peer knew
	over     bool               // ready, and complete or without anybody to be so with
}

// target is what one node knew when it first answered.
type target struct {
	heads   map[string]uint64
	reached bool
}

// name takes what a node knows when it answers for the first time. Who
// answers later holds nobody up, unless this node was never complete. A node
// that knows less of a source than it did has split it: what it had named goes
// by other names now, and nobody will ever reach it by the former ones.
func (r *readiness) name(node string, claims map[string]uint64) {
	if r.over {
		return
	}
	if t := r.targets[node]; t != nil {
		if !t.reached && lessOf(claims, t.heads) {
			t.heads = claims
		}
		return
	}
	if r.complete && time.Since(r.began) > startTime {
		return
	}
	r.targets[node] = &target{heads: claims}
}

// lessOf tells whether there is less of a source in claims than in former ones.
func lessOf(claims, former map[string]uint64) bool {
	for source, head := range former {
		if claims[source] < head {
			return true
		}
	}
	return false
}

// reach notes which nodes' heads were reached. Who knows more of our own source
// than we do tells of a source that we go on without, and still have to follow.
func (r *readiness) reach(own string, claims map[string]uint64, ahead func(claim uint64) bool) {
	for _, t := range r.targets {
		t.reached = t.reached || covers(own, claims, t.heads, ahead)
	}
}

func covers(own string, claims, heads map[string]uint64, ahead func(claim uint64) bool) bool {
	for source, head := range heads {
		if source == own && ahead(head) || source != own && claims[source] < head {
			return false
		}
	}
	return true
}

// Ready tells whether this node knows what the cluster knew when it started. A
// node that has to give way to another is not ready.
func (s *Swarm) Ready() bool { return s.ready.Load() && s.Conflict() == nil }

// judgeReady finds out whether the node is ready now. Run alone calls it.
func (s *Swarm) judgeReady() {
	own, claims := s.j.Source(), s.j.Claims()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.readiness
	if r.over {
		return
	}
	r.reach(own, claims, s.j.Ahead)
	held, reached := s.heldUp()
	if reached && !r.complete {
		r.complete, s.changed = true, true
		s.saveNow()
	}
	never := !r.complete && s.joins() && !s.alone()
	if !held && !never && !s.ready.Load() {
		s.ready.Store(true)
		s.log.Info("ready: what the other nodes knew at the start is known here", zap.Duration("after", time.Since(r.began)))
	}
	r.over = s.ready.Load() && r.complete
	if r.over {
		r.targets = nil
	}
}

// heldUp tells whether a node that answered, or still may, knows more than this
// one, and whether the heads of at least one were reached.
func (s *Swarm) heldUp() (held, reached bool) {
	r := &s.readiness
	for node, t := range r.targets {
		ses := s.holders[node]
		gone := ses == nil || ses.link.session == nil
		reached = reached || t.reached
		held = held || !t.reached && !(gone && s.silent(node))
	}
	if time.Since(r.began) >= startTime {
		return held, reached
	}
	for _, l := range s.links {
		held = held || !l.tried
	}
	for _, f := range s.finders {
		held = held || !f.asked
	}
	return held, reached
}

// silent tells whether a node that answered has not for a while.
func (s *Swarm) silent(node string) bool {
	for _, l := range s.links {
		if l.peer.ID == node && time.Since(l.contact) < startTime {
			return false
		}
	}
	return true
}

// joins tells whether this node is configured to join others.
func (s *Swarm) joins() bool { return len(s.join)+len(s.finders) > 0 }

// alone tells whether whatever this node is configured to join is itself.
func (s *Swarm) alone() bool {
	for _, f := range s.finders {
		if len(f.addresses) == 0 {
			return false
		}
	}
	for address, l := range s.links {
		if s.pinned(address) && (l.state != Purgatory || l.err != errSelf.Error()) {
			return false
		}
	}
	return true
}
