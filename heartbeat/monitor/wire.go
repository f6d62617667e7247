package monitor

import (
	"context"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/vote"
)

// Message is what one node sends another to probe it, or to tell it of votes.
type Message struct {
	From    string        `json:"from"`             // the id of the node that sends it
	Started int64         `json:"started"`          // milliseconds since 1970: its run
	Have    uint64        `json:"have,omitempty"`   // up to which version it has heard the votes that the other knows
	HaveOf  int64         `json:"haveOf,omitempty"` // ... in this run of the other
	Votes   []vote.Ballot `json:"votes,omitempty"`  // that the other has not heard from it yet
}

// Answer is what a node answers.
type Answer struct {
	Node     string                  `json:"node"`    // its id
	Started  int64                   `json:"started"` // milliseconds since 1970: its run
	Ready    bool                    `json:"ready"`   // it has caught up with the others; who has not earns no vote
	Doubting bool                    `json:"doubting,omitempty"`
	Stores   []heartbeat.StoreHealth `json:"stores,omitempty"`
	Version  uint64                  `json:"version,omitempty"` // up to which the votes lead
	Votes    []vote.Ballot           `json:"votes,omitempty"`   // that the one who asked has not heard from it yet

	// Mute is set by a Transport where the other node is well and has no votes:
	// it is of a version without, or about to end. Nothing else is told then.
	Mute bool `json:"-"`
}

// Transport carries messages to other nodes. Its methods can be called at the
// same time.
type Transport interface {
	// Probe sends a message to a node and returns its answer. It ends with ctx.
	// An error says that the node can't be reached, or is another one.
	Probe(ctx context.Context, to Node, m Message) (Answer, error)
}

// Node is a node of the cluster, as the registry has it.
type Node struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // URL at which others reach it
	Started int64  `json:"started,omitempty"` // milliseconds since 1970: the run that registered it
}

// Nodes is who is in the cluster at one time. It is never changed, and may be
// shared.
type Nodes struct {
	roster *vote.Roster
	list   []Node // by place
}

// NewNodes returns the cluster of these nodes, this one among them. Of several
// with one id the last one counts.
func NewNodes(list []Node) *Nodes {
	byID := make(map[string]Node, len(list))
	ids := make([]string, 0, len(list))
	for _, n := range list {
		byID[n.ID] = n
		ids = append(ids, n.ID)
	}
	n := &Nodes{roster: vote.NewRoster(ids)}
	n.list = make([]Node, n.roster.Len())
	for i := range n.list {
		n.list[i] = byID[n.roster.ID(i)]
	}
	return n
}

// Same tells whether these are the same nodes, in the same places.
func (n *Nodes) Same(list []Node) bool {
	if n == nil || len(list) != len(n.list) {
		return false
	}
	for _, other := range list {
		place, ok := n.roster.Place(other.ID)
		if !ok || n.list[place] != other {
			return false
		}
	}
	return true
}
