package swarm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	maxLinks      = 1000      // addresses known
	maxUnseen     = 100       // of them told by one node and never reached
	forgetUnseen  = time.Hour // what never answered, and nobody names any more
	forgetSeen    = 30 * 24 * time.Hour
	purgatoryTime = 10 * time.Minute // until such an address is forgotten, or tried again
	slowRetry     = time.Minute      // of what said goodbye, or refuses us
	rivalRetry    = 5 * time.Second  // of what conflicts
	steady        = 15 * time.Second // what worked so long begins its back-off anew
	briefly       = time.Second      // the same of a stream that was ended in good order
)

// Reasons for which an address is not connected to.
var (
	errSelf    = errors.New("this is our own address")
	errAlias   = errors.New("a second address of a node that is connected")
	errLeaving = errors.New("it said goodbye")
	errForeign = errors.New("a node of another cluster")
	errDropped = errors.New("no longer wanted")
)

// A link is what is known of one address, and the connection to it. Swarm.mu
// guards all of it.
type link struct {
	address string
	toldBy  string             // the node that told of it, "": the configuration, DNS, the node itself, the file
	cancel  context.CancelFunc // ends its goroutine; nil: it has none yet
	wake    chan struct{}      // have it tried now

	state   State
	since   time.Time
	born    time.Time
	contact time.Time // when it last answered
	tried   bool      // it answered as a node does, or surely is none to wait for
	peer    hello     // what it said last
	leaving bool
	err     string
	errAt   time.Time
	retry   time.Time

	session   *session      // while it is connected
	roundTrip time.Duration // of the last hello or catalogue
	clock     reading
	clockOff  bool
}

// know makes a link of an address unless there is one. toldBy is the node that
// names it, "" where it is not hearsay. The caller holds s.mu.
func (s *Swarm) know(address, toldBy string) *link {
	if l := s.links[address]; l != nil {
		if toldBy == "" {
			l.toldBy = ""
		}
		return l
	}
	if toldBy != "" && (len(s.links) >= maxLinks || s.unseen(toldBy) >= maxUnseen) || !s.room() {
		return nil
	}
	now := time.Now()
	l := &link{address: address, toldBy: toldBy, wake: make(chan struct{}, 1), state: Connecting, since: now, born: now}
	s.links[address] = l
	s.nudge()
	return l
}

// learn makes links of the addresses that a node names, but for our own and
// those of nodes that are connected already. The caller holds s.mu.
func (s *Swarm) learn(from hello, own string) {
	known := map[string]bool{own: true}
	for _, ses := range s.holders {
		known[ses.peer.Address] = true
	}
	for _, address := range from.Peers {
		if !known[address] {
			s.know(address, from.ID)
		}
	}
}

// unseen counts the links that a node told of and that never answered.
func (s *Swarm) unseen(toldBy string) (n int) {
	for _, l := range s.links {
		if l.toldBy == toldBy && l.contact.IsZero() {
			n++
		}
	}
	return n
}

// room makes sure that one more link can be known: the one that is silent for
// the longest time goes, unless it is pinned.
func (s *Swarm) room() bool {
	if len(s.links) < maxLinks {
		return true
	}
	var oldest *link
	for _, l := range s.links {
		if l.session == nil && !s.pinned(l.address) && (oldest == nil || l.contact.Before(oldest.contact)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	s.forget(oldest)
	return true
}

// forget ends a link for good. The caller holds s.mu.
func (s *Swarm) forget(l *link) {
	if l.cancel != nil {
		l.cancel()
	}
	delete(s.links, l.address)
	delete(s.conflicts, l.address)
	if !l.contact.IsZero() {
		s.changed = true
	}
}

// forgetOld forgets what nobody names and nobody heard of for long.
func (s *Swarm) forgetOld() {
	now := time.Now()
	for _, l := range s.links {
		if l.session != nil || s.pinned(l.address) {
			continue
		}
		if l.contact.IsZero() && now.Sub(l.born) > forgetUnseen || !l.contact.IsZero() && now.Sub(l.contact) > forgetSeen ||
			l.state == Purgatory && now.Sub(l.since) > purgatoryTime {
			s.forget(l)
		}
	}
}

// tend is a link's goroutine: it connects, and tries again when that ends.
func (s *Swarm) tend(ctx context.Context, l *link) {
	for tries := 0; ; tries++ {
		began := time.Now()
		err := s.visit(ctx, l)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			tries = -1
		}
		timer := time.NewTimer(s.judge(l, err, tries))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.wake:
			timer.Stop()
			tries = -1
		case <-timer.C:
		}
	}
}

// judge says why a connection ended, and returns for how long to leave it.
func (s *Swarm) judge(l *link, err error, tries int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.nudge()
	now := time.Now()
	state, wait := Lifesupport, backoff(tries)
	var no *refusal
	switch {
	case errors.Is(err, errSelf), errors.Is(err, errAlias):
		state, wait, l.tried = Purgatory, purgatoryTime, true
	case errors.Is(err, ErrConflict):
		wait, l.tried = jitter(rivalRetry), true
	case errors.Is(err, errLeaving):
		l.leaving, wait = true, jitter(slowRetry)
	case errors.Is(err, errForeign):
		wait, l.tried = jitter(slowRetry), true
	case errors.As(err, &no) && no.status == http.StatusUnauthorized:
		l.tried = true // it will not answer us any better within the first seconds
	}
	if !errors.Is(err, ErrConflict) {
		delete(s.conflicts, l.address)
	}
	if text := errorText(err); text != l.err || l.state != state {
		s.logEnd(l, state, err)
		l.err = text
	}
	l.errAt, l.retry = now, now.Add(wait)
	s.enter(l, state)
	return wait
}

// logEnd tells what an operator wants to know: not that one address leads
// where another does, and not the same failure again and again.
func (s *Swarm) logEnd(l *link, state State, err error) {
	if state == Purgatory {
		s.log.Debug("an address is not needed", zap.String("address", l.address), zap.Error(err))
		return
	}
	s.log.Warn("not connected to a node", zap.String("address", l.address), zap.String("name", l.peer.Name), zap.Error(err))
}

// enter puts a link into a state. The caller holds s.mu.
func (s *Swarm) enter(l *link, state State) {
	if l.state != state {
		l.state, l.since = state, time.Now()
	}
}

// rouse has a link tried now. The caller holds s.mu.
func (s *Swarm) rouse(l *link) {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// backoff is how long to wait after so many failures in a row: 1 s, doubling
// to 60 s, and up to a quarter less so that nodes do not keep step. What worked
// (-1) is tried again at once.
func backoff(failures int) time.Duration {
	if failures < 0 {
		return jitter(100 * time.Millisecond)
	}
	return jitter(min(time.Second<<min(failures, 6), slowRetry))
}

func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/4+1)
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	refused
}

func (r *refusal) Error() string {
	text := r.refused.Error
	if text == "" {
		text = http.StatusText(r.status)
	}
	return fmt.Sprintf("refused with %d: %s", r.status, text)
}
