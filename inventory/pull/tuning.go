package pull

import "time"

// tuning is a cache's bounds.
type tuning struct {
	fetches  int   // at the same time
	wanted   int   // of these, those that other nodes want
	files    int   // copies
	ahead    int64 // bytes before the fetch that a reader may always wait for
	holdBack int64 // bytes at the end that nobody gets before the digest is right
	buffer   int   // bytes that a fetch reads at once

	ready    time.Duration // for a fetch to begin, before its viewer goes elsewhere
	patience time.Duration // for a fetch to reach a reader that is before it
	stall    time.Duration // without a byte, before a reader goes elsewhere
	tries    int           // calls of a source in a row that bring nothing
	calls    int           // calls of a source for one fetch
	pause    time.Duration // before a third call in a row that brings nothing; doubles
	slowest  int64         // bytes a second, below which a fetch is given up in the end

	tick          time.Duration // between two looks at the disk
	offFor        time.Duration // after the disk failed
	refuseGone    time.Duration // after a Drop
	refuseCorrupt time.Duration // after a copy came out wrong
	touchEvery    time.Duration // between two notes of a copy's use on the disk
	askedWithin   time.Duration // for a second request to count as one

	now func() time.Time
}

func defaultTuning() *tuning {
	return &tuning{
		fetches: 16, wanted: 4, files: 1 << 20, ahead: 4 << 20, holdBack: 256 << 10, buffer: 256 << 10,
		ready: time.Second, patience: 2 * time.Second, stall: 8 * time.Second,
		tries: 4, calls: 64, pause: 100 * time.Millisecond, slowest: 64 << 10,
		tick: 10 * time.Second, offFor: time.Minute, refuseGone: 5 * time.Second, refuseCorrupt: 10 * time.Minute,
		touchEvery: 5 * time.Minute, askedWithin: time.Hour,
		now: time.Now,
	}
}
