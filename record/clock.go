package record

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Time is a hybrid time: 48 bits of milliseconds since 1970 and 16 bits that
// count what happened within one. Later is greater. It is a string in JSON,
// because JSON numbers lose digits beyond 2^53.
type Time uint64

// TimeOf returns the first hybrid time of t's millisecond.
func TimeOf(t time.Time) Time { return Time(uint64(t.UnixMilli()) << 16) }

// Milli returns the milliseconds since 1970.
func (t Time) Milli() int64 { return int64(t >> 16) }

// String returns the time in decimal digits.
func (t Time) String() string { return strconv.FormatUint(uint64(t), 10) }

// MarshalText gives what String does.
func (t Time) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(t), 10), nil }

// UnmarshalText reads what MarshalText gives.
func (t *Time) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("hybrid time %.32q: %w", b, err)
	}
	*t = Time(n)
	return nil
}

// maxAhead is how far ahead of the wall clock a foreign stamp may be and still
// move this clock.
const maxAhead = time.Minute

// Clock gives hybrid times that only grow. Its methods can be called at the
// same time.
type Clock struct {
	last       atomic.Uint64
	correction atomic.Int64 // nanoseconds
	machine    func() time.Time
}

// NewClock returns a clock over the wall clock now, time.Now where it is nil.
func NewClock(now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{machine: now}
}

// Wall returns the wall clock's time, corrected by what Correct said.
func (c *Clock) Wall() time.Time { return c.machine().Add(time.Duration(c.correction.Load())) }

// Correct has the wall clock taken for d behind what it should say: nodes agree
// on the median of their clocks. Times that were given stay in the past.
func (c *Clock) Correct(d time.Duration) { c.correction.Store(int64(d)) }

// Next returns a time later than all that this clock gave or observed.
func (c *Clock) Next() Time {
	for {
		last := c.last.Load()
		next := max(uint64(TimeOf(c.Wall())), last+1)
		if c.last.CompareAndSwap(last, next) {
			return Time(next)
		}
	}
}

// Observe makes later times of this clock later than t. A stamp that is more
// than a minute ahead of the wall clock moves nothing; Observe then returns false.
func (c *Clock) Observe(t Time) bool {
	if t > TimeOf(c.Wall().Add(maxAhead)) {
		return false
	}
	c.Restore(t)
	return true
}

// Restore makes later times of this clock later than t, however far ahead t
// is: what this node itself wrote must never be overtaken by an older stamp.
func (c *Clock) Restore(t Time) {
	for {
		last := c.last.Load()
		if uint64(t) <= last || c.last.CompareAndSwap(last, uint64(t)) {
			return
		}
	}
}
