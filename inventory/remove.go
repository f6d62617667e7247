package inventory

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// Remove verifies a clone, as Verify without force does, and takes it away
// with its record. Where the verification fails the clone is in quarantine
// already, and the result says so. Errors: ErrNotExist, ErrPromised and those of Verify.
func (v *Volume) Remove(ctx context.Context, h content.Hash) (Clone, Verification, error) {
	release, ok := v.Acquire()
	if !ok {
		return Clone{}, Verification{}, v.fail("removing", ErrOffline)
	}
	defer release()
	c, have, err := v.lookup(ctx, h)
	if err == nil && !have {
		err = ErrNotExist
	}
	var result Verification
	if err == nil {
		result, err = v.verify(ctx, h, false, nil)
	}
	if err == nil && result.OK {
		_, err = v.drop(ctx, h, record.Time(1)<<63, true)
	}
	if err != nil {
		return Clone{}, Verification{}, v.fail("removing "+h.String(), err)
	}
	return c, result, nil
}

// Drop obeys a removal: under the hash's lock it takes a clone away whose kept
// time is earlier, sound or not, and files of that content that have no record
// and lay there before. It tells whether there was something to take away.
func (v *Volume) Drop(ctx context.Context, h content.Hash, before record.Time) (bool, error) {
	release, ok := v.Acquire()
	if !ok {
		return false, v.fail("dropping", ErrOffline)
	}
	defer release()
	done, err := v.drop(ctx, h, before, false)
	if err != nil {
		return false, v.fail("dropping "+h.String(), err)
	}
	return done, nil
}

// drop is Drop; heeding, it keeps what is promised to be kept.
func (v *Volume) drop(ctx context.Context, h content.Hash, before record.Time, heeding bool) (bool, error) {
	root, err := v.taken()
	if err != nil {
		return false, err
	}
	lock, err := v.hold(ctx, h, v.tune.sync)
	if err != nil {
		return false, err
	}
	defer lock.release()
	c, have, err := v.lookup(ctx, h)
	if err != nil || have && c.Kept >= before {
		return false, err
	}
	if heeding && have && v.Promising(c) {
		return false, ErrPromised
	}
	ctx = context.WithoutCancel(ctx)
	key := h.String()
	listing, err := held(ctx, lock, v.back, v.tune.list, func() (disk.Listing, error) { return root.Collect(key[:2], key[2:4]) })
	if err != nil {
		return false, v.judge(err)
	}
	taken := have
	for _, f := range listing.Found {
		ours := have && f.Ext == c.Ext && f.Deep == c.Deep
		if f.Key != key || !ours && keptSince(f.Info) >= before {
			continue
		}
		// The file goes first: a crash in between leaves a record without a
		// file, which the next scan takes back, and not a file that it records.
		if err := v.unlink(ctx, lock, root, disk.ClonePath(h, f.Ext, f.Deep)); err != nil {
			return false, err
		}
		taken = true
	}
	if have {
		err = v.unrecord(ctx, c)
	}
	return taken, err
}

// unlink removes a clone's file durably, under its hash's lock.
func (v *Volume) unlink(ctx context.Context, lock *hashLock, root *disk.Root, rel string) error {
	_, err := held(ctx, lock, v.writes, v.tune.sync, func() (struct{}, error) {
		if err := root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return struct{}{}, err
		}
		return struct{}{}, root.SyncDir(disk.DirOf(rel))
	})
	return v.judge(err)
}

// obeyRemovals drops what new removals concern, until ctx ends. What can't be
// dropped, as on a disk that is read-only for a moment, is tried again: nobody
// looks for it before the next scan.
func (v *Volume) obeyRemovals(ctx context.Context) error {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.removals.wake:
		case <-again.C:
		}
		if v.disk.Load() == nil {
			v.removals.take() // the scan that follows when it is back obeys them all
			continue
		}
		if err := v.condition.refusal(); errors.Is(err, ErrReadOnly) || v.dropAll(ctx) != nil {
			again.Reset(v.tune.writeEvery)
		}
	}
}

// dropAll drops what waits to be dropped. What it can't goes on waiting.
func (v *Volume) dropAll(ctx context.Context) error {
	waiting, all := v.removals.take()
	var failed error
	for h := range waiting {
		err := v.obey(ctx, h)
		if ctx.Err() != nil {
			return nil // the volume is closing
		}
		if err != nil {
			v.removals.wait(h)
			failed = err
		}
	}
	if all {
		err := v.sweepRemovals(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			v.removals.waitAll()
			failed = err
		}
	}
	if failed != nil {
		v.log.Warn("obeying removals; it is tried again", zap.Error(failed))
	}
	return failed
}

// obey drops a content's clone where a removal concerns it.
func (v *Volume) obey(ctx context.Context, h content.Hash) error {
	removed, err := removedAt(ctx, v.engine, h.String())
	if err != nil || removed == 0 {
		return err
	}
	_, err = v.drop(ctx, h, removed, false)
	return err
}

// sweepRemovals looks at all removals there are, for what this store has not
// dropped because it was away.
func (v *Volume) sweepRemovals(ctx context.Context) error {
	after := ""
	for {
		keys := make([]string, 0, pageLen)
		for r, err := range v.engine.List(ctx, record.Removal, record.ByKey, "", after) {
			if err != nil {
				return err
			}
			if len(keys) == 0 || keys[len(keys)-1] != r.Key {
				if len(keys) == pageLen {
					break
				}
				keys = append(keys, r.Key)
			}
		}
		for _, key := range keys {
			h, err := content.ParseHash(key)
			if err != nil {
				continue
			}
			c, have, err := v.lookup(ctx, h)
			if err != nil {
				return err
			}
			removed, err := removedAt(ctx, v.engine, key)
			if err != nil {
				return err
			}
			if have && c.Kept < removed {
				if _, err := v.drop(ctx, h, removed, false); err != nil {
					return err
				}
			}
		}
		if len(keys) < pageLen {
			return nil
		}
		after = keys[len(keys)-1]
	}
}
