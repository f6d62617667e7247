package monitor

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/heartbeat"
)

// Buckets are the upper bounds, in seconds, of the times that probes take, as
// Figures counts them.
var Buckets = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1}

// counters are what is counted without a lock.
type counters struct {
	rounds, cast, withdrawn, downs, tells, answers, votesSent atomic.Uint64

	good, bad atomic.Uint64 // probes
	nanos     atomic.Int64  // that those took that were answered
	buckets   [len(Buckets)]atomic.Uint64
}

func (c *counters) probed(took time.Duration, err error) {
	if err != nil {
		c.bad.Add(1)
		return
	}
	c.good.Add(1)
	c.nanos.Add(int64(took))
	for i, most := range Buckets {
		if took.Seconds() <= most {
			c.buckets[i].Add(1)
		}
	}
}

// Figures are what a monitor has counted since it was made.
type Figures struct {
	Rounds    uint64 `json:"rounds"`
	Probes    uint64 `json:"probes"`    // that ended
	Failed    uint64 `json:"failed"`    // of those
	Tells     uint64 `json:"tells"`     // messages beside probes
	Answers   uint64 `json:"answers"`   // to other nodes
	Cast      uint64 `json:"cast"`      // down votes
	Withdrawn uint64 `json:"withdrawn"` // down votes
	Downs     uint64 `json:"downs"`     // nodes that became unavailable
	Sent      uint64 `json:"sent"`      // votes of nodes that were sent to others

	Seconds float64              `json:"-"` // that the probes took that were answered
	Buckets [len(Buckets)]uint64 `json:"-"` // how many took at most so long
}

// Figures returns what was counted. It takes no lock.
func (m *Monitor) Figures() Figures {
	c := &m.count
	f := Figures{
		Rounds: c.rounds.Load(), Failed: c.bad.Load(), Tells: c.tells.Load(), Answers: c.answers.Load(),
		Cast: c.cast.Load(), Withdrawn: c.withdrawn.Load(), Downs: c.downs.Load(), Sent: c.votesSent.Load(),
		Seconds: time.Duration(c.nanos.Load()).Seconds(),
	}
	for i := range c.buckets {
		f.Buckets[i] = c.buckets[i].Load()
	}
	f.Probes = c.good.Load() + f.Failed
	return f
}

// NodeStatus is what this node knows of another.
type NodeStatus struct {
	Node
	Standing heartbeat.Standing      `json:"standing"`
	Watched  bool                    `json:"watched"`            // this node probes it
	Answered int64                   `json:"answered,omitempty"` // milliseconds since it last answered this node, 0: it never did
	Failures int                     `json:"failures,omitempty"` // probes in a row
	Error    string                  `json:"error,omitempty"`    // of the last probe
	Ready    bool                    `json:"ready"`              // it said so in its last answer
	Doubting bool                    `json:"doubting,omitempty"` // it said so in its last answer
	Flaps    int                     `json:"flaps,omitempty"`    // how often it was away and came back lately
	Panel    []string                `json:"panel"`              // the names of the nodes that are asked about it
	Voters   []string                `json:"voters,omitempty"`   // the names of the nodes that vote that it is down
	Stores   []heartbeat.StoreHealth `json:"stores,omitempty"`   // as it last answered
}

// Status is what a monitor knows.
type Status struct {
	Running  bool         `json:"running"`
	Doubting bool         `json:"doubting,omitempty"` // this node casts no votes
	Down     bool         `json:"down,omitempty"`     // the others take this node for down
	Voters   []string     `json:"voters,omitempty"`   // the names of those who vote so
	Votes    int          `json:"votes"`              // that are alive, of all nodes
	Nodes    []NodeStatus `json:"nodes"`              // the others, by name
	Figures  Figures      `json:"figures"`
}

// Status tells what the monitor knows now.
func (m *Monitor) Status() Status {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, available := m.nodes.roster, m.council.Available(m.nodes.roster)
	votes := m.ledger.Votes(m.runOf)
	s := Status{
		Running: m.running && !m.settings.Off, Doubting: m.doubting, Down: m.council.Down(m.opts.Self),
		Voters: m.names(votes[m.opts.Self]), Nodes: []NodeStatus{}, Figures: m.Figures(),
	}
	for _, voters := range votes {
		s.Votes += len(voters)
	}
	for id, o := range m.others {
		n := NodeStatus{
			Node: o.node, Standing: m.health.Nodes[id], Watched: slices.Contains(m.watched, id), Failures: o.series.Failures(),
			Ready: o.answer.Ready, Doubting: o.answer.Doubting, Flaps: o.damping.Flaps(now), Stores: o.answer.Stores,
			Voters: m.names(votes[id]), Panel: []string{},
		}
		if !o.answered.IsZero() {
			n.Answered = max(now.Sub(o.answered).Milliseconds(), 1)
		}
		if o.err != nil {
			n.Error = o.err.Error()
		}
		if place, ok := r.Place(id); ok {
			for _, p := range r.Panel(place, available, nil) {
				n.Panel = append(n.Panel, m.nodes.list[p].Name)
			}
		}
		s.Nodes = append(s.Nodes, n)
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return s
}

// names are the names of nodes, or their ids where they are not known. The
// caller holds m.mu.
func (m *Monitor) names(ids []string) []string {
	var list []string
	for _, id := range ids {
		if place, ok := m.nodes.roster.Place(id); ok {
			id = m.nodes.list[place].Name
		}
		list = append(list, id)
	}
	return list
}
