package swarm

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	maxOffset   = 5 * time.Second        // beyond it, a clock is reported
	offsetStep  = 100 * time.Millisecond // a correction that changes by less is not told
	maxTrip     = 300 * time.Millisecond // a round trip that takes longer measures no clock
	measureKept = time.Minute            // one that took longer does not take a measurement's place before
	measureLost = 5 * time.Minute        // after which a clock is not known any more
)

// reading is what one call tells of another node's clock. It is half of the
// round trip off at most, so that a node which is starting, or busy, tells little.
type reading struct {
	offset time.Duration // its clock minus ours
	trip   time.Duration
	at     time.Time // zero: none
}

// measure begins a call; what it returns is to be told what the other clock showed.
func (s *Swarm) measure() func(theirs int64) reading {
	sent, began := s.opts.Now(), time.Now()
	return func(theirs int64) reading {
		trip := time.Since(began)
		return reading{time.UnixMilli(theirs).Sub(sent.Add(trip / 2)), trip, time.Now()}
	}
}

// read takes a reading of the node's clock: the shortest round trip of the last
// minute counts.
func (l *link) read(r reading) {
	l.roundTrip = r.trip
	if r.trip > maxTrip || l.clockKnown() && r.trip > l.clock.trip && time.Since(l.clock.at) < measureKept {
		return
	}
	l.clock = r
}

// clockKnown tells whether the clock at the other end was measured lately.
func (l *link) clockKnown() bool {
	return !l.clock.at.IsZero() && time.Since(l.clock.at) < measureLost
}

// compareClocks finds out whose clock is off, and by how much this one is.
// Run alone calls it.
func (s *Swarm) compareClocks() {
	correction, tell := s.judgeClocks()
	if tell && s.opts.OnOffset != nil {
		s.opts.OnOffset(correction)
	}
}

func (s *Swarm) judgeClocks() (correction time.Duration, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var measured []*link
	all := []time.Duration{0} // ours
	for _, ses := range s.active() {
		if ses.link.clockKnown() {
			measured = append(measured, ses.link)
			all = append(all, ses.link.clock.offset)
		}
	}
	if len(measured) == 0 {
		return 0, false
	}
	for i, l := range measured {
		others := slices.Delete(slices.Clone(all), i+1, i+2)
		off := far(l.clock.offset, median(others, l.clock.offset))
		if off && !l.clockOff {
			s.log.Warn("a node's clock differs from the others': set it by NTP", zap.String("name", l.peer.Name), zap.Duration("ahead", l.clock.offset))
		}
		l.clockOff = off
	}
	if len(all) < 3 {
		return 0, false // of two nobody can tell who is right
	}
	others := median(all[1:], 0)
	if off := far(0, others); off != s.clockOff {
		s.clockOff = off
		if off {
			s.log.Warn("this node's clock differs from the others': set it by NTP", zap.Duration("ahead", -others))
		}
	}
	correction = median(all, 0)
	if d := correction - s.correction; d > -offsetStep && d < offsetStep {
		return 0, false
	}
	s.correction = correction
	return correction, true
}

func far(a, b time.Duration) bool { return a-b > maxOffset || b-a > maxOffset }

// median returns the one in the middle; of two, the one that is nearer to near:
// two against two prove nothing.
func median(list []time.Duration, near time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	low, high := sorted[(len(sorted)-1)/2], sorted[len(sorted)/2]
	if (near - low).Abs() <= (near - high).Abs() {
		return low
	}
	return high
}
