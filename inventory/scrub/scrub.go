// Package scrub decides when a clone is read again to see whether it is still
// what it was, and how fast that goes. It touches no disk.
//
// A clone's turn follows from when it was last verified and from a number that
// its hash and its store give it: clones that came together are not read
// together, and two clones of one content not at the same time. Nothing but
// the time of the last verification is kept anywhere, so nothing is lost in a
// restart.
package scrub

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/ooseio/oose/content"
)

// The bounds of the time between two rounds.
const (
	minGap = time.Minute
	maxGap = 24 * time.Hour
)

// Gap is the longest time from the end of one round over a store's records to
// the next. What will be due within it is read in this round already.
func Gap(every time.Duration) time.Duration { return min(max(every/64, minGap), maxGap) }

// Pause is how long to wait after a round: at random, so that the stores of a
// cluster drift apart, and never longer than Gap.
func Pause(every time.Duration) time.Duration {
	gap := Gap(every)
	return gap/2 + rand.N(gap/2)
}

// firstMax is the longest wait after a start.
const firstMax = 15 * time.Minute

// First is how long to wait after a start before the first round: at random,
// so that a machine that has just started does not read all its disks at once.
func First(every time.Duration) time.Duration {
	most := min(firstMax, Gap(every))
	return most/8 + rand.N(most-most/8)
}

// aheadMax is how far in the future a verification may seem to be, by a clock
// that was wrong, before it counts as none.
const aheadMax = time.Hour

// spread is which part of the period the clones' turns are spread over.
const spread = 8

// Due is when a store's clone is to be read again, which was verified at a
// time in milliseconds since 1970, 0: never. It is at most every later than
// that, and at least seven eighths of it.
func Due(every time.Duration, store string, h content.Hash, verified int64, now time.Time) time.Time {
	at := time.UnixMilli(verified)
	if verified <= 0 || at.Sub(now) > aheadMax {
		return time.Time{}
	}
	return at.Add(every - time.Duration(share(store, h)*float64(every/spread)))
}

// share is a number from 0 to 1 that belongs to a clone.
func share(store string, h content.Hash) float64 {
	d := fnv.New64a()
	_, _ = d.Write([]byte(store)) // it can't fail
	mixed := (d.Sum64() ^ binary.BigEndian.Uint64(h.Sum())) * 0x9e3779b97f4a7c15
	return float64((mixed^mixed>>32)>>11) / (1 << 53)
}

// Order is in which order the 256 parts of the hash space are read in a round:
// another one each time, so that a round that is often interrupted still
// reaches everything.
func Order() []int { return rand.Perm(256) }
