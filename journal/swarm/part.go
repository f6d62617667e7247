package swarm

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/ooseio/oose/journal"
)

// part hands the journal what another node knows. Where this node's database
// was restored from an old copy, and that shows it, the journal goes on as
// another source: what is written under the former one from then on, nobody
// would ask for.
func (s *Swarm) part(ctx context.Context, known []journal.SourceState, from string) error {
	err := s.j.Part(ctx, known)
	if err != nil {
		err = fmt.Errorf("comparing with what %s knows: %w", from, err)
	}
	own := s.j.Source() // it may have changed before Part failed
	s.mu.Lock()
	former := s.wrote
	if former == own {
		s.mu.Unlock()
		return err
	}
	s.wrote = own
	for _, c := range s.callers {
		c.acked = 0 // that was of the former source
	}
	s.changed = true
	s.saveNow()
	s.nudge()
	s.mu.Unlock()
	s.log.Warn("another node knows more of what this node wrote than itself: an old copy of its database was restored, it goes on as a new source",
		zap.String("source", own), zap.String("former", former), zap.String("by", from))
	if s.opts.OnRenew != nil {
		s.opts.OnRenew(former)
	}
	return err
}

// partBy is part for a claim on a source that came by itself.
func (s *Swarm) partBy(ctx context.Context, source string, claim uint64, from string) error {
	return s.part(ctx, []journal.SourceState{{Source: source, Claim: claim}}, from)
}
