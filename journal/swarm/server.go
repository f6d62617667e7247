package swarm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	maxCallers  = 1000
	callerKept  = 10 * time.Minute // after a node was last heard of
	bodyTimeout = 10 * time.Second
)

// A caller is a node that makes requests here. Swarm.mu guards it.
type caller struct {
	peer    hello
	from    string    // where its last hello came from
	since   time.Time // when it became known, or came back
	contact time.Time
	leaving bool
	streams map[string]*serving // by source
	acked   uint64              // how far it has this node's own source
	counts  bool                // the journal counts on its acknowledgements
}

func (c *caller) live() bool {
	return !c.leaving && time.Since(c.contact) < liveTime
}

// ServeHTTP answers other nodes, whose requests were checked: the caller's id,
// or its name, is in the header OOSE-Node.
func (s *Swarm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	source, isStream := strings.CutPrefix(r.URL.Path, journalPath+"/")
	switch {
	case r.URL.Path == helloPath:
		s.only(w, r, http.MethodPost, s.answerHello)
	case r.URL.Path == journalPath && r.Method == http.MethodPost:
		s.only(w, r, http.MethodPost, s.takeAcks)
	case r.URL.Path == journalPath:
		s.only(w, r, http.MethodGet, s.answerCatalogue)
	case isStream && idText(source):
		s.only(w, r, http.MethodGet, func(w http.ResponseWriter, r *http.Request) { s.answerStream(w, r, source) })
	default:
		refuse(w, http.StatusNotFound, "this node has no such route: it may be of another version")
	}
}

// only lets requests of one method through, while Run runs.
func (s *Swarm) only(w http.ResponseWriter, r *http.Request, method string, next http.HandlerFunc) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		refuse(w, http.StatusMethodNotAllowed, "the method is "+method)
		return
	}
	if !s.enterServing() {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "this node is starting or stopping")
		return
	}
	defer s.serving.Done()
	s.heard(r.Header.Get(nodeHeader))
	next(w, r)
}

// readBody reads a request's body, in a time in which every node has sent it:
// nobody may hold Run's end up by sending slowly. The time of a body that did
// not come stays over, so that the server does not wait for the rest of it.
func readBody[T any](w http.ResponseWriter, r *http.Request, parse func(io.Reader) (T, error)) (T, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // where the server can't, it has limits of its own
	body, err := parse(r.Body)
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
	}
	return body, err
}

// enterServing lets a request in, and has Run wait for its end.
func (s *Swarm) enterServing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != running {
		return false
	}
	s.serving.Add(1)
	return true
}

// heard notes that a node asked something.
func (s *Swarm) heard(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.callerOf(node); c != nil {
		c.contact = time.Now()
	}
}

// callerOf finds a caller by the header's id or name. The caller holds s.mu.
func (s *Swarm) callerOf(node string) *caller {
	if c := s.callers[node]; c != nil || node == "" {
		return c
	}
	for _, c := range s.callers {
		if c.peer.Name == node {
			return c
		}
	}
	return nil
}

func (s *Swarm) answerHello(w http.ResponseWriter, r *http.Request) {
	peer, err := readBody(w, r, parseHello)
	self := s.self()
	signed := r.Header.Get(nodeHeader)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, errorText(err))
		return
	case peer.Protocol != Protocol:
		refuse(w, http.StatusForbidden, fmt.Sprintf("the protocol's version is %d here and %d there: run the same version of OOSE on both", Protocol, peer.Protocol))
		return
	case peer.Domain != self.Domain:
		refuse(w, http.StatusForbidden, "this is a node of the cluster "+self.Domain+", not of "+peer.Domain)
		return
	case signed != "" && signed != peer.ID && signed != peer.Name:
		refuse(w, http.StatusForbidden, "the call is signed by another node than the one that says hello")
		return
	}
	weYield, err := s.receiveHello(peer, self, r.RemoteAddr)
	switch {
	case err != nil && weYield:
		reply(w, http.StatusConflict, refused{Error: errorText(err), Yields: serverYields})
	case err != nil:
		reply(w, http.StatusConflict, refused{Error: errorText(err), Yields: callerYields})
	default:
		mine := s.introduce()
		mine.Claim = s.j.Claims()[peer.Source]
		reply(w, http.StatusOK, mine)
	}
}

