package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/journal"
)

const (
	maxStreams = 1000          // that this node reads at a time
	stallTime  = 2 * pollEvery // a stream that brings nothing for so long while others know more is given up
	holdKept   = 2 * slowRetry // the failures of a stream are remembered so long
)

// A stream is one source being followed over one session. Swarm.mu guards it.
type stream struct {
	source  string
	session *session
	began   time.Time
	end     context.CancelFunc
	ended   bool          // by us
	done    chan struct{} // it is over
	wait    waiting
}

// hold keeps a source from being followed over a node for a while.
type hold struct {
	until    time.Time
	failures int
}

type held struct{ source, node string }

// plan has each source followed through one node: its own where it can be
// reached, else the one with the highest claim. Run alone calls it.
func (s *Swarm) plan(ctx context.Context) {
	own, claims := s.j.Source(), s.j.Claims()
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := s.active()
	for source, st := range s.streams {
		if source == own || s.holders[st.session.peer.ID] != st.session {
			st.stop()
		}
	}
	offered := make(map[string]bool)
	for _, ses := range sessions {
		for source := range ses.claims {
			offered[source] = true
		}
	}
	delete(offered, own)
	// Those come first that bring something: the number of streams has a bound,
	// and sources whose nodes are gone for good only become more.
	var rest []want
	waiting := 0
	for _, source := range slices.Sorted(maps.Keys(offered)) {
		st := s.streams[source]
		best := s.choose(sessions, source, claims[source], st)
		w := want{source, best, st}
		switch {
		case best == nil || st != nil && st.session == best && !st.ended:
		case best.source != source && best.claims[source] <= claims[source]:
			rest = append(rest, w)
		case !s.begin(ctx, w):
			waiting++
		}
	}
	s.makeRoom(waiting, claims)
	for _, w := range rest {
		if waiting == 0 {
			s.begin(ctx, w)
		}
	}
	now := time.Now()
	maps.DeleteFunc(s.holds, func(_ held, h hold) bool { return now.Sub(h.until) > holdKept })
}

// want is a source to be followed over a session, after the stream there was.
type want struct {
	source  string
	session *session
	former  *stream
}

// makeRoom ends as many streams as others wait for, of those that can be done
// without: of a source whose own node is not at the other end, and of which
// that has nothing more.
func (s *Swarm) makeRoom(waiting int, claims map[string]uint64) {
	for _, st := range s.streams {
		if st.ended {
			waiting--
		}
	}
	for source, st := range s.streams {
		if waiting > 0 && !st.ended && st.session.source != source && st.session.claims[source] <= claims[source] {
			st.stop()
			waiting--
		}
	}
}

// active returns the sessions, in the order of their nodes' ids.
func (s *Swarm) active() []*session {
	var list []*session
	for _, id := range slices.Sorted(maps.Keys(s.holders)) {
		if ses := s.holders[id]; ses.link.session == ses {
			list = append(list, ses)
		}
	}
	return list
}

// choose returns the session over which to follow a source, nil where there is
// none. ours is how far this node has it, cur the stream there is.
func (s *Swarm) choose(sessions []*session, source string, ours uint64, cur *stream) *session {
	var owner, best *session
	var ahead uint64 // others had this much before the last look
	keep := false
	for _, ses := range sessions {
		claim, ok := ses.claims[source]
		if !ok || s.isHeld(source, ses) {
			continue
		}
		if ses.source == source {
			owner = ses
		}
		if best == nil || claim > best.claims[source] {
			best = ses
		}
		ahead = max(ahead, ses.before[source])
		keep = keep || cur != nil && !cur.ended && cur.session == ses
	}
	if keep && ahead > ours && cur.wait.long() > stallTime {
		s.log.Warn("a stream brings nothing while others know more", zap.String("source", source), zap.String("from", cur.session.peer.Name))
		s.fail(cur, false)
		return s.choose(sessions, source, ours, nil)
	}
	switch {
	case owner != nil:
		return owner
	case keep && best.before[source] <= cur.session.claims[source]:
		return cur.session // the others are not ahead of it by more than a look
	}
	return best
}

func (s *Swarm) isHeld(source string, ses *session) bool {
	h, ok := s.holds[held{source, ses.peer.ID}]
	return ok && time.Now().Before(h.until)
}

// fail ends a stream and leaves its node alone for a while, with this source. A
// node that ended it in good order, as one does that takes a new configuration,
// is asked again at once.
func (s *Swarm) fail(st *stream, inOrder bool) {
	st.stop()
	key := held{st.source, st.session.peer.ID}
	h := s.holds[key]
	enough := steady
	if inOrder {
		enough = briefly
	}
	if time.Since(st.began) > enough && st.wait.long() < stallTime {
		h = hold{until: time.Now()} // it was well: at once, and then not so soon
	} else {
		h.until = time.Now().Add(backoff(h.failures))
		h.failures++
	}
	s.holds[key] = h
}

// begin follows a source over a session, after the stream there was is over.
// It reports false where there are as many streams as there may be.
func (s *Swarm) begin(ctx context.Context, w want) bool {
	former := w.former
	if former == nil && len(s.streams) >= s.opts.streams {
		return false
	}
	ctx, end := context.WithCancel(ctx)
	st := &stream{source: w.source, session: w.session, began: time.Now(), end: end, done: make(chan struct{})}
	if former != nil {
		former.stop()
	}
	s.streams[w.source] = st
	s.tasks.Go(func() {
		defer close(st.done)
		defer end()
		if former != nil {
			<-former.done
		}
		if ctx.Err() == nil {
			s.over(ctx, st, s.follow(ctx, st))
		} else {
			s.over(ctx, st, nil)
		}
	})
	return true
}

func (st *stream) stop() {
	st.ended = true
	st.end()
}

// follow reads a stream until it ends.
func (s *Swarm) follow(ctx context.Context, st *stream) error {
	s.mu.Lock()
	address, server := st.session.link.address, st.session.source
	s.mu.Unlock()
	err := s.read(ctx, st, address, server)
	if errors.Is(err, journal.ErrResume) {
		err = s.read(ctx, st, address, server)
	}
	return err
}

func (s *Swarm) read(ctx context.Context, st *stream, address, server string) error {
	return s.receive(ctx, address, st.source, server, &st.wait, func(claim uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		st.session.synced[st.source] = max(st.session.synced[st.source], claim)
		st.session.rouse()
		if !s.readiness.over {
			s.nudge()
		}
	})
}

// over takes a stream out that has ended.
func (s *Swarm) over(ctx context.Context, st *stream, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.source] == st {
		delete(s.streams, st.source)
	}
	if err == nil {
		err = io.EOF
	}
	if !st.ended && ctx.Err() == nil {
		s.fail(st, errors.Is(err, io.EOF))
		l := st.session.link
		l.err, l.errAt = errorText(fmt.Errorf("following %s: %w", st.source, err)), time.Now()
		if !errors.Is(err, errDropped) {
			s.log.Info("a stream ended", zap.String("source", st.source), zap.String("from", st.session.peer.Name), zap.Error(err))
		}
		st.session.look() // perhaps it is the node that is gone
	}
	s.nudge()
}
