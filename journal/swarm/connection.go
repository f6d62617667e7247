package swarm

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Direction tells who makes the requests of a connection.
type Direction string

// The directions.
const (
	Out Direction = "out" // we follow them
	In  Direction = "in"  // they follow us
)

// State is how a connection is.
type State string

// The states.
const (
	Connecting  State = "connecting"  // hello was not yet answered
	Active      State = "active"      // it answers
	Lifesupport State = "lifesupport" // it does not, and is tried again later
	Purgatory   State = "purgatory"   // it leads to ourselves, or to a node that another address leads to
)

// Connection is one connection, as an operator sees it.
type Connection struct {
	Direction Direction `json:"direction"`
	Address   string    `json:"address,omitempty"`
	Node      string    `json:"node,omitempty"`    // its id, once known
	Name      string    `json:"name,omitempty"`    // its name, once known
	Version   string    `json:"version,omitempty"` // of its program
	Source    string    `json:"source,omitempty"`  // under which it writes
	State     State     `json:"state"`
	Since     time.Time `json:"since"`             // when it got into this state
	Leaving   bool      `json:"leaving,omitempty"` // it said goodbye

	LastContact time.Time `json:"lastContact,omitzero"` // when it last answered, or asked
	LastError   string    `json:"lastError,omitempty"`
	ErrorAt     time.Time `json:"errorAt,omitzero"`
	Retry       time.Time `json:"retry,omitzero"` // when it is tried again

	Sources     []string      `json:"sources,omitempty"`     // those that go over this connection
	Lag         uint64        `json:"lag"`                   // revisions that the receiving end lacks of them, as last told
	RoundTrip   time.Duration `json:"roundTrip,omitempty"`   // of the last hello or catalogue, in nanoseconds
	ClockKnown  bool          `json:"clockKnown,omitempty"`  // its clock was measured lately
	ClockOffset time.Duration `json:"clockOffset,omitempty"` // its clock minus ours, in nanoseconds
	ClockOff    bool          `json:"clockOff,omitempty"`    // it is more than 5 s off the median of the others
}

// Connections lists the connections to and from other nodes, for an operator.
func (s *Swarm) Connections() []Connection {
	own, claims := s.j.Source(), s.j.Claims()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Connection, 0, len(s.links)+len(s.callers))
	for _, address := range slices.Sorted(maps.Keys(s.links)) {
		list = append(list, s.outward(s.links[address], claims))
	}
	for _, id := range slices.Sorted(maps.Keys(s.callers)) {
		list = append(list, s.callers[id].inward(own, s.j.Behind))
	}
	return list
}

func (s *Swarm) outward(l *link, claims map[string]uint64) Connection {
	c := Connection{
		Direction: Out, Address: l.address, Node: l.peer.ID, Name: l.peer.Name, Version: l.peer.Version, Source: l.peer.Source,
		State: l.state, Since: l.since, Leaving: l.leaving, LastContact: l.contact, LastError: l.err, ErrorAt: l.errAt,
		RoundTrip: l.roundTrip,
	}
	if l.clockKnown() {
		c.ClockKnown, c.ClockOffset, c.ClockOff = true, l.clock.offset, l.clockOff
	}
	if l.state != Active {
		c.Retry = l.retry
		return c
	}
	for source, st := range s.streams {
		if st.session != l.session || st.ended {
			continue
		}
		c.Sources = append(c.Sources, source)
		if there, here := l.session.claims[source], claims[source]; there > here {
			c.Lag += there - here
		}
	}
	slices.Sort(c.Sources)
	return c
}

func (c *caller) inward(own string, behind func(claim uint64) uint64) Connection {
	out := Connection{
		Direction: In, Address: strings.TrimSpace(c.from), Node: c.peer.ID, Name: c.peer.Name, Version: c.peer.Version, Source: c.peer.Source,
		State: Lifesupport, Since: c.since, Leaving: c.leaving, LastContact: c.contact,
	}
	if c.live() {
		out.State = Active
	}
	out.Sources = slices.Sorted(maps.Keys(c.streams))
	if _, ok := c.streams[own]; ok {
		out.Lag = behind(c.acked)
	}
	return out
}
