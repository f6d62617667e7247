package redisdb

import (
	"context"
	"strconv"
	"strings"
	"sync"
)

// position is the id of a stream's entry.
type position struct{ ms, seq uint64 }

// parsePosition reads an id; what is none is the beginning.
func parsePosition(id string) position {
	ms, seq, _ := strings.Cut(id, "-")
	a, err1 := strconv.ParseUint(ms, 10, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if err1 != nil || err2 != nil {
		return position{}
	}
	return position{a, b}
}

func (p position) String() string {
	return strconv.FormatUint(p.ms, 10) + "-" + strconv.FormatUint(p.seq, 10)
}

func (p position) after(o position) bool {
	return p.ms > o.ms || p.ms == o.ms && p.seq > o.seq
}

// barrier lets others wait until the follower has told of a change.
type barrier struct {
	mu      sync.Mutex
	passed  [tags]position
	waiting map[*waiter]bool
}

type waiter struct {
	tag int
	at  position
	ok  chan struct{}
}

// pass says that a tag is followed as far as at, or, after a gap, that all
// there was has been told anew.
func (b *barrier) pass(tag int, at position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed[tag] = at
	for w := range b.waiting {
		if w.tag == tag && !w.at.after(at) {
			delete(b.waiting, w)
			close(w.ok)
		}
	}
}

// wait returns when a tag is followed as far as at.
func (b *barrier) wait(ctx context.Context, tag int, at position) error {
	b.mu.Lock()
	if !at.after(b.passed[tag]) {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{tag, at, make(chan struct{})}
	if b.waiting == nil {
		b.waiting = make(map[*waiter]bool)
	}
	b.waiting[w] = true
	b.mu.Unlock()
	select {
	case <-w.ok:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting, w)
		return ctx.Err()
	}
}
