package swarm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	tick           = time.Second
	goodbyeTimeout = time.Second
)

type phase uint8

const (
	idle phase = iota
	running
	stopped
)

var errRun = errors.New("a swarm runs once")

// Run connects to the other nodes until ctx ends, then says goodbye and waits
// for all that it started and for the requests that it answers.
func (s *Swarm) Run(ctx context.Context) error {
	if !s.setPhase(idle, running) {
		return errRun
	}
	s.recall()
	inner, end := context.WithCancel(context.WithoutCancel(ctx)) // streams go on while goodbye is said
	defer end()
	s.tasks.Go(func() { s.keep(inner) })
	for ctx.Err() == nil {
		s.forgetAll()
		s.spawn(inner)
		s.plan(inner)
		s.compareClocks()
		s.judgeReady()
		s.tell()
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-time.After(tick):
		}
	}
	s.leave(inner)
	s.setPhase(running, stopped)
	s.endServing()
	end()
	s.tasks.Wait()
	s.serving.Wait()
	return nil
}

func (s *Swarm) setPhase(from, to phase) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != from {
		return false
	}
	if s.phase = to; to == running {
		s.readiness.began = time.Now()
	}
	return true
}

// spawn starts what has no goroutine yet.
func (s *Swarm) spawn(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.cancel == nil {
			var inner context.Context
			inner, l.cancel = context.WithCancel(ctx)
			s.tasks.Go(func() { s.tend(inner, l) })
		}
	}
	for _, f := range s.finders {
		if f.cancel == nil {
			var inner context.Context
			inner, f.cancel = context.WithCancel(ctx)
			s.tasks.Go(func() { s.search(inner, f) })
		}
	}
}

func (s *Swarm) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetOld()
	s.forgetCallers()
}

// leave says goodbye to all nodes that are connected, for a second at most.
func (s *Swarm) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	s.mu.Lock()
	sessions := s.active()
	s.mu.Unlock()
	mine := s.introduce()
	mine.Leaving = true
	var told sync.WaitGroup
	for _, ses := range sessions {
		told.Go(func() {
			if _, _, err := s.hello(ctx, ses.link.address, mine); err != nil {
				s.log.Debug("saying goodbye", zap.String("address", ses.link.address), zap.Error(err))
			}
		})
	}
	told.Wait()
}

// tell tells OnNode what is new of the other nodes.
func (s *Swarm) tell() {
	if s.opts.OnNode == nil {
		return
	}
	nodes := make(map[string]Node)
	for _, n := range s.Nodes() {
		nodes[n.ID] = n
		if s.told[n.ID] != n {
			s.opts.OnNode(n)
		}
	}
	for id, n := range s.told {
		if _, ok := nodes[id]; !ok && n.Reached {
			n.Reached = false
			s.opts.OnNode(n)
		}
	}
	s.told = nodes
}

// Nodes lists the other nodes that were heard of lately, in the order of their ids.
func (s *Swarm) Nodes() []Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := make(map[string]Node)
	for id, c := range s.callers {
		nodes[id] = Node{ID: id, Name: c.peer.Name, Address: c.peer.Address, Source: c.peer.Source, Version: c.peer.Version, Leaving: c.leaving}
	}
	for id, ses := range s.holders {
		n := Node{ID: id, Name: ses.peer.Name, Address: ses.peer.Address, Source: ses.source, Version: ses.peer.Version}
		if n.Reached = ses.link.session == ses; n.Address == "" {
			n.Address = ses.link.address
		}
		nodes[id] = n
	}
	list := make([]Node, 0, len(nodes))
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		list = append(list, nodes[id])
	}
	return list
}
