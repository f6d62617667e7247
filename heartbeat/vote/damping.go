package vote

import "time"

// Phase is how far a node that came back has come.
type Phase uint8

// The phases of coming back.
const (
	Settled Phase = iota // it is used as any other
	Trial                // one request at a time is tried with it
	Held                 // it went away again and again, and is asked only where nobody else can be
)

const (
	trialTime = 5 * time.Second
	holdMin   = 2 * time.Second
	holdMax   = time.Minute
	calmAfter = 10 * time.Minute
)

// Damping is how a node that comes back is taken into use: with trial requests
// for 5 s, and where it has been away more than once, each time within 10 min
// of the last, after a wait of 2 s that doubles up to a minute. The zero Damping
// is of a node that was never away.
type Damping struct {
	flaps  int
	last   time.Time // when it last went away or came back
	heldTo time.Time
}

// Lost says that the node went away.
func (d *Damping) Lost(now time.Time) {
	if d.flaps > 0 && now.Sub(d.last) > calmAfter {
		d.flaps = 0
	}
	d.last = now
}

// Returned says that it is back.
func (d *Damping) Returned(now time.Time) {
	d.flaps++
	d.last, d.heldTo = now, now
	if d.flaps > 1 {
		d.heldTo = now.Add(min(holdMin<<min(d.flaps-2, 10), holdMax))
	}
}

// Phase tells how far it has come.
func (d *Damping) Phase(now time.Time) Phase {
	switch {
	case d.flaps == 0:
		return Settled
	case now.Before(d.heldTo):
		return Held
	case now.Before(d.heldTo.Add(trialTime)):
		return Trial
	}
	return Settled
}

// Flaps returns how often the node was away and came back, with less than 10
// minutes of calm after each time.
func (d *Damping) Flaps(now time.Time) int {
	if now.Sub(d.last) > calmAfter {
		return 0
	}
	return d.flaps
}
