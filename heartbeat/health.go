package heartbeat

import (
	"fmt"
	"slices"

	"github.com/ooseio/oose/peer"
)

// Standing is what the heartbeat says of a node, or of a peer by its node.
type Standing uint8

// The standings. A node that is neither Unreached nor Down is available.
const (
	Up        Standing = iota // nothing speaks against it
	Trial                     // it came back a moment ago, and gets one request at a time first
	Held                      // it came back after having been away again and again, and is asked last
	Unreached                 // this node fails to reach it, whatever others say
	Down                      // a majority of its panel fails to reach it
)

var standingNames = [...]string{"up", "trial", "held", "unreached", "down"}

// String returns the standing in one word.
func (s Standing) String() string {
	if int(s) < len(standingNames) {
		return standingNames[s]
	}
	return "unknown"
}

// MarshalText gives what String does.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (s *Standing) UnmarshalText(b []byte) error {
	i := slices.Index(standingNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("unknown standing %.20q", b)
	}
	*s = Standing(i)
	return nil
}

// Away tells whether a node is not to be asked.
func (s Standing) Away() bool { return s >= Unreached }

// StoreHealth is how a store is, as its own node answers a probe.
type StoreHealth struct {
	ID       string `json:"id"`
	Readable bool   `json:"readable"`
	Writable bool   `json:"writable"`
	Free     int64  `json:"free,omitempty"` // bytes
}

// Carried is a store at a node. Of two nodes that both speak of a store, as a
// former owner does whose copy of its root was refused, only the one counts that
// is registered with it.
type Carried struct{ Node, Store string }

// Health is what the heartbeat has found out. Once given to a registry it is
// not changed.
type Health struct {
	Nodes  map[string]Standing     // by node id; who is not in it is Up
	Stores map[Carried]StoreHealth // what the nodes that this node probes say of theirs
}

// SetHealth has the registry go by what the heartbeat has found out, instead of
// what it said before; nil: by nothing. What changes holds when it returns.
func (r *Registry) SetHealth(h *Health) {
	if h == nil {
		h = &Health{}
	}
	r.health.Store(h)
	r.departures.look(r)
}

// Standing returns what the heartbeat says of the node that carries a peer: Up,
// where it says nothing.
func (r *Registry) Standing(id string) Standing {
	p, _ := r.Lookup(id)
	return r.standingOf(p)
}

// NodeStanding returns what the heartbeat says of a node: Up, where it says
// nothing.
func (r *Registry) NodeStanding(node string) Standing { return r.health.Load().Nodes[node] }

func (r *Registry) standingOf(p Peer) Standing {
	if p.NodeID == "" {
		return Up
	}
	return r.health.Load().Nodes[p.NodeID]
}

// Last tells whether a peer elsewhere is to be asked only after others that can
// be: it came back a moment ago and is serving a trial request of this node, or
// was away again and again.
func (r *Registry) Last(id string) bool {
	switch r.Standing(id) {
	case Trial:
		return r.InFlight(id) > 0
	case Held:
		return true
	}
	return false
}

// Writable tells whether a store elsewhere takes new clones: it is available,
// its node says that there is room, and the operator does not keep them away.
func (r *Registry) Writable(id string) bool {
	p, ok := r.Lookup(id)
	if !ok || !p.Active || !p.Writable || !p.Room || !r.Available(id) {
		return false
	}
	if h, ok := r.health.Load().Stores[Carried{p.NodeID, id}]; ok && !h.Writable {
		return false
	}
	return r.standingOf(p) != Held
}

// reachable tells whether a peer elsewhere can be expected to answer, whatever
// single requests to it have come to.
func (r *Registry) reachable(p Peer) bool {
	if p.Cluster == "" || p.Kind != peer.Prism && !p.Online || r.standingOf(p).Away() {
		return false
	}
	h, ok := r.health.Load().Stores[Carried{p.NodeID, p.ID}]
	return !ok || h.Readable
}
