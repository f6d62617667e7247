package clones

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
)

// Peers tells who the peers are and which of them answer. *heartbeat.Registry
// is one.
type Peers interface {
	Lookup(id string) (heartbeat.Peer, bool)
	Available(id string) bool
	Reachable(id string) bool
	Begin(id string) (end func())
	InFlight(id string) int64
	Failed(id string)
	Answered(id string)
	Gone(id string) <-chan struct{}
	Last(id string) bool
	Writable(id string) bool
}

// Source gives delivery the clones of stores that are not in this process.
type Source struct {
	client *Client
	peers  Peers
	doubts sync.Map // by store: *doubts
}

var _ delivery.Elsewhere = (*Source)(nil)

// NewSource returns the stores elsewhere that the registry knows.
func NewSource(client *Client, peers Peers) *Source { return &Source{client: client, peers: peers} }

// Candidate is delivery.Elsewhere's.
func (s *Source) Candidate(store string, anyway bool) (heartbeat.Candidate, bool) {
	p, ok := s.peers.Lookup(store)
	if !ok || p.Cluster == "" || !p.Active {
		return heartbeat.Candidate{}, false
	}
	available := s.peers.Available(store)
	if !available && !anyway && !s.peers.Reachable(store) {
		return heartbeat.Candidate{}, false
	}
	last := !available || s.peers.Last(store)
	if d := s.doubtsOf(store); d != nil && d.examined() {
		last = true
	}
	return heartbeat.Candidate{ID: store, Group: p.Group, Site: p.Site, InFlight: s.peers.InFlight(store), Failing: !available, Last: last}, true
}

// Open is delivery.Elsewhere's.
func (s *Source) Open(ctx context.Context, store string, h content.Hash, offset, end int64) (io.ReadCloser, error) {
	p, ok := s.peers.Lookup(store)
	if !ok || p.Cluster == "" {
		return nil, fmt.Errorf("store %s: %w", store, inventory.ErrOffline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	gone := s.peers.Gone(store)
	if closed(gone) {
		gone = nil // it is asked nevertheless, where nobody else is left: then its stalling decides
	}
	s.client.moveOn(ctx, gone, cancel)
	served := s.peers.Begin(store)
	done := func() { served(); cancel(nil) }
	body, err := s.client.Open(ctx, p.Cluster, store, h, offset, end)
	if err != nil {
		done()
		return nil, err
	}
	return &counted{body, done}, nil
}

// closed tells whether a sign has been given.
func closed(sign <-chan struct{}) bool {
	select {
	case <-sign:
		return true
	default:
		return false
	}
}

// counted is a body that ends a request's count.
type counted struct {
	io.ReadCloser
	done func()
}

func (c *counted) Close() error {
	if c.done != nil {
		c.done()
		c.done = nil
	}
	return c.ReadCloser.Close()
}

// Failed is delivery.Elsewhere's. A store that says that it has no such clone
// does answer as it should: the record is wrong.
func (s *Source) Failed(store string, err error) {
	if !answers(err) {
		s.peers.Failed(store)
	}
}

// answers tells whether an error is that of a store which answers as it should.
func answers(err error) bool {
	for _, wrong := range []error{nil, inventory.ErrNotExist, inventory.ErrChanged, inventory.ErrBlocked} {
		if errors.Is(err, wrong) {
			return true
		}
	}
	return false
}

// Answered is delivery.Elsewhere's.
func (s *Source) Answered(store string) {
	s.peers.Answered(store)
	if d := s.doubtsOf(store); d != nil {
		d.note(gave)
	}
}

// Store returns a peer's store for the uploader, and false where it is none that
// can be reached.
func (s *Source) Store(p heartbeat.Peer) (upload.Store, bool) {
	if p.Kind != peer.Store || p.Cluster == "" {
		return nil, false
	}
	group := p.Group
	if p.Site != "" && group != "" { // groups of several sites may share a name
		group = p.Site + "/" + group
	}
	readable := func() bool { return s.peers.Available(p.ID) }
	return s.client.Remote(Target{
		Target:   inventory.Target{ID: p.ID, Node: p.Node, Group: group, Free: p.Free},
		Address:  p.Cluster,
		Readable: readable,
		Writable: func() bool { return p.Active && p.Writable && p.Room && s.peers.Writable(p.ID) },
		Gone:     func() <-chan struct{} { return s.peers.Gone(p.ID) },
		Failed:   func() { s.peers.Failed(p.ID) },
		Answered: func() { s.peers.Answered(p.ID) },
	}), true
}
