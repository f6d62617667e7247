package swarm

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	conflictKept = 3 * rivalRetry   // a conflict of which nothing is heard any more is over
	liveTime     = 10 * time.Second // who asked or answered within is alive
)

// conflict is that this node has to give way, as one address told.
type conflict struct {
	err   error
	until time.Time
}

// later tells whether, of two nodes that claim to be one, a gives way: it
// started later. All nodes come to the same answer.
func later(a, b hello) bool {
	if a.Started != b.Started {
		return a.Started > b.Started
	}
	return a.ID > b.ID
}

// clash tells whether two hellos can't both be of live nodes of one cluster: one
// name for two nodes, or one identity for two (a copied data folder). A node
// that took another's place answers at the same address.
func clash(known, h hello) bool {
	same := known.Address == h.Address && h.Address != ""
	switch {
	case known.same(h):
		return false
	case known.ID == h.ID:
		return !same && known.Address != "" && h.Address != ""
	}
	return known.Name == h.Name && !same
}

// rivalry says that of two nodes the first one gives way to the second.
func rivalry(yields, stays hello) error {
	if yields.ID == stays.ID {
		return fmt.Errorf("%w: the node %s runs at %s and, from a copy of its data folder, at %s, which has to stop: it started later",
			ErrConflict, stays.Name, place(stays), place(yields))
	}
	return fmt.Errorf("%w: the name %s is that of the node at %s, the one at %s has to give way: it started later",
		ErrConflict, stays.Name, place(stays), place(yields))
}

func place(h hello) string { return cmp.Or(h.Address, "(no address)") }

// ownRival judges a hello that claims to be this node, or to have its name.
// weYield tells that it is this node that gives way.
func (s *Swarm) ownRival(peer hello) (weYield bool, err error) {
	self := s.self()
	mine := hello{ID: self.ID, Name: self.Name, Address: self.Address, Started: self.Started}
	if mine.same(peer) || peer.ID != mine.ID && peer.Name != mine.Name {
		return false, nil
	}
	if later(mine, peer) {
		return true, rivalry(mine, peer)
	}
	return false, rivalry(peer, mine)
}

// otherRival judges a hello against the other nodes that are alive. Where the
// one that is known started later, it is let go. The caller holds s.mu.
func (s *Swarm) otherRival(peer hello) error {
	for _, ses := range s.holders {
		if clash(ses.peer, peer) {
			if later(peer, ses.peer) {
				return rivalry(peer, ses.peer)
			}
			ses.end(rivalry(ses.peer, peer))
		}
	}
	for _, c := range s.callers {
		if c.live() && clash(c.peer, peer) && later(peer, c.peer) {
			return rivalry(peer, c.peer)
		}
	}
	return nil
}

// compare finds out whether the node that answered at an address conflicts
// with this one, or with another.
func (s *Swarm) compare(l *link, peer hello) error {
	if weYield, err := s.ownRival(peer); err != nil {
		if weYield {
			s.giveWay(l.address, err)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.otherRival(peer)
}

// refusedBy is what a refusal of our hello means.
func (s *Swarm) refusedBy(l *link, no *refusal) error {
	switch {
	case no.Yields != "":
		err := fmt.Errorf("%w: %s", ErrConflict, errorText(errors.New(no.refused.Error)))
		if no.Yields == callerYields {
			s.giveWay(l.address, err)
		}
		return err
	case no.status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", errForeign, no)
	}
	return no
}

// giveWay notes that this node conflicts with one that started earlier.
func (s *Swarm) giveWay(from string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conflicts[from]; !ok {
		s.log.Error("this node has to give way to another", zap.Error(err))
	}
	s.conflicts[from] = conflict{err: err, until: time.Now().Add(conflictKept)}
}

// Conflict returns an error that wraps ErrConflict and names both addresses
// while this node has to give way to another, else nil.
func (s *Swarm) Conflict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for from, c := range s.conflicts {
		if now.Before(c.until) {
			return c.err
		}
		delete(s.conflicts, from)
	}
	return nil
}
