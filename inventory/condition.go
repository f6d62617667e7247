package inventory

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/inventory/disk"
)

// State tells whether a store's clones can be used.
type State string

// The states of a volume.
const (
	Online  State = "online"
	Suspect State = "suspect" // readable; takes no writes until a test has passed
	Offline State = "offline" // neither read nor written
)

// Status is what an operator wants to know of a volume.
type Status struct {
	Name     string `json:"name"`
	ID       string `json:"id,omitempty"`
	Root     string `json:"root"`
	State    State  `json:"state"`
	Writable bool   `json:"writable"`
	Reason   string `json:"reason,omitempty"` // why it is not online or not writable, and what to do

	Free   int64 `json:"free"`   // bytes that may be written until the disk is full
	Total  int64 `json:"total"`  // bytes of the file system
	Used   int64 `json:"used"`   // bytes of clones, about
	Clones int64 `json:"clones"` // about

	Scanning bool        `json:"scanning"`
	Scanned  bool        `json:"scanned"` // a scan has finished since the volume came online
	LastScan *ScanResult `json:"lastScan,omitempty"`
	Scrub    ScrubStatus `json:"scrub"`
	InFlight int64       `json:"inFlight"` // requests and uploads that use the volume right now
}

// condition is how a volume's disk is doing, put together from what its
// operations and tests report. Readable and writable can be asked without a lock.
type condition struct {
	readable, writable atomic.Bool

	mu     sync.Mutex
	notify func() // called under mu after a change that can be seen
	facts
}

// facts are what a condition follows from.
type facts struct {
	offline  string    // why the root is not held, "" while it is
	hung     bool      // the disk did not answer by a deadline
	unread   string    // how a test read failed, "" where it did not
	suspect  string    // what failed, "" where nothing did
	failedAt time.Time // when that was last seen
	readOnly string    // why nothing can be written, "" where it can
	full     bool      // a write found no space
	fullFree int64     // the free space when it did
	reserve  int64
	space    disk.Space
}

// verdict is what facts come to.
type verdict struct {
	state    State
	writable bool
	reason   string
}

func (f *facts) verdict() verdict {
	switch {
	case f.offline != "":
		return verdict{Offline, false, f.offline}
	case f.hung:
		return verdict{Offline, false, errNoAnswer.Error()}
	case f.unread != "":
		return verdict{Offline, false, f.unread}
	case f.suspect != "":
		return verdict{Suspect, false, f.suspect}
	case f.readOnly != "":
		return verdict{Online, false, f.readOnly}
	case f.full:
		return verdict{Online, false, "disk full; it is written again when space returns"}
	case f.space.Free < f.reserve:
		return verdict{Online, false, fmt.Sprintf("disk full: %d bytes are free, less than the reserve of %d", f.space.Free, f.reserve)}
	}
	return verdict{Online, true, ""}
}

// enoughBack is how much space must have come back after a write found none,
// in bytes, before the disk is written again.
const enoughBack = 1 << 20

// change applies f to the facts and draws the conclusions.
func (c *condition) change(f func(*facts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.verdict()
	f(&c.facts)
	if c.full && c.space.Free >= c.reserve && c.space.Free-c.fullFree >= enoughBack {
		c.full = false
	}
	after := c.verdict()
	c.readable.Store(after.state != Offline)
	c.writable.Store(after.writable)
	if before != after && c.notify != nil {
		c.notify()
	}
}

// now returns the verdict and the space it was drawn from.
func (c *condition) now() (verdict, disk.Space) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verdict(), c.space
}

// refusal returns the error for a write that is not taken, nil where it is.
func (c *condition) refusal() error {
	if c.writable.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.verdict()
	switch {
	case v.writable:
		return nil
	case v.state == Offline:
		return fmt.Errorf("%w: %s", ErrOffline, v.reason)
	case v.state == Suspect:
		return fmt.Errorf("%w: %s", ErrSuspect, v.reason)
	case c.readOnly != "":
		return fmt.Errorf("%w: %s", ErrReadOnly, v.reason)
	}
	return fmt.Errorf("%w: %s", ErrFull, v.reason)
}
