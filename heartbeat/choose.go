package heartbeat

import (
	"cmp"
	"slices"
)

// Location is where a node is.
type Location struct {
	Site  string
	Group string
}

// Candidate is a peer that could serve a request.
type Candidate struct {
	ID       string
	Local    bool // in this process
	Group    string
	Site     string
	InFlight int64 // requests that it is serving now
	Failing  bool  // it has just failed a request
	Last     bool  // to be asked after all that can be, however near: see Registry.Last
}

// Order returns candidates in the order in which to ask them: those that are to
// be asked last behind all others; in this process, same group, same site, other; among these the fewest requests in flight,
// then as they came. Groups are those of a site: the same name at another site
// is another group. The candidates given are not changed.
func Order(self Location, candidates []Candidate) []Candidate {
	if len(candidates) < 2 {
		return candidates
	}
	ordered := slices.Clone(candidates)
	slices.SortStableFunc(ordered, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(distance(self, a), distance(self, b)), cmp.Compare(a.InFlight, b.InFlight))
	})
	return ordered
}

// distance grows with how far a candidate is away. An unnamed site or group
// is that of nobody else.
func distance(self Location, c Candidate) int {
	sameSite := self.Site != "" && c.Site == self.Site
	switch {
	case c.Last:
		return 4
	case c.Local:
		return 0
	case sameSite && self.Group != "" && c.Group == self.Group:
		return 1
	case sameSite:
		return 2
	}
	return 3
}
