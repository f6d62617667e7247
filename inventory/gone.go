package inventory

import (
	"context"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// Gone tells whether a content is removed and was not uploaded again since, or
// is blocked: no copy of it may be kept.
func (x *Index) Gone(ctx context.Context, h content.Hash) (bool, error) {
	p, err := x.load(ctx, h, h.String())
	if err != nil {
		return false, err
	}
	return p.Blocked || p.Removed > 0 && len(p.Clones) == 0, nil
}

// OnGone has f called with every content about which a removal or a block is
// committed, until stop returns. f must be quick and must not call the index.
func (x *Index) OnGone(f func(content.Hash)) (stop func()) {
	each := func(records []record.Record) {
		for i := range records {
			if h, err := content.ParseHash(records[i].Key); err == nil {
				f(h)
			}
		}
	}
	removals, blocks := x.engine.Watch(record.Removal, each), x.engine.Watch(record.Block, each)
	return func() {
		removals()
		blocks()
	}
}
