package swarm

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/journal"
)

const (
	maxServed    = 4096             // streams to others
	writeTimeout = 30 * time.Second // for a follower to take what is sent
)

// serving is a stream that is being sent.
type serving struct{ end context.CancelFunc }

// answerStream sends what a source wrote behind a revision, and what it will.
func (s *Swarm) answerStream(w http.ResponseWriter, r *http.Request, source string) {
	since, err := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "since is the revision behind which to begin")
		return
	}
	own := s.j.Source()
	if err := s.partBy(r.Context(), source, since, r.Header.Get(nodeHeader)); err != nil {
		refuse(w, http.StatusServiceUnavailable, errorText(err))
		return
	}
	if source == own && s.j.Source() != own {
		// A copy of the database was restored: nothing may be told under this source any more.
		refuse(w, http.StatusConflict, "this source's own node was set back: it goes on as a new one")
		return
	}
	if !slices.ContainsFunc(s.j.Catalogue(), func(state journal.SourceState) bool { return state.Source == source }) && source != own {
		refuse(w, http.StatusNotFound, "this node knows nothing of that source")
		return
	}
	ctx, done, ok := s.beginServing(r.Context(), r.Header.Get(nodeHeader), source)
	if !ok {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, "this node sends as many streams as it can")
		return
	}
	defer done()
	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set(serverHeader, own)
	guard := &slowGuard{w: w, rc: rc}
	defer guard.lift()
	w.WriteHeader(http.StatusOK)
	if err := guard.flush(); err != nil {
		return
	}
	if err := s.j.Stream(ctx, source, since, guard, guard.flush); err != nil && ctx.Err() == nil {
		s.log.Debug("a stream to another node ended", zap.String("source", source), zap.String("node", r.Header.Get(nodeHeader)), zap.Error(err))
	}
}

// beginServing notes a stream to a node. It replaces the one there is: the node
// that asks anew has lost that.
func (s *Swarm) beginServing(ctx context.Context, node, source string) (_ context.Context, done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served >= maxServed || s.phase != running {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.stopping, cancel)
	mine := &serving{end: cancel}
	c := s.callerOf(node)
	if c != nil {
		if former := c.streams[source]; former != nil {
			former.end()
		}
		c.streams[source] = mine
	}
	s.served++
	return ctx, func() {
		stop()
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.served--
		if c != nil && c.streams[source] == mine {
			delete(c.streams, source)
			c.contact = time.Now()
		}
	}, true
}

// slowGuard ends a response that its receiver does not take.
type slowGuard struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (g *slowGuard) Write(b []byte) (int, error) {
	_ = g.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // where the server can't, it has limits of its own
	return g.w.Write(b)
}

func (g *slowGuard) flush() error {
	_ = g.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := g.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// lift takes the deadline away: the connection may serve other requests.
func (g *slowGuard) lift() { _ = g.rc.SetWriteDeadline(time.Time{}) }
