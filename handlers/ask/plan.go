package ask

import (
	"slices"
	"time"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// plan is whom to ask.
type plan struct {
	topic  record.Topic
	makers []Node    // only they, and this node, may have made it
	others []Node    // they may know it, and are asked where a maker can't tell
	before time.Time // when it was made at the latest; zero: not known
}

// clockSlack is how far a maker's clock may be behind when a day begins.
const clockSlack = time.Minute

// plan returns whom to ask about a subject, and false where there is nobody to
// ask: of a token that nobody here can have made, only this node is asked.
func (a *Asker) plan(s subject) (plan, bool) {
	p := plan{topic: s.topic}
	nodes := a.deps.Nodes()
	switch s.topic {
	case record.Inventory:
		p.makers = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return !n.Stores })
	case record.Purchase:
		if s.key == "" || !a.deps.Plausible(s.key) {
			return p, false
		}
		zone := s.key[:1]
		for _, n := range nodes {
			if slices.Contains(n.Zones, zone) {
				p.makers = append(p.makers, n)
			} else if len(n.Zones) > 0 {
				p.others = append(p.others, n)
			}
		}
		if day := purchase.Token(s.key).Date(); !day.IsZero() {
			p.before = day.Add(24*time.Hour + clockSlack)
		}
	default:
		p.makers = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return len(n.Zones) == 0 })
	}
	if len(p.makers) == 0 && (a.deps.Ready() || len(p.others) == 0) {
		return p, false
	}
	return p, true
}

// covered tells whether all that a maker wrote until then is known here, so that
// what is not can't have been made by it.
func (a *Asker) covered(p plan, n Node) bool {
	if p.before.IsZero() || n.Source == "" {
		return false
	}
	at, ok := a.deps.Complete(n.Source)
	return ok && at.After(p.before)
}
