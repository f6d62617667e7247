package inventory

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// How a store drops a clone that is not needed, without any node knowing for
// sure what the others do:
//
//   - It reads its own record, and then asks others to verify and keep theirs
//     (Promise).
//   - It drops its own (Surrender) only if as many promised as clones are
//     wanted, and only if its own record is still what it was before it asked.
//     A promise changes the record, so a store never drops with promises that
//     it got before it gave one itself.
//
// Of all stores that drop, take the one that asked last: whoever promised to it
// did so after that, and so can't have dropped with what it had asked for
// before. They are still there, as many as are wanted. This holds whatever the
// clocks, the delays and the crashes. The hour for which a promise is kept
// beyond that spares everybody needless work: a store that promised does not
// ask. Where the operator moves its clone it does all the same, and hands its
// promises on to those that it asks (HandOn); then each promise that it gives
// meanwhile changes its record again.
//
// A promise passes the asker's kept time on: what a removal spared in the one
// that drops, it spares in those that stay.

// PromiseLife is for how long a store that promised to keep a clone does not
// drop it.
const PromiseLife = time.Hour

// renewPromise is how much a promise must have left to be given again as it is.
const renewPromise = PromiseLife / 2

var (
	// ErrPromised says that a store has promised to keep a clone.
	ErrPromised = errors.New("clone is promised to be kept")
	// ErrRemoved says that a content was removed after the upload that a copy
	// would be made of.
	ErrRemoved = errors.New("content was removed")
)

// PromiseOptions says what a promise is based on.
type PromiseOptions struct {
	// Kept is the kept time of the clone that goes; the one that stays gets it
	// where its own is earlier.
	Kept record.Time
	// Fresh is how long ago a verification may be that is not repeated while
	// the file is as recorded; 0: the clone is read in any case.
	Fresh time.Duration
	// OnRead is told of bytes read, and may wait; nil: nobody is.
	OnRead func(int)
}

// Promise verifies a clone and writes down that this store keeps it for
// PromiseLife. Errors: ErrNotExist where there is no clone, or none that a
// removal does not concern, ErrMismatch where it was found wrong, and is in
// quarantine, ErrChanged where it is being written, ErrBlocked, ErrOffline,
// ErrSuspect, and those of the engine.
func (v *Volume) Promise(ctx context.Context, h content.Hash, o PromiseOptions) (Clone, error) {
	release, ok := v.Acquire()
	if !ok {
		return Clone{}, v.fail("promising", ErrOffline)
	}
	defer release()
	err := v.readAnew(ctx, h, o)
	var c Clone
	if err == nil {
		c, err = v.promise(ctx, h, o.Kept)
	}
	if err != nil {
		return Clone{}, v.fail("promising to keep "+h.String(), err)
	}
	return c, nil
}

// readAnew verifies a clone, unless that was done just now.
func (v *Volume) readAnew(ctx context.Context, h content.Hash, o PromiseOptions) error {
	c, have, err := v.lookup(ctx, h)
	if err == nil && !have {
		err = ErrNotExist
	}
	if err == nil {
		err = v.spared(ctx, c, o.Kept)
	}
	if err != nil {
		return err
	}
	if ago := v.since(c.Verified); c.Verified > 0 && ago >= 0 && ago < o.Fresh {
		if same, err := v.asRecorded(ctx, c); err != nil || same {
			return err
		}
	}
	result, found, err := v.check(ctx, c, o.OnRead)
	switch {
	case err != nil:
		return err
	case !result.OK:
		return ErrMismatch
	case found != sound:
		return ErrNotExist
	}
	return nil
}

// spared returns ErrNotExist for a clone that a removal known here concerns,
// also if it were kept as late as kept, and ErrBlocked for one that is refused.
func (v *Volume) spared(ctx context.Context, c Clone, kept record.Time) error {
	refused, err := v.Refuses(ctx, c.Hash)
	if err != nil {
		return err
	}
	if refused {
		return ErrBlocked
	}
	removed, err := removedAt(ctx, v.engine, c.Hash.String())
	if err == nil && removed > 0 && max(c.Kept, kept) <= removed {
		err = ErrNotExist
	}
	return err
}

