package node

import (
	"fmt"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/redisdb"
)

// Problem is something that is not as it should be now, from one node's view.
// What an operator has switched (drained, inactive, read-only) is none.
type Problem struct {
	Part string `json:"part"` // node, records, store, peer, clones or audit
	Name string `json:"name,omitempty"`
	Text string `json:"text"` // what is wrong
}

// peerView is a peer as the registry has it, and whether it can be asked.
type peerView struct {
	heartbeat.Peer
	local, available bool
}

// problems puts together what is wrong by what a node knows of itself and of its
// peers. An empty list says that all is well as far as this node can tell.
func problems(s *Status, peers []peerView, ready bool, conflict error) []Problem {
	list := []Problem{}
	add := func(part, name, format string, args ...any) {
		list = append(list, Problem{part, name, fmt.Sprintf(format, args...)})
	}
	for _, f := range s.Failed {
		add("node", "", "a part of the node has ended; restart the node: %s", f)
	}
	if conflict != nil {
		add("node", "", "%v", conflict)
	} else if !ready {
		add("node", "", "this node has not caught up with the others yet")
	}
	if h := s.Heartbeat; h != nil && h.Doubting {
		add("node", "", "this node fails to reach most of the others")
	} else if h != nil && h.Down {
		add("node", "", "the others do not reach this node")
	}
	if s.Audit != nil {
		add("audit", "", "%d entries wait for the audit log: %s", s.Audit.Waiting, s.Audit.Error)
	}
	if s.Journal != nil {
		journalProblems(s.Journal, func(text string) { add("records", "", "%s", text) })
	}
	if s.Redis != nil {
		redisProblems(s.Redis, func(text string) { add("records", "", "%s", text) })
	}
	for i := range s.Stores {
		if text := storeProblem(&s.Stores[i]); text != "" {
			add("store", s.Stores[i].Name, "%s", text)
		}
	}
	for _, p := range peers {
		if text := p.problem(); text != "" {
			add("peer", p.Name.String(), "%s", text)
		}
	}
	if n := s.Repair.Missing; n > 0 {
		add("clones", "", "%d clones are missing that this node is to make, %d of contents with one good clone or none", n, s.Repair.Urgent)
	}
	if n := s.Repair.Waiting; n > 0 {
		add("clones", "", "%d contents lack clones that other nodes are to make", n)
	}
	if n := s.Repair.Held; n > 0 {
		add("clones", "", "%d stores are away for long, and too many at once to make their clones anew without being told: see `oose clones repair --now`", n)
	}
	return list
}

func journalProblems(j *journal.Stats, add func(text string)) {
	if j.Failure != "" {
		add("the journal takes no writes until a restart: " + j.Failure)
	}
	if j.Damaged {
		add("the journal's files are damaged: what is not found may have been lost")
	}
	if j.Free >= 0 && j.Free < j.Floor {
		add(fmt.Sprintf("the disk of the records is full: %d bytes are free, and nothing is written below %d", j.Free, j.Floor))
	}
}

func redisProblems(r *redisdb.Stats, add func(text string)) {
	if r.Failure != "" {
		add("Redis can't be used: " + r.Failure)
	}
	if cut, _ := behindRedis(*r); cut {
		add("Redis does not answer, or is not read to its end")
	}
	for _, w := range r.Warnings {
		add(w)
	}
}

// storeProblem is what is wrong with a store of this process, "" where nothing is.
func storeProblem(s *inventory.Status) string {
	switch {
	case s.State != inventory.Online || !s.Writable:
		text := string(s.State)
		if s.State == inventory.Online {
			text = "takes no new clones"
		}
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		return text
	case s.Scrub.Slow:
		return "not all clones can be read within `scrub { every }`: raise `scrub { bandwidth }`"
	}
	return ""
}

// problem is what is wrong with a peer elsewhere, "" where nothing is.
func (p *peerView) problem() string {
	switch {
	case p.local || !p.Active: // told by its store, or switched off
		return ""
	case p.Kind == peer.Store && !p.Online:
		return "its node says that its disk can't be read"
	case !p.available:
		return "does not answer"
	case p.Suspect:
		return "its disk has failed, and not passed a test since"
	}
	return ""
}

// peerViews are all peers, as they look to this node now.
func (n *Node) peerViews() (list []peerView) {
	for _, p := range n.Registry.Peers() {
		list = append(list, peerView{Peer: p, local: n.Registry.Local(p.ID), available: n.Registry.Available(p.ID)})
	}
	return list
}
