package inventory

import (
	"context"
	"errors"

	"github.com/ooseio/oose/content"
)

// Renew keeps a clone that is there already, for an upload of the same content
// that was not written here: under the content's lock its file is checked as
// Has does, and its kept time becomes later than every removal known. It
// reports false where the store holds no such clone. Errors: ErrBlocked,
// ErrOffline, ErrSuspect, and those of the engine.
func (v *Volume) Renew(ctx context.Context, h content.Hash) (Clone, bool, error) {
	c, ok, err := v.renew(ctx, h)
	if err != nil {
		return Clone{}, false, v.fail("renewing "+h.String(), err)
	}
	return c, ok, nil
}

func (v *Volume) renew(ctx context.Context, h content.Hash) (Clone, bool, error) {
	lock, err := v.hold(ctx, h, v.tune.open)
	if err != nil {
		return Clone{}, false, err
	}
	defer lock.release()
	old, have, err := v.lookup(ctx, h)
	if err != nil || !have {
		return Clone{}, false, err
	}
	removed, err := removedAt(ctx, v.engine, h.String())
	if err != nil || removed > 0 && old.Kept <= removed {
		return Clone{}, false, err
	}
	kept, err := v.keep(ctx, h)
	if err != nil {
		return Clone{}, false, err
	}
	f, err := v.openClone(ctx, v.reads, old)
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrChanged) {
		return Clone{}, false, nil
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return Clone{}, false, err
	}
	c := old
	c.Kept = kept
	return c, true, v.write(context.WithoutCancel(ctx), c, old, true)
}
