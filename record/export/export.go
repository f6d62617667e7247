package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ooseio/oose/record"
)

// Exported tells what an export has come to.
type Exported struct {
	Records uint64 // written
	Expired uint64 // left out: they are about to go
}

// Export writes what an engine has behind a position, while the engine goes on.
// Everything that was there when it began is in it, in that version or in a
// later one. An engine that is away is waited for as long as patience says.
func Export(ctx context.Context, e record.Engine, since record.Position, w *Writer, patience time.Duration) (Exported, error) {
	x := exporter{engine: e, to: w, position: make(record.Position, len(since))}
	maps.Copy(x.position, since)
	waits := waits{patience: patience}
	for {
		before := x.done
		err := x.walk(ctx)
		if err == nil {
			return x.done, nil
		}
		if x.done != before {
			waits.reset()
		}
		if !errors.Is(err, record.ErrUnavailable) || !waits.wait(ctx) {
			return x.done, err
		}
	}
}

type exporter struct {
	engine   record.Engine
	to       *Writer
	position record.Position
	done     Exported
}

// walk goes on from the position.
func (x *exporter) walk(ctx context.Context) error {
	for r, err := range x.engine.Walk(ctx, x.position) {
		if err != nil {
			return fmt.Errorf("reading the records: %w", err)
		}
		keep, over, err := lifeOf(ctx, x.engine, r, time.Now().UnixMilli())
		if err != nil {
			return fmt.Errorf("reading the records: %w", err)
		}
		if over {
			x.done.Expired++
		} else {
			if err := x.to.Write(Entry{Record: r, Keep: keep}); err != nil {
				return err
			}
			x.done.Records++
		}
		x.position[r.Source] = r.Revision
	}
	return nil
}

// lifeOf returns until when the versions under a record's key are kept, and
// whether that is over. It takes all of them: a later version may have made the
// life shorter, and the earlier one must not come back without it.
func lifeOf(ctx context.Context, e record.Engine, r record.Record, now int64) (keep int64, over bool, err error) {
	if !record.Expiring(r.Topic) || r.Expires == 0 {
		return 0, false, nil
	}
	versions, err := e.Get(ctx, r.Topic, r.Key)
	if err != nil {
		return 0, false, err
	}
	if len(versions) == 0 {
		return 0, true, nil // it went while it was being exported
	}
	keep = record.KeepUntil(versions)
	return keep, keep != 0 && keep <= now, nil
}
