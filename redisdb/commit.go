package redisdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/record"
)

// Bounds of what is sent to Redis in one go.
const (
	maxOps   = 512
	maxBytes = 1 << 20
)

// committer takes all writes of this engine, and all reading that must be in
// order with them, one batch after another. It gives revisions and times in
// order, and tells the watchers in that order, before it answers.
type committer struct {
	e      *Engine
	writer string // this process, in the changes it writes

	writes  chan *request // wait until all tags are followed
	refresh chan *request

	head atomic.Uint64 // the last revision given
	last uint64        // the last op's number
	own  ownOps
}

// request is what waits for the committer.
type request struct {
	ops      []*op
	progress atomic.Uint32 // waiting, then taken or abandoned
	done     chan struct{}
}

const (
	waiting = iota
	taken
	abandoned
)

type opKind uint8

const (
	updateOp opKind = iota
	putOp
	goneOp
	refreshOp
)

// op is one script to run.
type op struct {
	kind    opKind
	tag     int
	topic   record.Topic
	key     string
	cond    record.Condition
	changes []record.Change
	put     record.Record

	number   uint64
	revision uint64 // the first it takes
	at       record.Time
	plain    bool // the server does not know the script: send its text

	reply []any
	err   error
	again bool // the error may be gone in a moment
	maybe bool // an attempt without an answer may have been made

	// What came of it.
	ack    record.Ack
	change position // of a put, drop or refresh: how far its stream was then
	fail   error
}

func (c *committer) init(e *Engine) {
	c.e = e
	c.writer = newWriter()
	c.writes = make(chan *request, maxOps)
	c.refresh = make(chan *request)
	c.own.early = make(map[uint64]record.Time)
	c.own.unknown = make(map[uint64]bool)
}

// Update writes changes under one key; see record.Engine. Where ctx or the time
// for an answer ends while Redis has it, it may still be made.
func (e *Engine) Update(ctx context.Context, topic record.Topic, key string, cond record.Condition, changes ...record.Change) (record.Ack, error) {
	if err := record.Check(topic, key, changes); err != nil {
		return record.Ack{}, err
	}
	if err := e.usable(ctx); err != nil {
		return record.Ack{}, err
	}
	o := &op{kind: updateOp, tag: tagOf(topic, key), topic: topic, key: key, cond: cond, changes: slices.Clone(changes)}
	if e.states[o.tag].away.Load() {
		e.counters.refused.Add(1)
		return record.Ack{}, errAway
	}
	if err := e.commits.submit(ctx, e.commits.writes, e.within.answer, o); err != nil {
		return record.Ack{}, err
	}
	return o.ack, o.fail
}

// submit has ops done, and returns when they are, or when nobody can wait any longer.
func (c *committer) submit(ctx context.Context, queue chan<- *request, within time.Duration, ops ...*op) error {
	r := &request{ops: ops, done: make(chan struct{})}
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return errSlow
	case <-c.e.running.stopped:
		return errStopped
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.progress.CompareAndSwap(waiting, abandoned)
		return ctx.Err()
	case <-timeout.C:
		r.progress.CompareAndSwap(waiting, abandoned)
		return errSlow
	case <-c.e.running.stopped:
		// What was answered before the end was answered for good.
		select {
		case <-r.done:
			return nil
		default:
			return errStopped
		}
	}
}

var errSlow = fmt.Errorf("%w: redis does not answer in time", record.ErrUnavailable)

// run is the committer.
func (c *committer) run(ctx context.Context) {
	writes := chan *request(nil)
	ready := c.e.follow.ready
	for {
		var first *request
		select {
		case <-ctx.Done():
			return
		case <-ready:
			// From now on all tags are followed, and the last revision is known.
			ready, writes = nil, c.writes
			continue
		case first = <-writes:
		case first = <-c.refresh:
		}
		c.process(ctx, c.gather(first, writes))
	}
}

// gather takes all that wait with the first, as many as fit.
func (c *committer) gather(first *request, writes <-chan *request) []*request {
	var batch []*request
	n, bytes := 0, 0
	take := func(r *request) (full bool) {
		if r.progress.CompareAndSwap(waiting, taken) {
			batch = append(batch, r)
			for _, o := range r.ops {
				n, bytes = n+1, bytes+o.weight()
			}
		}
		return n >= maxOps || bytes >= maxBytes
	}
	for full := take(first); !full; {
		select {
		case r := <-writes:
			full = take(r)
		case r := <-c.refresh:
			full = take(r)
		default:
			return batch
		}
	}
	return batch
}

func (o *op) weight() int {
	n := 500 + len(o.put.Value)
	for i := range o.changes {
		n += 100 + len(o.changes[i].Value)
	}
	return n
}

func (c *committer) process(ctx context.Context, batch []*request) {
	var ops []*op
	for _, r := range batch {
		ops = append(ops, r.ops...)
	}
	c.number(ops)
	c.e.send(ctx, ops)
	c.overtaken(ctx, ops)
	for _, o := range ops {
		c.settle(o)
	}
	for _, r := range batch {
		close(r.done)
	}
}

