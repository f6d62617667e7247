package redisdb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

const (
	proveEvery = 250 * time.Millisecond // between two proofs that nothing was missed, on one server
	pollEvery  = 100 * time.Millisecond // the same on a Cluster, where one call can't wait for several slots; and while Redis is away
	pollCount  = 256                    // changes read in one go from a stream
)

// follower reads the streams of changes of all tags: it invalidates the cache,
// tells the watchers what others changed, and so confirms what is cached.
//
// Each read of a stream begins with the entry that the last one ended with.
// Where that is missing, changes were missed: Redis was flushed, or lost some
// of them with a master, or went on for longer than its stream keeps them. Then
// nothing that was known of the tag counts any longer (see resync).
type follower struct {
	e       *Engine
	tags    [tags]follow
	barrier barrier
	ready   chan struct{} // closed when all tags are followed
	wake    chan struct{} // somebody waits for a change to be told

	running atomic.Bool
	gone    atomic.Int32 // tags that are away
	joined  int          // tags that were followed once

	mu     sync.Mutex
	notice bool // watchers are to be told that anything may have changed
}

// follow is how far a tag is followed. It belongs to the goroutine that reads
// the tag.
type follow struct {
	synced bool
	once   bool
	head   uint64
	anchor position            // the entry with which the last proof ended
	at     position            // done with
	told   position            // told of, though perhaps not done with
	stale  map[string]bool     // keys to be read, since what their changes say is not enough
	guards map[string]position // keys that were read: what happened before that is old news
}

func (f *follower) init(e *Engine) {
	f.e = e
	f.ready = make(chan struct{})
	f.wake = make(chan struct{}, 1)
}

