package repair

import (
	"maps"
	"time"

	"github.com/ooseio/oose/inventory"
)

// Sight is how a store looks to this node now.
type Sight struct {
	inventory.Target
	Up       bool // it can be asked
	Suspect  bool // its disk has failed once and has not passed a test since
	Draining bool // the operator empties it
	Room     bool // it takes new clones
}

// Limits are the settings that decide what is lost.
type Limits struct {
	After    time.Duration // a store that stays away for so long is lost
	MaxShare float64       // the part of all stores that may be taken for lost without an operator's word, 0 to 1
}

// Verdict is how the stores stand.
type Verdict struct {
	Cluster *Cluster
	// Next is when a store that is down will have been away for long enough to
	// be lost; zero where there is none.
	Next time.Time
	// Held is how many stores have been away for long enough and are not taken
	// for lost, because too many are away.
	Held int
}

// Absences remembers since when stores are away. Its zero value has seen
// nothing yet: a store that is away when it is first seen is away since then.
type Absences struct {
	since map[string]time.Time // by id: of those that are away
	back  map[string]time.Time // by id: when they came back
	lost  map[string]bool      // stays so until the store is back
}

// GiveUp takes stores for lost that are away now: an operator said so. It
// counts until they are back.
func (a *Absences) GiveUp(ids ...string) {
	for _, id := range ids {
		if _, away := a.since[id]; away {
			a.lost[id] = true
		}
	}
}

// Judge tells how stores stand that look like this at a time; the times given
// must not go back. One that was away has Store.Back for Limits.After: what comes
// back may go again.
//
// Stores become lost only while not too many are away, counted whether for long
// or not: a switch that fails takes many away within seconds, and copying all
// that they hold would only add to the trouble. One store, and the stores of
// one node out of three or more, are never too many: else small clusters would
// repair nothing.
func (a *Absences) Judge(now time.Time, sights []Sight, l Limits) Verdict {
	a.look(now, sights)
	var v Verdict
	few := a.few(sights, l.MaxShare)
	stores := make([]Store, 0, len(sights))
	for _, s := range sights {
		if since, away := a.since[s.ID]; away && !s.Draining && !a.lost[s.ID] {
			due := since.Add(l.After)
			switch {
			case now.Before(due):
				if v.Next.IsZero() || due.Before(v.Next) {
					v.Next = due
				}
			case few:
				a.lost[s.ID] = true
			default:
				v.Held++
			}
		}
		back, was := a.back[s.ID]
		if was && now.Sub(back) >= l.After {
			delete(a.back, s.ID)
			was = false
		}
		stores = append(stores, Store{Target: s.Target, Standing: a.standing(s), Room: s.Room, Back: was && s.Up})
	}
	v.Cluster = NewCluster(stores)
	return v
}

// look takes note of who is away.
func (a *Absences) look(now time.Time, sights []Sight) {
	if a.since == nil {
		a.since, a.lost, a.back = map[string]time.Time{}, map[string]bool{}, map[string]time.Time{}
	}
	known := make(map[string]bool, len(sights))
	for _, s := range sights {
		known[s.ID] = true
		_, away := a.since[s.ID]
		if s.Up && away {
			a.back[s.ID] = now
			delete(a.since, s.ID)
			delete(a.lost, s.ID)
		} else if !s.Up && !away {
			a.since[s.ID] = now
		}
	}
	maps.DeleteFunc(a.back, func(id string, _ time.Time) bool { return !known[id] })
	maps.DeleteFunc(a.since, func(id string, _ time.Time) bool { return !known[id] })
	maps.DeleteFunc(a.lost, func(id string, _ bool) bool { return !known[id] })
}

// few tells whether those that are away may be taken for lost. What the
// operator empties is no sign of trouble.
func (a *Absences) few(sights []Sight, share float64) bool {
	away, nodes, all := 0, map[string]bool{}, map[string]bool{}
	for _, s := range sights {
		all[s.Node] = true
		if !s.Up && !s.Draining {
			away++
			nodes[s.Node] = true
		}
	}
	return away <= 1 || len(nodes) == 1 && len(all) >= 3 || float64(away) <= share*float64(len(sights))
}

func (a *Absences) standing(s Sight) Standing {
	_, away := a.since[s.ID]
	switch {
	case away && (s.Draining || a.lost[s.ID]):
		return Lost
	case away:
		return Down
	case s.Draining:
		return Draining
	case s.Suspect:
		return Suspect
	}
	return Good
}
