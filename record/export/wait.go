package export

import (
	"context"
	"time"
)

// waits are the waits for an engine that is away, each longer than the one
// before, until patience is at its end.
type waits struct {
	patience time.Duration
	next     time.Duration
	waited   time.Duration
}

const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// wait waits once; false where it is of no use any more.
func (w *waits) wait(ctx context.Context) bool {
	if w.waited >= w.patience {
		return false
	}
	w.next = min(max(2*w.next, firstWait), longestWait)
	timer := time.NewTimer(w.next)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	w.waited += w.next
	return true
}

// reset says that the engine is back.
func (w *waits) reset() { w.next, w.waited = 0, 0 }
