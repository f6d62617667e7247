package record

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"

	"github.com/maypok86/otter/v2"
)

// cacheShards is a power of two; it bounds how many misses and invalidations
// wait for one another.
const cacheShards = 256

// Cache keeps what readers made of records in memory, bounded, and never older
// than the last commit: a hit takes no lock, and what a reader fetched enters
// only if nothing was invalidated for that key since its read began.
//
// Invalidate must be called from a watcher of every topic that a value was
// made from.
type Cache[V any] struct {
	values *otter.Cache[string, V]
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu         sync.Mutex
	generation uint64
}

// NewCache returns a cache of at most size values.
func NewCache[V any](size int) *Cache[V] {
	return &Cache[V]{
		values: otter.Must(&otter.Options[string, V]{
			MaximumSize: size,
			// Upkeep runs where it falls due, so that no goroutine is without an owner.
			Executor: func(f func()) { f() },
		}),
		seed: maphash.MakeSeed(),
	}
}

// Get returns the value of a key, from memory or by load. A load's error is
// returned and not kept; where load's second result is false, its value is
// returned and not kept either.
func (c *Cache[V]) Get(ctx context.Context, key string, load func(context.Context, string) (V, bool, error)) (V, error) {
	if v, ok := c.values.GetIfPresent(key); ok {
		return v, nil
	}
	return c.Load(ctx, key, load)
}

// Load is Get for who does not trust what is in memory: it always loads.
func (c *Cache[V]) Load(ctx context.Context, key string, load func(context.Context, string) (V, bool, error)) (V, error) {
	// A key is often cut out of something longer, such as a URL of many
	// kilobytes, which would stay in memory for as long as the key does.
	key = strings.Clone(key)
	shard := c.shard(key)
	shard.mu.Lock()
	began := shard.generation
	shard.mu.Unlock()

	v, keep, err := load(ctx, key)
	if err != nil || !keep {
		return v, err
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.generation == began {
		c.values.Set(key, v)
	}
	return v, nil
}

// Invalidate forgets a key. Reads of it that are under way will not be kept.
func (c *Cache[V]) Invalidate(key string) {
	shard := c.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.generation++
	c.values.Invalidate(key)
}

// Clear forgets everything and returns about how many values there were.
func (c *Cache[V]) Clear() int {
	n := c.values.EstimatedSize()
	for i := range c.shards {
		c.shards[i].mu.Lock()
		c.shards[i].generation++
	}
	c.values.InvalidateAll()
	for i := range c.shards {
		c.shards[i].mu.Unlock()
	}
	return n
}

// Len returns about how many values are kept.
func (c *Cache[V]) Len() int { return c.values.EstimatedSize() }

func (c *Cache[V]) shard(key string) *cacheShard {
	return &c.shards[maphash.String(c.seed, key)&(cacheShards-1)]
}

// Peek returns the value of a key if it is in memory.
func (c *Cache[V]) Peek(key string) (V, bool) { return c.values.GetIfPresent(key) }