func (c *committer) number(ops []*op) {
	for _, o := range ops {
		c.last++
		o.number = c.last
		if o.kind != updateOp {
			continue
		}
		o.revision = c.head.Load() + 1
		c.head.Add(uint64(len(o.changes)))
		o.at = c.e.clock.Next()
	}
}

// overtaken sends those again whose revisions are behind what this source has
// written by another way: an import of its own records.
func (c *committer) overtaken(ctx context.Context, ops []*op) {
	var again []*op
	for _, o := range ops {
		if code(o.reply) != replyBehind || o.kind != updateOp {
			continue
		}
		if there, err := parseNumber(text(o.reply, 1)); err == nil {
			c.raise(there)
		}
		o.reply, o.err = nil, nil
		again = append(again, o)
	}
	if len(again) == 0 {
		return
	}
	for _, o := range again {
		o.revision = c.head.Load() + 1
		c.head.Add(uint64(len(o.changes)))
	}
	c.e.send(ctx, again)
}

// raise makes later revisions greater than one that was seen.
func (c *committer) raise(revision uint64) {
	for {
		head := c.head.Load()
		if revision <= head || c.head.CompareAndSwap(head, revision) {
			return
		}
	}
}

// settle says what came of an op, and tells the watchers.
func (c *committer) settle(o *op) {
	switch o.kind {
	case updateOp:
		c.settleUpdate(o)
	case putOp, goneOp:
		c.settlePut(o)
	case refreshOp:
		c.settleRefresh(o)
	}
}

func (c *committer) settleUpdate(o *op) {
	e := c.e
	if o.err != nil {
		at, committed := c.own.settle(o.number, o.maybe)
		if !committed {
			e.counters.refused.Add(1)
			o.fail = unavailable(o.err)
			return
		}
		// Its change was seen in the stream: only the answer got lost.
		c.tellOwn(o, at)
		return
	}
	switch code(o.reply) {
	case replyDone:
		at, err := parseTime(text(o.reply, 1), text(o.reply, 2))
		if err != nil {
			o.fail = fmt.Errorf("%w: redis answers %q", record.ErrUnavailable, o.reply)
			break
		}
		c.tellOwn(o, at)
	case replyNot:
		e.counters.conflicts.Add(1)
		o.fail = record.ErrConflict
	case replyUnreadable:
		o.fail = fmt.Errorf("writing records of %s: %w", o.topic, errVersion)
	default:
		o.fail = fmt.Errorf("%w: redis answers %q", record.ErrUnavailable, o.reply)
	}
	c.own.settle(o.number, false)
}

// tellOwn makes an update known: to the cache, then to the watchers, who keep
// caches that load through it.
func (c *committer) tellOwn(o *op, at record.Time) {
	e := c.e
	e.clock.Observe(at)
	records := make([]record.Record, 0, len(o.changes))
	for i, change := range o.changes {
		records = append(records, record.Record{
			Topic: o.topic, Key: o.key, Member: change.Member, Source: e.source,
			Time: at, Expires: change.Expires, Deleted: change.Delete, Final: change.Final,
			Revision: o.revision + uint64(i), Value: slices.Clone(change.Value),
		})
	}
	o.ack = record.Ack{Time: at, Revision: o.revision + uint64(len(records)) - 1, Copies: 1}
	e.recent.add(o)
	e.cache.Invalidate(groupKey(o.topic, o.key))
	e.counters.updates.Add(1)
	e.watchers.tell(o.topic, records)
}

// settleRefresh tells all that is under a key; the follower, which asked for
// it, waits meanwhile.
func (c *committer) settleRefresh(o *op) {
	if o.err != nil {
		o.fail = unavailable(o.err)
		return
	}
	versions, _ := decodeGroup(o.topic, o.key, pairs(o.reply, 0))
	o.change = parsePosition(text(o.reply, 1))
	for i := range versions {
		c.e.clock.Observe(versions[i].Time)
	}
	c.e.cache.Invalidate(groupKey(o.topic, o.key))
	c.e.watchers.tellGroup(o.topic, o.key, versions)
}

// ownOps joins what the committer and the follower see of this process' own ops.
type ownOps struct {
	mu      sync.Mutex
	settled uint64                 // the last op that was
	early   map[uint64]record.Time // whose change came before their answer
	unknown map[uint64]bool        // whose answer did not come
}

// maxUnknown bounds what is remembered of ops that were perhaps never made.
// Each time Redis is away some are added: the latest ones count.
const maxUnknown = 4096

// settle ends an op. Where its answer is lost it tells whether its change was seen.
func (o *ownOps) settle(number uint64, lost bool) (at record.Time, committed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = max(o.settled, number)
	at, committed = o.early[number]
	delete(o.early, number)
	if lost && !committed {
		o.unknown[number] = true
		for len(o.unknown) > maxUnknown {
			delete(o.unknown, slices.Min(slices.Collect(maps.Keys(o.unknown))))
		}
	}
	return at, committed && lost
}

// seen notes an op's change in its stream. True says that nobody has told of it.
func (o *ownOps) seen(number uint64, at record.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if number > o.settled {
		o.early[number] = at
		return false
	}
	untold := o.unknown[number]
	delete(o.unknown, number)
	return untold
}
