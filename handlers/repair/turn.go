package repair

import (
	"context"
	"time"

	"github.com/ooseio/oose/content"
)

// askDoing bounds how long another node is asked what it is doing.
const askDoing = 2 * time.Second

// isTurn tells whether a store that stands at a place among those that could
// make what is missing is to do so now: the first one at once, the second one
// when the first has done nothing for twice Limits.After, and so on. Who has much
// to do is not pushed aside: one that says that it is about to is waited for.
func (a *Agent) isTurn(ctx context.Context, h content.Hash, f *finding, turn int) bool {
	if turn == 0 {
		return true
	}
	patience := time.Duration(2*turn) * a.settings().After
	a.mu.Lock()
	since, ok := a.waiting[h]
	if !ok && len(a.waiting) < maxWaiting {
		since = time.Now()
		a.waiting[h] = since
	}
	a.mu.Unlock()
	if since.IsZero() || time.Since(since) < patience {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askDoing)
	defer cancel()
	for _, id := range f.Workers[:turn] {
		if address := a.Address(id); address != "" && a.askDoing(ctx, id, address, h) {
			a.mu.Lock()
			a.waiting[h] = time.Now()
			a.mu.Unlock()
			return false
		}
	}
	return true
}

// doing tells whether this node copies a content, or is about to.
func (a *Agent) doing(h content.Hash) bool {
	after := a.settings().After
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, busy := a.running[h]; busy {
		return true
	}
	_, failed := a.failed[h]
	return !failed && a.survey.Walking && a.counts.recently(max(2*after, time.Second))
}

// maxFailed bounds how many contents are remembered as failed.
const maxFailed = 1 << 14

// remember notes how copying a content ended.
func (a *Agent) remember(h content.Hash, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.failed, h)
		a.counts.progress()
		return
	}
	if len(a.failed) >= maxFailed {
		clear(a.failed)
	}
	a.failed[h] = time.Now()
}