// receiveHello takes what a caller says of itself. An error says that it, or
// this node, has to give way.
func (s *Swarm) receiveHello(peer hello, self Self, from string) (weYield bool, err error) {
	if peer.same(hello{ID: self.ID, Started: self.Started}) {
		return false, nil
	}
	if weYield, err := s.ownRival(peer); err != nil {
		if weYield {
			s.giveWay(cmp.Or(peer.Address, peer.ID), err)
		}
		return weYield, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer.Leaving {
		s.goodbye(peer)
		return false, nil
	}
	if err := s.otherRival(peer); err != nil {
		return false, err
	}
	s.welcome(peer, self.Address, from)
	return false, nil
}

// welcome makes a node known that said hello, and has it connected to. The
// caller holds s.mu.
func (s *Swarm) welcome(peer hello, own, from string) {
	now := time.Now()
	c := s.callers[peer.ID]
	if c == nil {
		for id, other := range s.callers { // one that it replaces
			if other.peer.Address == peer.Address && peer.Address != "" {
				s.dropCaller(id)
			}
		}
		if len(s.callers) >= maxCallers {
			return
		}
		c = &caller{since: now, streams: make(map[string]*serving)}
		s.callers[peer.ID] = c
	}
	if c.peer.Source != peer.Source && c.peer.Source != "" {
		s.discount(c) // it lost its records, and with them what it acknowledged
	}
	if !c.live() {
		c.since = now
	}
	c.peer, c.from, c.contact, c.leaving = peer, host(from), now, false
	s.learn(peer, own)
	s.connectBack(peer)
	s.nudge()
}

// connectBack has a node that said hello connected to, now.
func (s *Swarm) connectBack(peer hello) {
	if ses := s.holders[peer.ID]; ses != nil {
		if !ses.peer.same(peer) {
			ses.end(errDropped) // it was restarted
		}
		return
	}
	if peer.Address != "" {
		s.know(peer.Address, "")
	}
	for _, l := range s.links {
		if l.address == peer.Address || l.peer.ID == peer.ID {
			l.leaving = false
			if l.state == Lifesupport || l.state == Purgatory {
				s.rouse(l)
			}
		}
	}
}

// goodbye takes it that a node stops. The caller holds s.mu.
func (s *Swarm) goodbye(peer hello) {
	if c := s.callers[peer.ID]; c != nil && c.peer.same(peer) {
		c.leaving = true
		s.discount(c)
	}
	if ses := s.holders[peer.ID]; ses != nil && ses.peer.same(peer) {
		s.log.Info("a node said goodbye", zap.String("name", peer.Name))
		ses.end(errLeaving)
	}
	s.nudge()
}

func (s *Swarm) answerCatalogue(w http.ResponseWriter, _ *http.Request) {
	self := s.self()
	// The source first: what it wrote is then never above what is read next.
	c := catalogue{Node: self.ID, Started: self.Started, Source: s.j.Source()}
	c.Sources = s.j.Catalogue()
	c.Time = s.opts.Now().UnixMilli()
	reply(w, http.StatusOK, c)
}

func (s *Swarm) takeAcks(w http.ResponseWriter, r *http.Request) {
	a, err := readBody(w, r, parseAcks)
	if err != nil {
		refuse(w, http.StatusBadRequest, errorText(err))
		return
	}
	s.mu.Lock()
	known := s.acknowledger(a.Node, r) != nil
	s.mu.Unlock()
	if !known {
		refuse(w, http.StatusForbidden, "who acknowledges has to say hello first")
		return
	}
	own := s.j.Source()
	ctx, cancel := context.WithTimeout(r.Context(), bodyTimeout)
	defer cancel()
	if err := s.partBy(ctx, own, a.Claims[own], a.Node); err != nil {
		refuse(w, http.StatusServiceUnavailable, errorText(err))
		return
	}
	s.acknowledged(a, r)
	reply(w, http.StatusOK, struct{}{})
}

// acknowledger returns the caller that acknowledges, nil where it is none that
// said hello, or not the one that signed the request. The caller holds s.mu.
func (s *Swarm) acknowledger(node string, r *http.Request) *caller {
	c := s.callers[node]
	if signed := r.Header.Get(nodeHeader); c == nil || signed != "" && signed != node && signed != c.peer.Name {
		return nil
	}
	return c
}

// acknowledged counts on what a node has synced, unless it has said goodbye or
// was forgotten meanwhile: nobody would ever take that back.
func (s *Swarm) acknowledged(a acks, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.acknowledger(a.Node, r)
	if c == nil || c.leaving {
		return
	}
	c.acked, c.counts, c.contact = max(c.acked, a.Claims[s.j.Source()]), true, time.Now()
	s.j.Acknowledge(a.Node, a.Claims)
}

// discount has nobody wait for a node's acknowledgements any more. The caller
// holds s.mu.
func (s *Swarm) discount(c *caller) {
	if c.counts {
		s.j.Forget(c.peer.ID)
	}
	c.acked, c.counts = 0, false
}

// forgetCallers forgets nodes that were not heard of for long, and does not
// count on those that are silent.
func (s *Swarm) forgetCallers() {
	for id, c := range s.callers {
		if !c.live() {
			s.discount(c)
		}
		if len(c.streams) == 0 && time.Since(c.contact) > callerKept {
			s.dropCaller(id)
		}
	}
}

func (s *Swarm) dropCaller(id string) {
	for _, st := range s.callers[id].streams {
		st.end()
	}
	s.discount(s.callers[id])
	delete(s.callers, id)
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"this node can't say what it has"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a caller that is gone needs no answer
}

func refuse(w http.ResponseWriter, status int, text string) { reply(w, status, refused{Error: text}) }

// host is the host of a remote address.
func host(remote string) string {
	if h, _, err := net.SplitHostPort(remote); err == nil {
		return h
	}
	return remote
}
