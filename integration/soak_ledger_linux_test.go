//go:build soak

package integration

import (
	"slices"
	"time"
)

// revoking takes some good purchase out, unless it is the last of its content.
func (l *ledger) revoking(n uint64) (sight, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.all {
		e := l.all[(n+uint64(i))%uint64(len(l.all))]
		if e.state != present || len(e.tokens) < 2 {
			continue
		}
		e.edits++
		at := int(n % uint64(len(e.tokens)))
		s := sight{entry: e, edits: e.edits, token: e.tokens[at], body: e.body}
		e.tokens = slices.Delete(e.tokens, at, at+1)
		return s, true
	}
	return sight{}, false
}

// uploading picks a content that is there, and that nobody changes until it was
// uploaded again.
func (l *ledger) uploading(n uint64) (sight, bool) {
	s, ok := l.pick(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || s.edits != s.entry.edits {
		return sight{}, false
	}
	s.entry.again++
	return s, true
}

// uploadedAgain ends that.
func (l *ledger) uploadedAgain(s sight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.entry.again--
}

// revoked writes down that a revocation was acknowledged.
func (l *ledger) revoked(s sight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.entry.ended = append(s.entry.ended, ended{s.token, time.Now()})
}

// gone writes down that a content was removed. Of most, the body is not kept.
func (l *ledger) gone(e *entry, keep bool) {
	l.changed(e, removed, []string{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !keep {
		e.body = nil
	}
}
