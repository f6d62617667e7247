package heartbeat

import "sync"

// departures has requests in flight learn that the peer that serves them is
// gone. Requests come here once, when they begin.
type departures struct {
	mu    sync.Mutex
	signs map[string]chan struct{} // by id: closed when the peer goes
}

// gone is the sign of who is away already.
var gone = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Gone returns a channel that is closed when a peer elsewhere stops being
// reachable: its node is found to be down, or says that the store can't be read
// any more, or takes it out of the registry. It is closed already where that is
// so. A single request that fails closes nothing, and the operator's switches let
// what is under way come to its end. For a peer of this process it is nil, which
// is never closed.
func (r *Registry) Gone(id string) <-chan struct{} {
	if r.Local(id) {
		return nil
	}
	d := &r.departures
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.signs[id]; ok {
		return c
	}
	// After this look whatever changes looks at signs, which waits for the lock.
	if p, ok := r.Lookup(id); !ok || !r.reachable(p) {
		return gone
	}
	if d.signs == nil {
		d.signs = make(map[string]chan struct{})
	}
	c := make(chan struct{})
	d.signs[id] = c
	return c
}

// look gives the sign of those who are gone.
func (d *departures) look(r *Registry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, c := range d.signs {
		if p, ok := r.Lookup(id); !ok || !r.reachable(p) {
			close(c)
			delete(d.signs, id)
		}
	}
}
