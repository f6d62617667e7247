package delivery

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// MissesPerMinute is how many misses a client address has in a minute.
	MissesPerMinute = 60

	missWindow    = time.Minute
	limiterShards = 64
	limiterSize   = 1024 // addresses of one shard
)

// Limiter bounds the misses of each client address: those of IPv4 alone, those
// of IPv6 by their /64. It keeps at most 65,536 addresses; beyond that, one is
// forgotten early, which lets its client have more misses and does no other
// harm.
type Limiter struct {
	clock  func() time.Time
	limit  int
	seed   maphash.Seed
	shards [limiterShards]limiterShard
}

type limiterShard struct {
	mu   sync.Mutex
	seen map[netip.Addr]misses
}

// misses is one address' count in the minute that began at began.
type misses struct {
	began time.Time
	count int
}

// NewLimiter returns a limiter of so many misses a minute over the clock now,
// time.Now where it is nil.
func NewLimiter(limit int, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{clock: now, limit: limit, seed: maphash.MakeSeed()}
}

// Allow counts a miss. It returns false, and after which time the address has
// misses again, where it has none left.
func (l *Limiter) Allow(addr netip.Addr) (wait time.Duration, ok bool) {
	addr, shard := l.shardOf(addr)
	now := l.clock()
	shard.mu.Lock()
	defer shard.mu.Unlock()
	m, known := shard.seen[addr]
	if !known {
		shard.makeRoom(now)
	}
	if !known || now.Sub(m.began) >= missWindow {
		m = misses{began: now}
	}
	if m.count >= l.limit {
		return missWindow - now.Sub(m.began), false
	}
	m.count++
	shard.seen[addr] = m
	return 0, true
}

// Left tells whether Allow would return true, and counts nothing.
func (l *Limiter) Left(addr netip.Addr) (wait time.Duration, ok bool) {
	addr, shard := l.shardOf(addr)
	now := l.clock()
	shard.mu.Lock()
	defer shard.mu.Unlock()
	m := shard.seen[addr]
	if over := now.Sub(m.began); over < missWindow && m.count >= l.limit {
		return missWindow - over, false
	}
	return 0, true
}

// shardOf returns what an address counts as, and where that is kept.
func (l *Limiter) shardOf(addr netip.Addr) (netip.Addr, *limiterShard) {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	return addr, &l.shards[maphash.Comparable(l.seed, addr)%limiterShards]
}

// makeRoom sees to it that one more address can be kept.
func (s *limiterShard) makeRoom(now time.Time) {
	if s.seen == nil {
		s.seen = make(map[netip.Addr]misses)
	}
	if len(s.seen) < limiterSize {
		return
	}
	for addr, m := range s.seen {
		if now.Sub(m.began) >= missWindow {
			delete(s.seen, addr)
		}
	}
	// A quarter at once, so that not every new address pays for this.
	for addr := range s.seen {
		if len(s.seen) <= limiterSize*3/4 {
			return
		}
		delete(s.seen, addr)
	}
}
