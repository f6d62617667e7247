package cluster

import (
	"math"
	"sync"
	"time"
)

// Calls are remembered by the minute of their own time, for as long as they
// would be let in again.
const (
	nonceShards = 16      // of 256 values of a nonce's first byte
	nonceSlot   = 60      // seconds
	nonceBound  = 1 << 17 // calls of one shard: 2 million in all, of about 40 bytes
)

// nonces is the calls that were let in. The zero value is ready.
type nonces struct{ shards [nonceShards]nonceShard }

type nonceShard struct {
	mu    sync.Mutex
	slots map[int64]map[[nonceLen]byte]struct{} // by the minute of the call's time
	count int
	floor int64 // minutes before this one were forgotten early
}

// use lets a call of this time in, once. Where there are too many, the oldest
// minute is forgotten early, and what was signed in it is refused as late: its
// node signs anew, and no call is let in twice.
func (n *nonces) use(nonce [nonceLen]byte, at, now time.Time) error {
	s := &n.shards[nonce[0]%nonceShards]
	slot := at.Unix() / nonceSlot
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot < s.floor {
		return ErrClock
	}
	if _, twice := s.slots[slot][nonce]; twice {
		return ErrReplay
	}
	if s.slots[slot] == nil { // about once a minute
		s.forget(now.Add(-window).Unix() / nonceSlot)
		if s.slots == nil {
			s.slots = make(map[int64]map[[nonceLen]byte]struct{})
		}
	}
	for s.count >= nonceBound {
		s.floor = s.oldest() + 1
		s.forget(s.floor)
		if slot < s.floor {
			return ErrClock
		}
	}
	if s.slots[slot] == nil {
		s.slots[slot] = make(map[[nonceLen]byte]struct{})
	}
	s.slots[slot][nonce] = struct{}{}
	s.count++
	return nil
}

// forget drops the minutes before floor.
func (s *nonceShard) forget(floor int64) {
	for slot, calls := range s.slots {
		if slot < floor {
			s.count -= len(calls)
			delete(s.slots, slot)
		}
	}
}

func (s *nonceShard) oldest() int64 {
	oldest := int64(math.MaxInt64)
	for slot := range s.slots {
		oldest = min(oldest, slot)
	}
	return oldest
}
