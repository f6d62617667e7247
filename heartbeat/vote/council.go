package vote

import (
	"maps"
	"slices"
)

// Council knows which nodes are down by the votes there are.
type Council struct {
	down  map[string]bool
	seats map[string][]string // by whom votes are about: the voters whose votes have counted
}

// NewCouncil returns a council to which nobody is down.
func NewCouncil() *Council {
	return &Council{down: make(map[string]bool), seats: make(map[string][]string)}
}

// Down tells whether a node is down.
func (c *Council) Down(id string) bool { return c.down[id] }

// AllDown lists the nodes that are down, in the order of their ids.
func (c *Council) AllDown() []string { return slices.Sorted(maps.Keys(c.down)) }

// Available returns a function that tells whether the node in a place of a
// roster is not down, as it is known now.
func (c *Council) Available(r *Roster) func(place int) bool {
	down := make([]bool, r.Len())
	for id := range c.down {
		if place, ok := r.Place(id); ok {
			down[place] = true
		}
	}
	return func(place int) bool { return !down[place] }
}

// rounds bounds how often verdicts are looked at again because others changed.
// Votes may go in a circle, where whoever is down takes the votes away by which
// others are: after so many rounds nodes only get well, which comes to an end.
const rounds = 16

// verdict is what is said of one node.
type verdict struct {
	id     string
	place  int
	voters []voter
}

// voter is one whose vote is alive.
type voter struct {
	id      string
	place   int
	counted bool // once; and so from then on
}

// Decide counts the votes, given as Ledger.Votes has them, and reports whether
// anything has changed. A node is down where more than half of its panel votes
// so. Votes count of those who are not down themselves, and are in the panel or
// were when their vote first counted: that somebody who ranks higher joins the
// panel makes nobody well.
func (c *Council) Decide(r *Roster, votes map[string][]string) (changed bool) {
	verdicts := c.about(r, votes)
	down := make([]bool, r.Len())
	for i := range verdicts {
		down[verdicts[i].place] = c.down[verdicts[i].id]
	}
	available := func(place int) bool { return !down[place] }
	panel := make([]int, 0, PanelSize)
	for round, again := 0, true; again; round++ {
		again = false
		for i := range verdicts {
			v := &verdicts[i]
			panel = r.Panel(v.place, available, panel[:0])
			if is := v.count(panel, available)*2 > len(panel); is != down[v.place] && (!is || round < rounds) {
				down[v.place], again = is, true
			}
		}
	}
	return c.keep(verdicts, down)
}

// about lists the nodes of the roster that something is to be decided about, in
// the order of their places: those that are down, and those that votes are about.
func (c *Council) about(r *Roster, votes map[string][]string) []verdict {
	list := make([]verdict, 0, len(votes))
	add := func(id string, voters []string) {
		place, ok := r.Place(id)
		if !ok {
			return
		}
		v := verdict{id: id, place: place, voters: make([]voter, 0, len(voters))}
		for _, by := range voters {
			if at, ok := r.Place(by); ok {
				v.voters = append(v.voters, voter{by, at, slices.Contains(c.seats[id], by)})
			}
		}
		list = append(list, v)
	}
	for id, voters := range votes {
		add(id, voters)
	}
	for id := range c.down {
		if _, ok := votes[id]; !ok {
			add(id, nil)
		}
	}
	slices.SortFunc(list, func(a, b verdict) int { return a.place - b.place })
	return list
}

// count tells how many votes count.
func (v *verdict) count(panel []int, available func(place int) bool) (n int) {
	for i := range v.voters {
		by := &v.voters[i]
		if !available(by.place) {
			continue
		}
		by.counted = by.counted || slices.Contains(panel, by.place)
		if by.counted {
			n++
		}
	}
	return n
}

// keep takes over what was decided, and forgets votes and nodes that are no more.
func (c *Council) keep(verdicts []verdict, down []bool) (changed bool) {
	before := c.down
	c.down, c.seats = make(map[string]bool), make(map[string][]string, len(verdicts))
	for _, v := range verdicts {
		if down[v.place] {
			c.down[v.id] = true
		}
		for _, by := range v.voters {
			if by.counted {
				c.seats[v.id] = append(c.seats[v.id], by.id)
			}
		}
	}
	return !maps.Equal(before, c.down)
}