// call has the follower look at once.
func (f *follower) call() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	f.running.Store(true)
	defer f.running.Store(false)
	for ctx.Err() == nil {
		ok, more := f.round(ctx)
		if more {
			continue
		}
		if ok && f.e.control.cluster == nil {
			f.block(ctx)
			continue
		}
		pause := time.NewTimer(pollEvery)
		select {
		case <-pause.C:
		case <-f.wake:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// round reads all tags once. It tells whether all went well, and whether there
// is more to read.
func (f *follower) round(ctx context.Context) (ok, more bool) {
	all := make([]int, tags)
	for t := range all {
		all[t] = t
	}
	bounded, cancel := context.WithTimeout(ctx, f.e.within.probe)
	groups := f.e.control.group(bounded, all)
	cancel()
	var wg sync.WaitGroup
	var bad, much atomic.Bool
	for c, group := range groups {
		wg.Go(func() {
			ok, more := f.poll(ctx, c, group)
			if !ok {
				bad.Store(true)
			}
			if more {
				much.Store(true)
			}
		})
	}
	wg.Wait()
	if bad.Load() && ctx.Err() == nil {
		f.e.control.lost(ctx)
		f.e.data.lost(ctx)
	}
	f.count()
	f.mu.Lock()
	notice := f.notice
	f.notice = false
	f.mu.Unlock()
	if notice {
		f.tellChanged()
	}
	return !bad.Load(), much.Load() && !bad.Load()
}

// count opens the committer when all tags have been followed once.
func (f *follower) count() {
	if f.joined == tags {
		return
	}
	f.joined = 0
	var head uint64
	for t := range f.tags {
		if f.tags[t].once {
			f.joined++
			head = max(head, f.tags[t].head)
		}
	}
	if f.joined < tags {
		return
	}
	if head == 0 {
		// Redis knows nothing of this source. If it was flushed, others may know
		// what it wrote before: it goes on above that.
		head = uint64(f.e.clock.Wall().UnixMilli())
	}
	f.e.commits.raise(head)
	close(f.ready)
}

// tellChanged tells of all topics that watchers do not mirror.
func (f *follower) tellChanged() {
	for _, topic := range record.Topics() {
		if !mirrored(topic) {
			f.e.watchers.tellChanged(topic)
		}
	}
}

var errNoServer = errors.New("no server is known that holds it")

// poll reads the streams of some tags of one server, to their ends.
func (f *follower) poll(ctx context.Context, c *redis.Client, group []int) (ok, more bool) {
	e := f.e
	if c == nil {
		for _, tag := range group {
			e.away(tag, errNoServer)
		}
		return false, false
	}
	if ok = f.join(ctx, c, group); !ok {
		return false, false
	}
	cmds, started := f.ask(ctx, c, group)
	for i, tag := range group {
		entries, err := cmds[i].Result()
		if err != nil {
			f.unread(ctx, tag, err)
			ok = false
			continue
		}
		t := &f.tags[tag]
		if len(entries) == 0 || parsePosition(entries[0].ID) != t.anchor {
			e.log.Warn("changes in redis were missed: all that was known of a part is read again", zap.Int("tag", tag))
			e.forget(tag, t)
			more = true
			continue
		}
		if err := f.take(ctx, tag, entries); err != nil {
			ok = false
			continue
		}
		t.anchor = t.at
		if len(entries) >= pollCount {
			more = true
			continue
		}
		e.states[tag].confirmed.Store(int64(started))
		e.back(tag)
	}
	return ok, more
}

// ask asks for what is behind the last proofs, and tells when it did. A
// connection that was closed since it was last used is tried once more.
func (f *follower) ask(ctx context.Context, c *redis.Client, group []int) (cmds []*redis.XMessageSliceCmd, started time.Duration) {
	e := f.e
	for range 2 {
		started = e.now()
		bounded, cancel := context.WithTimeout(ctx, e.within.probe)
		cmds = make([]*redis.XMessageSliceCmd, len(group))
		err := pipelined(bounded, c, func(p redis.Pipeliner) {
			for i, tag := range group {
				cmds[i] = p.XRangeN(bounded, e.layout.changes(tag), f.tags[tag].anchor.String(), "+", pollCount)
			}
		})
		for i, tag := range group {
			if e.control.cluster != nil && moved(cmds[i].Err()) { // the client knows where to
				cmds[i] = e.control.cluster.XRangeN(bounded, e.layout.changes(tag), f.tags[tag].anchor.String(), "+", pollCount)
				e.control.lost(ctx)
			}
		}
		cancel()
		if err == nil || isReply(err) || !retryable(err) {
			break
		}
	}
	return cmds, started
}

// unread notes that a tag's stream could not be read. Where Redis answered,
// that concerns this tag alone.
func (f *follower) unread(ctx context.Context, tag int, err error) {
	switch {
	case ctx.Err() != nil:
	case isReply(err):
		f.e.markAway(tag, err)
	default:
		f.e.away(tag, err)
	}
}

// forget drops all that was known of a tag.
func (e *Engine) forget(tag int, t *follow) {
	e.states[tag].epoch.Add(1)
	e.states[tag].confirmed.Store(0)
	e.states[tag].told.Store(nil)
	*t = follow{once: t.once, head: t.head}
}

// block waits for changes on the one server, until the next proof is due.
func (f *follower) block(ctx context.Context) {
	e := f.e
	until := e.now() + proveEvery
	c := e.control.one
	for left := proveEvery; left > time.Millisecond && ctx.Err() == nil; left = until - e.now() {
		streams := make([]string, 2*tags)
		byName := make(map[string]int, tags)
		for tag := range tags {
			name := e.layout.changes(tag)
			streams[tag], streams[tags+tag] = name, f.tags[tag].at.String()
			byName[name] = tag
		}
		bounded, cancel := context.WithTimeout(ctx, left+e.within.probe)
		read, err := c.XRead(bounded, &redis.XReadArgs{Streams: streams, Count: pollCount, Block: left}).Result()
		cancel()
		if errors.Is(err, redis.Nil) {
			return
		}
		if err != nil {
			// A connection that was closed says little: the next round tells.
			if ctx.Err() == nil && !retryable(err) {
				e.away(0, err)
			}
			return
		}
		for _, s := range read {
			if f.take(ctx, byName[s.Stream], s.Messages) != nil {
				return
			}
		}
	}
}
