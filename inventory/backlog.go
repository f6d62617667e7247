package inventory

import (
	"sync"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// maxBacklog bounds how many hashes wait for a volume's background work.
const maxBacklog = 4096

// backlog is a set of hashes that background work is to look at. One that is
// full forgets which and remembers that all must be looked at.
type backlog struct {
	wake chan struct{} // a sign that something waits

	mu       sync.Mutex
	waiting  map[content.Hash]struct{}
	overflow bool
}

func newBacklog() *backlog {
	return &backlog{wake: make(chan struct{}, 1), waiting: map[content.Hash]struct{}{}}
}

func (b *backlog) add(h content.Hash) {
	b.wait(h)
	sign(b.wake)
}

// wait is add without a sign.
func (b *backlog) wait(h content.Hash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) >= maxBacklog {
		b.overflow = true
	} else {
		b.waiting[h] = struct{}{}
	}
}

// all has everything looked at.
func (b *backlog) all() {
	b.waitAll()
	sign(b.wake)
}

// waitAll is all without a sign.
func (b *backlog) waitAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overflow = true
}

// addRecords adds the keys of records; it is a watcher.
func (b *backlog) addRecords(records []record.Record) {
	for i := range records {
		if h, err := content.ParseHash(records[i].Key); err == nil {
			b.add(h)
		}
	}
}

// take empties the backlog. Where everything must be looked at, it says so.
func (b *backlog) take() (waiting map[content.Hash]struct{}, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting, all = b.waiting, b.overflow
	b.waiting, b.overflow = map[content.Hash]struct{}{}, false
	return waiting, all
}
