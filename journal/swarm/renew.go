package swarm

import (
	"context"
	"fmt"

	"go.uber.org/zap"
)

// renew has the journal go on as a new source where another node knows more of
// its source than it does itself: an old copy of the database was restored, and
// what is written under that source from now on, nobody would ask for.
func (s *Swarm) renew(ctx context.Context, source string, claim uint64, from string) error {
	if !s.j.Ahead(claim) {
		return nil
	}
	select {
	case s.renewing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.renewing }()
	if s.j.Source() != source || !s.j.Ahead(claim) {
		return nil // done meanwhile
	}
	s.log.Warn("another node knows more of what this node wrote than itself: an old copy of its database was restored, it goes on as a new source",
		zap.String("source", source), zap.Uint64("head", s.j.Head()), zap.Uint64("known", claim), zap.String("by", from))
	if err := s.j.Renew(ctx); err != nil {
		return fmt.Errorf("going on as a new source: %w", err)
	}
	s.mu.Lock()
	for _, c := range s.callers {
		c.acked = 0 // that was of the former source
	}
	s.changed = true
	s.saveNow()
	s.nudge()
	s.mu.Unlock()
	if s.opts.OnRenew != nil {
		s.opts.OnRenew(source)
	}
	return nil
}
