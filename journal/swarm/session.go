package swarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	callTimeout    = 5 * time.Second
	pollEvery      = 2 * time.Second
	pollTimeout    = 3 * time.Second
	helloEvery     = 30 * time.Second
	maxPollFailure = 2 // polls that fail in a row end a connection
)

// A session is a connection while it is active: the node answered hello and
// told its catalogue. Swarm.mu guards what changes.
type session struct {
	link *link
	peer hello
	end  context.CancelCauseFunc
	poll chan struct{} // have the catalogue read now
	due  chan struct{} // there is something to acknowledge

	source string            // the node's own
	claims map[string]uint64 // its catalogue
	before map[string]uint64 // the catalogue before that
	synced map[string]uint64 // to be acknowledged
}

// visit connects to an address and returns why that ended.
func (s *Swarm) visit(ctx context.Context, l *link) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	peer, err := s.greet(ctx, l)
	if err != nil {
		return err
	}
	ses := &session{
		link: l, peer: peer, end: end, poll: make(chan struct{}, 1), due: make(chan struct{}, 1),
		source: peer.Source, synced: make(map[string]uint64),
	}
	if err := s.admit(ses); err != nil {
		return err
	}
	defer s.release(ses)
	if err := s.readCatalogue(ctx, ses, callTimeout); err != nil {
		return err
	}
	s.activate(ses)
	acked := make(chan struct{})
	go func() {
		defer close(acked)
		s.acknowledge(ctx, ses)
	}()
	err = s.keepUp(ctx, ses)
	end(err)
	<-acked
	return err
}

// greet says hello, and takes what the answer tells.
func (s *Swarm) greet(ctx context.Context, l *link) (hello, error) {
	mine := s.introduce()
	peer, clock, err := s.hello(ctx, l.address, mine)
	if err != nil {
		var no *refusal
		if errors.As(err, &no) {
			return peer, s.refusedBy(l, no)
		}
		return peer, fmt.Errorf("saying hello: %w", err)
	}
	switch {
	case peer.same(mine):
		return peer, errSelf
	case peer.Protocol != Protocol:
		return peer, fmt.Errorf("%w: it speaks version %d of the protocol, we speak %d", errForeign, peer.Protocol, Protocol)
	case peer.Domain != mine.Domain:
		return peer, fmt.Errorf("%w: its domain is %q, ours is %q", errForeign, peer.Domain, mine.Domain)
	}
	if err := s.compare(l, peer); err != nil {
		return peer, err
	}
	s.mu.Lock()
	s.changed = s.changed || l.contact.IsZero() || l.peer.ID != peer.ID || l.peer.Name != peer.Name
	if l.peer.ID != peer.ID {
		l.clock = reading{} // it is another machine's
	}
	l.contact, l.peer, l.leaving = time.Now(), peer, false
	l.read(clock)
	delete(s.conflicts, l.address)
	s.learn(peer, mine.Address)
	s.nudge()
	s.mu.Unlock()
	return peer, s.partBy(ctx, mine.Source, peer.Claim, peer.Name)
}

// admit makes a session the one connection to its node, unless there is one.
func (s *Swarm) admit(ses *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.holders[ses.peer.ID]; held != nil && held.peer.same(ses.peer) {
		return fmt.Errorf("%w, at %s", errAlias, held.link.address)
	}
	if held := s.holders[ses.peer.ID]; held != nil {
		held.end(errDropped) // it was restarted
	}
	s.holders[ses.peer.ID] = ses
	return nil
}

func (s *Swarm) activate(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := ses.link
	l.tried, l.toldBy, l.retry = true, "", time.Time{}
	s.enter(l, Active)
	l.session = ses
	s.log.Info("connected to a node", zap.String("address", l.address), zap.String("name", ses.peer.Name), zap.String("node", ses.peer.ID))
	s.nudge()
}

