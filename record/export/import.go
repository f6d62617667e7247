package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/record"
)

// Target is an engine that takes an export.
type Target interface {
	record.Engine
	record.Importer
}

// headed is an engine that can tell what it has written itself.
type headed interface {
	Source() string
	// Ahead tells whether it never gave a revision, or in a former life only.
	Ahead(revision uint64) bool
}

// Imported tells what an import has come to.
type Imported struct {
	Records uint64 `json:"records"` // read
	Taken   uint64 `json:"taken"`   // new or newer
	Left    uint64 `json:"left"`    // not newer than what is at hand
	Expired uint64 `json:"expired"` // over: they would go at once
	Ahead   uint64 `json:"ahead"`   // left out: the engine's own, from after the state that it is in
}

// Bounds of what is imported in one go.
const (
	batchRecords = 512
	batchBytes   = 1 << 20
	lookups      = 16 // keys that are looked up at the same time
)

// Import takes the records of an export into an engine. It may be repeated: what
// is not newer is left out. Where it fails, what was taken before stays, and the
// counts tell how much that is. An engine that is away is waited for as long as
// patience says. Errors: those of Reader.Next, and of the engine.
func Import(ctx context.Context, to Target, from *Reader, patience time.Duration) (Imported, error) {
	x := importer{to: to}
	for {
		batch, last := x.gather(from)
		for waits := (waits{patience: patience}); ; {
			err := x.take(ctx, batch)
			if err == nil {
				break
			}
			if !errors.Is(err, record.ErrUnavailable) || !waits.wait(ctx) {
				return x.done, fmt.Errorf("importing records: %w", err)
			}
		}
		if errors.Is(last, io.EOF) {
			return x.done, nil
		}
		if last != nil {
			return x.done, last
		}
	}
}

type importer struct {
	to   Target
	done Imported
}

// gather reads one batch, and the error that ended it before it was full.
func (x *importer) gather(from *Reader) ([]record.Record, error) {
	var batch []record.Record
	now := time.Now().UnixMilli()
	for size := 0; len(batch) < batchRecords && size < batchBytes; {
		e, err := from.Next()
		if err != nil {
			return batch, err
		}
		x.done.Records++
		if e.Keep != 0 && e.Keep <= now {
			x.done.Expired++
			continue
		}
		batch = append(batch, e.Record)
		size += len(e.Value)
	}
	return batch, nil
}

// take imports what of a batch is newer than what is at hand.
func (x *importer) take(ctx context.Context, batch []record.Record) error {
	newer := make([]bool, len(batch))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(lookups)
	for i := range batch {
		group.Go(func() (err error) {
			newer[i], err = x.newer(groupCtx, batch[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	own, unknown := "", func(uint64) bool { return false }
	if h, ok := x.to.(headed); ok {
		own, unknown = h.Source(), h.Ahead
	}
	var fresh []record.Record // not in place: what fails is tried again
	ahead, left := uint64(0), uint64(0)
	for i, r := range batch {
		switch {
		case own != "" && r.Source == own && unknown(r.Revision):
			ahead++
		case !newer[i], own != "" && r.Source == own: // what it wrote and does not have is gone for good
			left++
		default:
			fresh = append(fresh, r)
		}
	}
	if len(fresh) > 0 {
		if err := x.to.Import(ctx, fresh); err != nil {
			return err
		}
	}
	x.done.Taken += uint64(len(fresh))
	x.done.Left += left
	x.done.Ahead += ahead
	return nil
}

// newer tells whether the engine lacks a record, or has an older one of its source.
func (x *importer) newer(ctx context.Context, r record.Record) (bool, error) {
	versions, err := x.to.Get(ctx, r.Topic, r.Key)
	if err != nil {
		return false, err
	}
	for _, v := range versions {
		if v.Member == r.Member && v.Source == r.Source {
			return r.Revision > v.Revision, nil
		}
	}
	return true, nil
}
