package adminapi

import (
	"context"
	"time"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
)

// drainEvery is from one look at a store that is emptied to the next; where a
// look takes long, drainShare times as long as that.
const (
	drainEvery = time.Second
	drainShare = 10
)

// drainStore answers POST /oose/drain: the store takes no new clones from now on, and
// those that it has are made elsewhere. With wait, it tells how far that is until
// the store is safe to remove. It goes on whether anybody waits or not.
func (c *call) drainStore() error {
	var ask DrainRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	p, err := c.store(ask.Store)
	if err != nil {
		return err
	}
	return c.streamed(func(s *lineStream) (any, error) {
		if err := c.keeper.Drain(c.r.Context(), p.ID, true); err != nil {
			return nil, peerFault(p, err)
		}
		if !p.Draining {
			c.audited(audit.Entry{Action: audit.StoreDrain, Store: p.Name.String(), StoreID: p.ID})
		}
		if !c.hasTarget(p) {
			s.warn("No other store takes clones now: the draining waits for one")
		}
		return c.watchDrain(s, p, ask.Wait)
	})
}

// hasTarget tells whether a store other than this one takes clones.
func (c *call) hasTarget(p heartbeat.Peer) bool {
	for _, other := range c.registry.Peers() {
		if other.Kind == peer.Store && other.ID != p.ID && other.Active && other.Writable && other.Room && c.registry.Available(other.ID) {
			return true
		}
	}
	return false
}

// watchDrain tells how far a store is until it is safe to remove, or once.
func (c *call) watchDrain(s *lineStream, p heartbeat.Peer, wait bool) (any, error) {
	ctx := c.r.Context()
	var first repair.Drain
	begun := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		looked := time.Now()
		c.repair.Look()
		d, err := c.repair.Draining(ctx, p.ID)
		if err != nil {
			return nil, unfinished(err, 0, 1)
		}
		if i == 0 {
			first = d
		}
		line := DrainLine{Store: p.Name.String(), ID: p.ID, Drain: d, Safe: d.Safe() && c.emptied(p.ID)}
		line.estimate(first, time.Since(begun))
		if line.Safe || !wait {
			return line, nil
		}
		line.LastError = c.repair.Status().LastError
		s.send(StreamLine{Drain: &line})
		timer.Reset(max(c.every, drainShare*time.Since(looked)))
	}
}

// emptied tells whether this node has noticed that a store is emptied: until
// then its own clones seem to count.
func (c *call) emptied(store string) bool {
	p, ok := c.registry.Lookup(store)
	return !ok || p.Draining
}

// estimate adds how fast it goes, by what has been done since somebody watches.
func (l *DrainLine) estimate(first repair.Drain, elapsed time.Duration) {
	l.Of = first.Needed
	if done := first.Needed - l.Needed; done > 0 && elapsed > 0 {
		l.Rate = float64(done) / elapsed.Seconds()
		l.Remaining = int64(float64(l.Needed) / l.Rate * 1000)
	}
	if freed := first.Bytes - l.Bytes; freed > 0 && elapsed > 0 {
		l.BytesRate = int64(float64(freed) / elapsed.Seconds())
	}
}

// send sends one line at once, from whichever goroutine.
func (s *lineStream) send(line StreamLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(line)
}
