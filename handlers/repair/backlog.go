package repair

import (
	"sync"
	"time"

	"github.com/ooseio/oose/content"
)

// maxBacklog bounds how many contents wait to be looked at.
const maxBacklog = 4096

// backlog is contents that are to be looked at from a time on. One that is full
// forgets which, and remembers that all must be.
type backlog struct {
	wake chan struct{}

	mu       sync.Mutex
	waiting  map[content.Hash]time.Time
	overflow bool
}

func newBacklog() *backlog {
	return &backlog{wake: make(chan struct{}, 1), waiting: map[content.Hash]time.Time{}}
}

func (b *backlog) add(h content.Hash, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := time.Now().Add(wait)
	if old, ok := b.waiting[h]; ok && old.Before(at) {
		return
	}
	if len(b.waiting) >= maxBacklog {
		b.overflow = true
	} else {
		b.waiting[h] = at
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// waits tells whether a content is to be looked at later: other clones of its
// upload may still be on their way.
func (b *backlog) waits(h content.Hash, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting[h].After(now)
}

// due takes what is to be looked at now, and tells how long it is until there is
// more.
func (b *backlog) due(now time.Time) (list []content.Hash, next time.Duration, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next = time.Hour
	for h, at := range b.waiting {
		if wait := at.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		list = append(list, h)
		delete(b.waiting, h)
	}
	all, b.overflow = b.overflow, false
	return list, next, all
}
