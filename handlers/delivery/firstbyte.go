package delivery

import (
	"math"
	"sync/atomic"
	"time"
)

// FirstBytes estimates how long stores elsewhere take for their first byte, so
// that it is known when to ask a second one. It takes no lock: what is counted
// while it forgets may be lost, which an estimate bears. The zero FirstBytes is
// ready.
type FirstBytes struct {
	counts [firstByteSteps]atomic.Uint32
	total  atomic.Uint32
}

const (
	// firstByteSteps are those of a quarter of a doubling each, from 1 ms on.
	firstByteSteps = 60
	// firstByteMemory is how many answers count; then each counts half.
	firstByteMemory = 1024
	// firstByteEnough is how many answers an estimate needs.
	firstByteEnough = 20

	hedgeUnknown = 250 * time.Millisecond // where nothing is known yet
	hedgeLeast   = 50 * time.Millisecond
	hedgeMost    = time.Second
)

// Add counts an answer, or how long was waited for one that did not come.
func (f *FirstBytes) Add(took time.Duration) {
	step := 0
	if ms := float64(took) / float64(time.Millisecond); ms > 1 {
		step = min(int(math.Ceil(4*math.Log2(ms))), firstByteSteps-1)
	}
	f.counts[step].Add(1)
	if f.total.Add(1) >= firstByteMemory {
		f.halve()
	}
}

func (f *FirstBytes) halve() {
	var left uint32
	for i := range f.counts {
		n := f.counts[i].Load() / 2
		f.counts[i].Store(n)
		left += n
	}
	f.total.Store(left)
}

// Patience is how long to wait for a first byte before a second store is asked:
// as long as 95 of 100 recent answers took.
func (f *FirstBytes) Patience() time.Duration {
	var counts [firstByteSteps]uint32
	var total uint32
	for i := range counts {
		counts[i] = f.counts[i].Load()
		total += counts[i]
	}
	if total < firstByteEnough {
		return hedgeUnknown
	}
	rest := total / 20 // may have taken longer
	for i := firstByteSteps - 1; i >= 0; i-- {
		if counts[i] > rest {
			took := time.Duration(math.Exp2(float64(i)/4) * float64(time.Millisecond))
			return min(max(took, hedgeLeast), hedgeMost)
		}
		rest -= counts[i]
	}
	return hedgeUnknown
}
