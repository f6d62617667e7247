package vote

import (
	"maps"
	"slices"
)

// Council knows which nodes are down by the votes there are.
type Council struct {
	down  map[string]bool
	seats map[seat]bool // votes that have counted
}

// seat is one vote.
type seat struct{ voter, about string }

// NewCouncil returns a council to which nobody is down.
func NewCouncil() *Council {
	return &Council{down: make(map[string]bool), seats: make(map[seat]bool)}
}

// Down tells whether a node is down.
func (c *Council) Down(id string) bool { return c.down[id] }

// AllDown lists the nodes that are down, in the order of their ids.
func (c *Council) AllDown() []string { return slices.Sorted(maps.Keys(c.down)) }

// rounds bounds how often verdicts are looked at again because others changed.
const rounds = 16

// Decide counts the votes, given as Ledger.Votes has them, and reports whether
// anything has changed. A node is down where more than half of its panel votes
// so. Votes count of those who are not down themselves, and are in the panel or
// were when their vote first counted: that somebody who ranks higher joins the
// panel makes nobody well.
func (c *Council) Decide(r *Roster, votes map[string][]string) (changed bool) {
	c.forget(r, votes)
	about := slices.AppendSeq(slices.Collect(maps.Keys(votes)), maps.Keys(c.down))
	slices.Sort(about)
	about = slices.Compact(about)
	available := func(place int) bool { return !c.down[r.ID(place)] }
	before := maps.Clone(c.down)
	panel := make([]int, 0, PanelSize)
	for range rounds {
		again := false
		for _, id := range about {
			target, ok := r.Place(id)
			if !ok {
				continue
			}
			panel = r.Panel(target, available, panel[:0])
			if down := c.count(r, id, votes[id], panel)*2 > len(panel); down != c.down[id] {
				again = true
				if down {
					c.down[id] = true
				} else {
					delete(c.down, id)
				}
			}
		}
		if !again {
			break
		}
	}
	return !maps.Equal(before, c.down)
}

// count tells how many votes about a node count.
func (c *Council) count(r *Roster, about string, voters []string, panel []int) int {
	n := 0
	for _, voter := range voters {
		place, ok := r.Place(voter)
		if !ok || c.down[voter] {
			continue
		}
		s := seat{voter, about}
		if slices.Contains(panel, place) {
			c.seats[s] = true
		}
		if c.seats[s] {
			n++
		}
	}
	return n
}

// forget drops what is known of votes and nodes that are no more.
func (c *Council) forget(r *Roster, votes map[string][]string) {
	maps.DeleteFunc(c.seats, func(s seat, _ bool) bool { return !slices.Contains(votes[s.about], s.voter) })
	maps.DeleteFunc(c.down, func(id string, _ bool) bool {
		_, known := r.Place(id)
		return !known
	})
}
