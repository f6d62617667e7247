package redisdb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ooseio/oose/record"
)

// importOps is how many records are imported in one go.
const importOps = 128

// Import keeps what other sources wrote, or this one at another time; see
// record.Importer.
func (e *Engine) Import(ctx context.Context, records []record.Record) error {
	if err := e.usable(ctx); err != nil {
		return err
	}
	ops := make([]*op, len(records))
	for i, r := range records {
		if err := record.CheckRecord(r); err != nil {
			return err
		}
		if r.Time.Milli() >= maxMilli || r.Revision > maxRevision {
			return fmt.Errorf("%w: revision %d, time %d", record.ErrInvalid, r.Revision, r.Time)
		}
		ops[i] = &op{kind: putOp, tag: tagOf(r.Topic, r.Key), topic: r.Topic, key: r.Key, put: r}
	}
	within := e.within.answer
	if len(records) > importOps {
		within = e.within.bulk
	}
	for some := range slices.Chunk(ops, importOps) {
		if err := e.importSome(ctx, within, some); err != nil {
			return err
		}
	}
	return nil
}

// maxRevision is the last one that a script counts exactly.
const maxRevision = 1<<53 - 1

// importSome has some ops done that keep or drop what others wrote, and returns
// when all watchers know.
func (e *Engine) importSome(ctx context.Context, within time.Duration, ops []*op) error {
	for _, o := range ops {
		if e.states[o.tag].away.Load() {
			return errAway
		}
	}
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := e.commits.submit(ctx, e.commits.writes, within, ops...); err != nil {
		return err
	}
	var until [tags]position
	for _, o := range ops {
		if o.fail != nil {
			return o.fail
		}
		e.clock.Observe(o.put.Time)
		if o.change.after(until[o.tag]) {
			until[o.tag] = o.change
		}
	}
	// The follower tells what others wrote, in the order in which it happened.
	e.follow.call()
	for tag, at := range until {
		if err := e.follow.barrier.wait(bounded, tag, at); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errSlow
		}
	}
	return nil
}

// settlePut leaves telling to the follower, in the order of the stream.
func (c *committer) settlePut(o *op) {
	switch {
	case o.err != nil:
		o.fail = unavailable(o.err)
	case code(o.reply) == replyDone, code(o.reply) == replyNot:
		c.e.cache.Invalidate(groupKey(o.topic, o.key))
		o.change = parsePosition(text(o.reply, 1))
		if o.kind == putOp && o.put.Source == c.e.source {
			c.raise(o.put.Revision)
		}
	case code(o.reply) == replyUnreadable:
		o.fail = fmt.Errorf("importing records of %s: %w", o.topic, errVersion)
	}
}
