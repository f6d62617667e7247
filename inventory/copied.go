package inventory

import (
	"context"
	"sync/atomic"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// copied is the kept time of the clone that a Temp is a copy of, 0 where it is
// an upload.
type copied struct{ kept atomic.Uint64 }

// CommitCopy is Commit for a copy of another store's clone, of which kept is
// the kept time. A copy is no upload: a removal that concerns the one concerns
// the other, also where it becomes known here only later. Errors: those of
// Commit, and ErrRemoved.
func (t *Temp) CommitCopy(ctx context.Context, h content.Hash, ext string, kept record.Time) (Clone, error) {
	t.copied.kept.Store(uint64(max(kept, 1)))
	return t.Commit(ctx, h, ext)
}

// keep returns the kept time of what is being committed, whose hash is locked.
func (t *Temp) keep(ctx context.Context, h content.Hash) (record.Time, error) {
	kept := record.Time(t.copied.kept.Load())
	if kept == 0 {
		return t.v.keep(ctx, h)
	}
	refused, err := t.v.Refuses(ctx, h)
	if err != nil {
		return 0, err
	}
	if refused {
		return 0, ErrBlocked
	}
	removed, err := removedAt(ctx, t.v.engine, h.String())
	if err == nil && kept <= removed {
		err = ErrRemoved
	}
	return kept, err
}