func (v *Volume) promise(ctx context.Context, h content.Hash, kept record.Time) (Clone, error) {
	lock, err := v.hold(ctx, h, v.tune.sync)
	if err != nil {
		return Clone{}, err
	}
	defer lock.release()
	old, have, err := v.lookup(ctx, h)
	if err == nil && !have {
		err = ErrNotExist
	}
	if err == nil {
		err = v.spared(ctx, old, kept)
	}
	if err == nil {
		err = v.unchanged(ctx, lock, old)
	}
	if err != nil {
		return Clone{}, err
	}
	now, handsOn := v.clock.Wall(), v.handsOn(h)
	if !handsOn && old.Kept >= kept && time.UnixMilli(old.Promised).Sub(now) > renewPromise {
		return old, nil
	}
	c := old
	c.Kept, c.Promised = max(old.Kept, kept), max(old.Promised, now.Add(PromiseLife).UnixMilli())
	if handsOn && c == old {
		c.Promised++
	}
	return c, v.write(context.WithoutCancel(ctx), c, old, true)
}

// unchanged returns ErrChanged where a clone's file is not as recorded, under
// the hash's lock.
func (v *Volume) unchanged(ctx context.Context, lock *hashLock, c Clone) error {
	root, err := v.taken()
	if err != nil {
		return err
	}
	info, err := held(ctx, lock, v.back, v.tune.open, func() (disk.Info, error) {
		return root.Stat(disk.ClonePath(c.Hash, c.Ext, c.Deep))
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.changed.add(c.Hash)
		return ErrNotExist
	case err != nil:
		return v.judge(err)
	case info.Size != c.Size || info.Mtime != c.Mtime:
		v.changed.add(c.Hash)
		return ErrChanged
	}
	return nil
}

// Promising tells whether a clone is promised to be kept now.
func (v *Volume) Promising(c Clone) bool { return v.since(c.Promised) < 0 }

// Surrender drops a clone that others hold as often as is wanted, and have
// promised to keep. The caller read seen, which must not be promised itself
// unless that is handed on (HandOn), from this volume (Has) before it asked them,
// with seen's kept time; the context's deadline is how long their promises count. Errors: ErrPromised and
// record.ErrConflict where the clone must stay for now, ErrNotExist, ErrOffline,
// ErrSuspect, and those of the engine.
func (v *Volume) Surrender(ctx context.Context, seen Clone) error {
	release, ok := v.Acquire()
	if !ok {
		return v.fail("dropping", ErrOffline)
	}
	defer release()
	if err := v.surrender(ctx, seen); err != nil {
		return v.fail("dropping "+seen.Hash.String(), err)
	}
	return nil
}

func (v *Volume) surrender(ctx context.Context, seen Clone) error {
	root, err := v.taken()
	if err != nil {
		return err
	}
	if err := v.condition.refusal(); errors.Is(err, ErrSuspect) || errors.Is(err, ErrReadOnly) {
		return err
	}
	lock, err := v.hold(ctx, seen.Hash, v.tune.sync)
	if err != nil {
		return err
	}
	defer lock.release()
	c, have, err := v.lookup(ctx, seen.Hash)
	switch {
	case err != nil:
		return err
	case !have:
		return ErrNotExist
	case v.Promising(c) && !v.handsOn(seen.Hash):
		return ErrPromised
	case c != seen:
		return record.ErrConflict
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	// The file goes first: see drop.
	if err := v.unlink(ctx, lock, root, disk.ClonePath(c.Hash, c.Ext, c.Deep)); err != nil {
		return err
	}
	return v.unrecord(ctx, c)
}
