package heartbeat

import (
	"sync/atomic"
	"time"
)

const (
	// pauseMin is for how long a peer elsewhere that did not answer is not
	// chosen; each failure in a row doubles it, up to pauseMax.
	pauseMin = time.Second
	pauseMax = 30 * time.Second
)

// reach is what this node has itself seen of a peer elsewhere. It is read for
// every request, so it has no lock.
type reach struct {
	inFlight atomic.Int64
	failures atomic.Int32 // in a row
	until    atomic.Int64 // nanoseconds since 1970: not chosen before
}

func (r *Registry) reachOf(id string) *reach {
	if v, ok := r.reach.Load(id); ok {
		return v.(*reach)
	}
	v, _ := r.reach.LoadOrStore(id, new(reach))
	return v.(*reach)
}

// failing tells whether a peer elsewhere has failed so recently that it is not
// to be chosen.
func (r *Registry) failing(id string) bool {
	v, ok := r.reach.Load(id)
	if !ok {
		return false
	}
	until := v.(*reach).until.Load()
	return until != 0 && r.now().UnixNano() < until
}

// Failed says that a peer elsewhere did not answer as it should. It is not
// chosen for a second, and for twice as long, up to half a minute, after each
// further failure in a row. Failures while it is not to be chosen, of requests
// that were under way, count once.
func (r *Registry) Failed(id string) {
	p, now := r.reachOf(id), r.now()
	until := p.until.Load()
	if until > now.UnixNano() {
		return
	}
	pause := min(pauseMin<<min(p.failures.Load(), 10), pauseMax)
	if p.until.CompareAndSwap(until, now.Add(pause).UnixNano()) {
		p.failures.Add(1)
	}
}

// Answered says that a peer elsewhere answered: it can be chosen at once.
func (r *Registry) Answered(id string) {
	v, ok := r.reach.Load(id)
	if !ok {
		return
	}
	if p := v.(*reach); p.failures.Load() != 0 {
		p.failures.Store(0)
		p.until.Store(0)
	}
}

// Begin counts a request at a peer elsewhere, until end is called.
func (r *Registry) Begin(id string) (end func()) {
	p := r.reachOf(id)
	p.inFlight.Add(1)
	return func() { p.inFlight.Add(-1) }
}

// InFlight returns how many requests of this node a peer elsewhere is serving.
func (r *Registry) InFlight(id string) int64 {
	if v, ok := r.reach.Load(id); ok {
		return v.(*reach).inFlight.Load()
	}
	return 0
}
