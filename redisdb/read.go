package redisdb

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

// maxCached is how many bytes of values under one key the cache takes.
const maxCached = 8 << 10

// group is what the cache keeps: all versions under a key.
type group struct {
	versions []record.Record
	tag      int
	epoch    uint64
	until    int64 // from then on Redis has let it go, 0: never
	kept     bool
}

// Get returns all versions under a key; see record.Engine. What is in memory,
// and was confirmed within the last second, is answered without a question.
func (e *Engine) Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error) {
	if err := e.usable(ctx); err != nil {
		return nil, err
	}
	if record.CheckKey(topic, key) != nil {
		return nil, nil // nothing can be kept under such a key
	}
	e.counters.gets.Add(1)
	at := groupKey(topic, key)
	known, ok := e.cache.Peek(at)
	if ok && (known.epoch != e.states[known.tag].epoch.Load() || known.until != 0 && known.until <= e.clock.Wall().UnixMilli()) {
		ok = false
	}
	tag := 0
	if ok {
		tag = known.tag
	} else {
		tag = tagOf(topic, key)
	}
	gone := e.states[tag].away.Load()
	switch {
	case ok && (gone || e.fresh(tag)):
		return known.versions, nil
	case ok && e.server(tag).silent.Load() && e.states[tag].confirmed.Load() >= e.locked.Load():
		// Somebody has just waited in vain. A request that asks for several
		// things must not do so for each.
		e.counters.stale.Add(1)
		return known.versions, nil
	case gone:
		return nil, errAway
	}
	e.handed.Store(true)
	g, err := e.cache.Load(ctx, at, func(ctx context.Context, _ string) (*group, bool, error) {
		return e.load(ctx, tag, topic, key)
	})
	if err == nil {
		if ok && !g.kept {
			e.cache.Invalidate(at) // what was there before is over
		}
		return g.versions, nil
	}
	if ok && errors.Is(err, record.ErrUnavailable) {
		e.counters.stale.Add(1)
		return known.versions, nil // Redis is away, we just learnt
	}
	return nil, err
}

// load reads a key's versions from Redis. None are not kept in memory, so that
// whatever others write is found at once.
func (e *Engine) load(ctx context.Context, tag int, topic record.Topic, key string) (*group, bool, error) {
	e.counters.loads.Add(1)
	g := &group{tag: tag, epoch: e.states[tag].epoch.Load()}
	fields, err := e.fields(ctx, tag, topic, key)
	if err != nil {
		return nil, false, err
	}
	if g.versions, err = decodeGroup(topic, key, fields); err != nil {
		return nil, false, err
	}
	if record.Expiring(topic) {
		g.until = record.KeepUntil(g.versions)
	}
	size := 0
	for i := range g.versions {
		size += len(g.versions[i].Value)
	}
	g.kept = len(g.versions) > 0 && size <= maxCached
	return g, g.kept, nil
}

// errBehind says that a server lacks changes that the follower has told of.
var errBehind = errors.New("the server that was asked is behind")

// fields reads a key's hash from a server that has all that the follower has
// told of. A master that another has replaced, and that has not learnt it yet,
// still answers on the connections there are to it: what it says is neither
// true nor would any change to come put it right. Then the follower's own
// connections are used, whose server proves with each round that it is the one.
func (e *Engine) fields(ctx context.Context, tag int, topic record.Topic, key string) (fields map[string]string, err error) {
	read := func(ctx context.Context, c redis.Cmdable) error {
		told := e.states[tag].told.Load()
		var last *redis.XMessageSliceCmd
		var all *redis.MapStringStringCmd
		err := pipelined(ctx, c, func(p redis.Pipeliner) {
			if told != nil {
				last = p.XRangeN(ctx, e.layout.changes(tag), *told, *told, 1)
			}
			all = p.HGetAll(ctx, e.layout.records(topic, key))
		})
		if err != nil {
			return err
		}
		if fields = all.Val(); told != nil && len(last.Val()) == 0 {
			return errBehind
		}
		return nil
	}
	err = e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) error {
		err := read(ctx, c)
		if !errors.Is(err, errBehind) {
			return err
		}
		e.counters.overtaken.Add(1)
		control, err := e.control.client(ctx, tag)
		if err != nil {
			return err
		}
		return read(ctx, control)
	})
	return fields, err
}

// ask has f ask the server of a tag, again within the bound where the answer
// may be better in a moment. f only reads.
func (e *Engine) ask(ctx context.Context, tag int, f func(context.Context, redis.Cmdable) error) error {
	if e.states[tag].away.Load() {
		return errAway
	}
	bounded, cancel := context.WithTimeout(ctx, e.within.call)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		err := e.askOnce(bounded, tag, f)
		if err == nil || errors.Is(err, redis.Nil) {
			e.answered(tag)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !retryable(err) && !errors.Is(err, errBehind) {
			if !isReply(err) {
				e.failed(tag, err)
			}
			return unavailable(err)
		}
		e.data.lost(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-bounded.Done():
			timer.Stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !errors.Is(err, errBehind) {
				e.failed(tag, err)
			}
			return unavailable(err)
		}
	}
}

func (e *Engine) askOnce(ctx context.Context, tag int, f func(context.Context, redis.Cmdable) error) error {
	c, err := e.data.client(ctx, tag)
	if err != nil {
		return err
	}
	err = f(ctx, c)
	if moved(err) && e.data.cluster != nil {
		e.data.lost(ctx)
		return f(ctx, e.data.cluster)
	}
	return err
}
