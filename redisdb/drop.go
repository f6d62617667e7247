package redisdb

import (
	"context"
	"slices"

	"github.com/ooseio/oose/record"
)

var _ record.Dropper = (*Engine)(nil)

// Drop lets versions of the inventory go, see record.Dropper: for all nodes at
// once, of which the first does it.
func (e *Engine) Drop(ctx context.Context, records []record.Record) (int, error) {
	if err := e.usable(ctx); err != nil {
		return 0, err
	}
	ops := make([]*op, len(records))
	for i, r := range records {
		if err := record.CheckDrop(r); err != nil {
			return 0, err
		}
		ops[i] = &op{kind: goneOp, tag: tagOf(r.Topic, r.Key), topic: r.Topic, key: r.Key, put: r}
	}
	within := e.within.answer
	if len(records) > importOps {
		within = e.within.bulk
	}
	dropped := 0
	for some := range slices.Chunk(ops, importOps) {
		if err := e.importSome(ctx, within, some); err != nil {
			return dropped, err
		}
		for _, o := range some {
			if code(o.reply) == replyDone {
				dropped++
			}
		}
	}
	return dropped, nil
}
