package inventory

import (
	"errors"
	"time"
)

// ScrubStatus is how the scrub of a store goes. What counts up does so from the
// start of the process.
type ScrubStatus struct {
	Running  bool  `json:"running"`            // clones are being read now
	Started  int64 `json:"started,omitempty"`  // the latest round, milliseconds since 1970; 0: none yet
	Finished int64 `json:"finished,omitempty"` // the latest round that came to its end, milliseconds since 1970; 0: none yet

	Verified int64 `json:"verified"` // clones read and found right
	Bad      int64 `json:"bad"`      // clones found wrong or unreadable, now in quarantine
	Missing  int64 `json:"missing"`  // records without a file, taken back
	Errors   int64 `json:"errors"`   // clones that could not be judged, which have their turn again
	Bytes    int64 `json:"bytes"`    // read
	Rate     int64 `json:"rate"`     // bytes a second lately

	Due        int64 `json:"due"`              // clones whose turn it is, by the latest look and what was read since
	DueBytes   int64 `json:"dueBytes"`         // their size
	Unverified int64 `json:"unverified"`       // clones recorded on the operator's word and not read yet
	Oldest     int64 `json:"oldest,omitempty"` // the verification that is longest ago, by the latest look, milliseconds since 1970; 0: none
	Slow       bool  `json:"slow"`             // at the rate that is set, not all clones can be read within the period
}

// scrubStatus returns how the scrub goes.
func (v *Volume) scrubStatus() ScrubStatus {
	s := v.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.Rate = s.meter.Rate(time.Now())
	return status
}

// found takes over what a look at the records has shown.
func (s *scrubber) found(now ScrubStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Due, s.status.DueBytes, s.status.Unverified, s.status.Oldest, s.status.Slow = now.Due, now.DueBytes, now.Unverified, now.Oldest, now.Slow
}

// begin says that a round begins, and returns how things stand.
func (s *scrubber) begin(at time.Time) ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Running, s.status.Started = true, at.UnixMilli()
	return s.status
}

// end says that a round has ended, and whether it saw everything.
func (s *scrubber) end(at time.Time, whole bool) ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Running = false
	if whole {
		s.status.Finished = at.UnixMilli()
	}
	return s.status
}

func (s *scrubber) read(now time.Time, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Bytes += int64(n)
	s.meter.Add(now, n)
}

// judged counts what reading a clone, recorded as c, has come to.
func (s *scrubber) judged(c Clone, f finding, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, ErrNotExist):
		s.status.Missing++
	case err != nil:
		s.status.Errors++
		return // it is still due
	case f == wrong:
		s.status.Bad++
	default:
		s.status.Verified++
	}
	s.status.Due, s.status.DueBytes = max(0, s.status.Due-1), max(0, s.status.DueBytes-c.Size)
	if c.Verified == 0 {
		s.status.Unverified = max(0, s.status.Unverified-1)
	}
}
