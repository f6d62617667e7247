package journal

import (
	"sync"
	"sync/atomic"
)

// committed is what is known of the last commit. The committer alone changes
// it; others read it under the lock.
type committed struct {
	head atomic.Uint64
	busy atomic.Int64 // when the batch in the making began, in milliseconds since 1970; 0: there is none

	mu       sync.Mutex
	sources  map[string]state
	totals   totals
	pending  leap             // of this run, over what may have been written before; none after it was taken
	feeds    map[string]*feed // of the sources that are streamed
	complete map[string]int64 // by the source's clock, in milliseconds: what it wrote before is known
	parted   map[string]int   // how often a source was split in this run
	moving   map[string]bool  // sources between which records move
	failure  error            // a commit failed: nothing is written any more
}

// drops says which tombstones a commit drops before it is made: who walks
// through a source may not find one, and must know that it was there.
func (c *committed) drops(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for source, now := range b.sources {
		if s, ok := c.sources[source]; ok && now.dropped > s.dropped {
			s.dropped = now.dropped
			c.sources[source] = s
		}
	}
}

// publish makes a commit known: to the cache, to the watchers, and then to those
// who ask how far this node has come, and to the streams: who sees a claim may
// rely on reading what it covers. The cache comes before the watchers, who keep
// caches that load through it.
func (j *Journal) publish(b *batch) {
	for id := range b.groups {
		if b.groups[id].changed {
			j.cache.Invalidate(cacheKey(id.topic, id.key))
		}
	}
	j.watchers.tell(b.written)
	j.committed.mu.Lock()
	for source, s := range b.sources {
		j.committed.sources[source] = s
	}
	for source, at := range b.complete {
		j.committed.completed(source, at)
	}
	j.committed.totals = b.totals
	j.source.Store(&b.source)
	j.committed.head.Store(b.sources[b.source].head)
	j.committed.feed(b)
	j.committed.mu.Unlock()
	if b.lowest != 0 {
		j.pending.lower(b.lowest) // after the commit: a sweep before it could not see it
	}
	j.counters.commits.Add(1)
}
