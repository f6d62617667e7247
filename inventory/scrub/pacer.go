package scrub

import "time"

const (
	// credit is how much time a pacer makes up for: timers are late by a
	// little, and without it each piece would be.
	credit = 100 * time.Millisecond
	// yield is how many times as long as a piece took the disk is left to
	// others, while there are any: a scrub has a fourth of a busy disk. A disk
	// that is slow because it is busy makes the piece take longer, and so the
	// scrub slower.
	yield = 3
)

// Pacer spreads the reading of one store's clones over time. One goroutine
// uses it.
type Pacer struct {
	next  time.Time // when what was read so far has had its time
	began time.Time // the piece that is being read
}

// Begin says that a piece is about to be read.
func (p *Pacer) Begin(now time.Time) { p.began = now }

// Wait is how long to wait after a piece of n bytes has been read, so that no
// more than rate bytes a second are; busy says that others want the disk.
func (p *Pacer) Wait(now time.Time, n int, rate int64, busy bool) time.Duration {
	if earliest := now.Add(-credit); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	wait := max(0, p.next.Sub(now))
	if busy {
		wait = max(wait, yield*now.Sub(p.began))
	}
	return wait
}

// Meter tells how many bytes a second were read lately.
type Meter struct {
	began time.Time
	bytes int64
	last  int64 // bytes a second
}

// meterTime is over how long a rate is measured.
const meterTime = 10 * time.Second

// Add counts bytes.
func (m *Meter) Add(now time.Time, n int) {
	m.turn(now)
	m.bytes += int64(n)
}

// Rate returns the bytes a second lately.
func (m *Meter) Rate(now time.Time) int64 {
	m.turn(now)
	return m.last
}

func (m *Meter) turn(now time.Time) {
	if m.began.IsZero() {
		m.began = now
		return
	}
	if passed := now.Sub(m.began); passed >= meterTime {
		m.last = int64(float64(m.bytes) / passed.Seconds())
		m.began, m.bytes = now, 0
	}
}
