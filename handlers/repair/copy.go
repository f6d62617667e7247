package repair

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// restore makes what is missing of a content, from a clone of this process.
func (a *Agent) restore(ctx context.Context, h content.Hash) error {
	err := a.restoreAll(ctx, h)
	if ctx.Err() == nil {
		a.remember(h, err)
	}
	return err
}

func (a *Agent) restoreAll(ctx context.Context, h content.Hash) error {
	tried := map[string]bool{}
	var failures []error
	for {
		f, err := a.examine(ctx, h)
		if err != nil {
			return err
		}
		from, turn := a.worker(&f)
		if f.refuse || f.Missing == 0 || turn < 0 {
			return nil
		}
		to := ""
		for _, id := range f.Targets {
			if !tried[id] {
				to = id
				break
			}
		}
		if to == "" {
			return fmt.Errorf("%d of %d clones are missing and no other store takes one: %w", f.Missing, f.wanted, errors.Join(append(failures, upload.ErrNoStore)...))
		}
		tried[to] = true
		c, _ := f.clone(from)
		if _, err := a.push(ctx, c, to, nil); err != nil {
			if ctx.Err() != nil || isSource(err) {
				return err
			}
			failures = append(failures, err)
		}
	}
}

// isSource tells whether copying failed at its source: another store would
// fare no better.
func isSource(err error) bool {
	body := new(upload.BodyError)
	return errors.As(err, &body) || errors.Is(err, inventory.ErrMismatch) || errors.Is(err, inventory.ErrCollision) ||
		errors.Is(err, inventory.ErrBlocked) || errors.Is(err, inventory.ErrRemoved) || errors.Is(err, errSource)
}

var errSource = errors.New("clone can't be read")

// push copies a clone of a store in this process to another store. progress is
// told how many bytes have gone; it may be nil.
func (a *Agent) push(ctx context.Context, c inventory.Clone, to string, progress *atomic.Int64) (inventory.Clone, error) {
	source, target := a.store(c.Store), a.store(to)
	switch {
	case source == nil:
		return inventory.Clone{}, fmt.Errorf("copying %s: store %s: %w", c.Hash, c.Store, ErrUnknownStore)
	case target == nil:
		return inventory.Clone{}, fmt.Errorf("copying %s: store %s: %w", c.Hash, to, ErrUnknownStore)
	}
	if progress == nil {
		progress = new(atomic.Int64)
	}
	end := a.counts.begin(&Copying{Hash: c.Hash.String(), From: c.Store, To: to, Size: c.Size, done: progress})
	defer end()
	made, err := a.send(ctx, c, source, target, progress)
	if err != nil {
		return inventory.Clone{}, fmt.Errorf("copying %s from store %s to store %s: %w", c.Hash, c.Store, to, err)
	}
	a.counts.copied.Add(1)
	a.counts.progress()
	a.Log.Info("clone made", zap.Stringer("hash", c.Hash), zap.String("from", c.Store), zap.String("to", to), zap.Int64("size", c.Size))
	return made, nil
}

func (a *Agent) send(ctx context.Context, c inventory.Clone, from, to upload.Store, progress *atomic.Int64) (inventory.Clone, error) {
	body, err := from.Open(ctx, c)
	if err != nil {
		return inventory.Clone{}, fmt.Errorf("%w: %w", errSource, err)
	}
	defer body.Close() //nolint:errcheck // it was only read
	result, err := a.Uploader.Upload(ctx, upload.Request{
		Body: &paced{Reader: body, ctx: ctx, pace: &a.copying, bandwidth: func() int64 { return a.settings().Bandwidth }, done: progress},
		Size: c.Size, Type: c.Hash.Type(), Want: c.Hash, Ext: c.Ext, Copies: 1,
		Stores: []upload.Store{copyStore{to, c.Kept}},
	})
	if errors.Is(err, inventory.ErrMismatch) {
		// What was read is not what it should be: it goes to quarantine, and
		// another holder makes the clones.
		if v, ok := a.Volumes.Volume(c.Store); ok {
			_, verr := v.Verify(ctx, c.Hash, true)
			err = errors.Join(err, verr)
		}
	}
	if err != nil {
		return inventory.Clone{}, err
	}
	return result.Clones[0], nil
}

// store returns a store that can be reached, nil where there is none.
func (a *Agent) store(id string) upload.Store {
	for _, s := range a.Stores() {
		if s.Target().ID == id {
			return s
		}
	}
	return nil
}

// copyStore is a store whose new clones are copies and not uploads: they are
// kept no later than what they were made of.
type copyStore struct {
	upload.Store
	kept record.Time
}

// copySink is what stores give for a clone that may be a copy.
type copySink interface {
	upload.Sink
	CommitCopy(ctx context.Context, h content.Hash, ext string, kept record.Time) (inventory.Clone, error)
}

// Create begins a clone.
func (s copyStore) Create(ctx context.Context, size int64, t content.Type) (upload.Sink, error) {
	sink, err := s.Store.Create(ctx, size, t)
	if err != nil {
		return nil, err
	}
	k, ok := sink.(copySink)
	if !ok {
		sink.Abort()
		return nil, fmt.Errorf("store %s: %w: it takes no copies", s.Target().ID, errors.ErrUnsupported)
	}
	if _, remote := sink.(upload.Interrupter); remote {
		return farSink{nearSink{k, s.kept}}, nil
	}
	return nearSink{k, s.kept}, nil
}

// nearSink is a sink whose clone is a copy.
type nearSink struct {
	copySink
	kept record.Time
}

// Commit makes the copy durable.
func (k nearSink) Commit(ctx context.Context, h content.Hash, ext string) (inventory.Clone, error) {
	return k.CommitCopy(ctx, h, ext, k.kept)
}

// farSink is the same at another node.
type farSink struct{ nearSink }

// End is upload.Ender's.
func (k farSink) End() error {
	if e, ok := k.copySink.(upload.Ender); ok {
		return e.End()
	}
	return nil
}

// Interrupt is upload.Interrupter's.
func (k farSink) Interrupt(cause error) {
	if i, ok := k.copySink.(upload.Interrupter); ok {
		i.Interrupt(cause)
	}
}