// release takes a session out; other addresses of its node are tried at once.
func (s *Swarm) release(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses.link.session = nil
	if s.holders[ses.peer.ID] == ses {
		delete(s.holders, ses.peer.ID)
		for _, l := range s.links {
			if l != ses.link && l.state == Purgatory && l.peer.ID == ses.peer.ID {
				s.rouse(l)
			}
		}
	}
	s.nudge()
}

// keepUp reads the catalogue every few seconds, and says hello every now and
// then, until the session ends or the node no longer answers.
func (s *Swarm) keepUp(ctx context.Context, ses *session) error {
	greeted := time.Now()
	for failures := 0; ; {
		wait := jitter(pollEvery)
		if failures > 0 {
			wait = 0
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ses.poll:
		case <-time.After(wait):
		}
		if time.Since(greeted) > helloEvery {
			peer, err := s.greet(ctx, ses.link)
			switch {
			case err == nil && !peer.same(ses.peer):
				return errDropped
			case err == nil:
				greeted = time.Now()
				s.repeat(ses, peer)
			case errors.Is(err, ErrConflict), errors.Is(err, errForeign):
				return err
			}
		}
		err := s.readCatalogue(ctx, ses, pollTimeout)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			failures = 0
		case errors.Is(err, errDropped):
			return err
		default:
			if failures++; failures >= maxPollFailure {
				return err
			}
		}
	}
}

// repeat takes what a node says of itself later on, and acknowledges once
// more: its memory of that may be gone.
func (s *Swarm) repeat(ses *session, peer hello) {
	claims := s.j.Claims()
	s.mu.Lock()
	defer s.mu.Unlock()
	ses.peer = peer
	for source, st := range s.streams {
		if st.session == ses {
			ses.synced[source] = max(ses.synced[source], claims[source])
		}
	}
	ses.rouse()
}

// readCatalogue asks a node what it has.
func (s *Swarm) readCatalogue(ctx context.Context, ses *session, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, o, clock, err := s.catalogue(ctx, ses.link.address)
	if err != nil {
		return fmt.Errorf("reading its catalogue: %w", err)
	}
	if c.Node != ses.peer.ID || c.Started != ses.peer.Started {
		return fmt.Errorf("%w: another node, or another run of it, answers there now", errDropped)
	}
	if c.Time > 0 {
		s.mu.Lock()
		ses.link.read(clock)
		s.mu.Unlock()
	}
	if err := s.part(ctx, c.Sources, ses.peer.Name); err != nil {
		return err
	}
	s.takeOffer(ses, o)
	return nil
}

// takeOffer keeps a catalogue.
func (s *Swarm) takeOffer(ses *session, o offer) {
	claims := s.j.Claims()
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses.source != o.source || ses.claims == nil {
		ses.synced[o.source] = claims[o.source] // also 0: from now on it can count on us
		ses.rouse()
	}
	s.nudge()
	ses.link.contact = time.Now()
	ses.source, ses.before, ses.claims = o.source, ses.claims, o.claims
	s.readiness.name(ses.peer.ID, o.claims)
}

// rouse has acknowledgements sent. The caller holds Swarm.mu.
func (ses *session) rouse() {
	select {
	case ses.due <- struct{}{}:
	default:
	}
}

// look has the catalogue read now.
func (ses *session) look() {
	select {
	case ses.poll <- struct{}{}:
	default:
	}
}

// acknowledge tells a node what was synced of what it sent: at once when
// nothing is under way, else together with what comes meanwhile.
func (s *Swarm) acknowledge(ctx context.Context, ses *session) {
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ses.due:
		}
		s.mu.Lock()
		claims := ses.synced
		ses.synced = make(map[string]uint64)
		s.mu.Unlock()
		if len(claims) == 0 {
			continue
		}
		if err := s.sendAcks(ctx, ses.link.address, claims); err == nil {
			failures = 0
			continue
		}
		s.mu.Lock()
		for source, claim := range claims {
			ses.synced[source] = max(ses.synced[source], claim)
		}
		ses.rouse()
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(failures)):
			failures++
		}
	}
}
