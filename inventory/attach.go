package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory/disk"
)

// Adopt takes the root as it is, on the operator's word: a medium without a
// marker gets one, another store's medium becomes this store's. Its clones are
// served once they are scanned or recorded. Where the root is held already,
// nothing is done.
func (v *Volume) Adopt(ctx context.Context) error {
	release, ok := v.Acquire()
	if !ok {
		return v.fail("adopting", ErrOffline)
	}
	defer release()
	if v.disk.Load() != nil {
		return nil
	}
	if err := v.attach(ctx, true); err != nil {
		return v.fail("adopting", err)
	}
	return nil
}

// Tried is closed when the volume, which runs, has tried for the first time to
// take its root: until then it is offline whatever the disk.
func (v *Volume) Tried() <-chan struct{} { return v.tried }

// attach takes the root, where the volume does not hold it yet.
func (v *Volume) attach(ctx context.Context, adopt bool) error {
	select {
	case v.attaching <- struct{}{}:
		defer func() { <-v.attaching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if v.disk.Load() != nil {
		return nil
	}
	cfg := v.cfg.Load()
	opts := disk.Options{Name: v.name, KnownID: v.ID(), Mount: cfg.Mount, Adopt: adopt, Claim: cfg.Claim, Hook: v.hook}
	if cfg.Known != nil {
		opts.Known = func() (string, error) {
			id, err := cfg.Known()
			if err == nil {
				v.know(id)
			}
			return id, err
		}
	}
	var space disk.Space
	var spaceErr error
	root, err := through(ctx, v.readTests, v.tune.readTest, func() (*disk.Root, error) {
		root, err := disk.Attach(v.root, opts)
		if err == nil {
			space, spaceErr = root.Space()
		}
		return root, err
	}, func(late *disk.Root, _ error) {
		if late != nil {
			late.Close()
		}
	})
	if err != nil {
		v.condition.change(func(f *facts) { f.offline = err.Error() })
		return err
	}
	id := root.Marker().ID
	v.id.Store(&id)
	v.scans.begin()
	v.media.Add(1)
	v.disk.Store(root)
	v.condition.change(func(f *facts) {
		*f = facts{reserve: f.reserve, space: space}
		if spaceErr != nil {
			f.suspect, f.failedAt = spaceErr.Error(), time.Now()
		}
	})
	v.log.Info("store taken", zap.String("root", v.root), zap.String("id", id), zap.Bool("adopted", adopt))
	v.testWriteWithin(ctx, v.tune.readTest)
	v.scans.want()
	return nil
}

// detach lets go of a root.
func (v *Volume) detach(root *disk.Root, reason string) {
	v.attaching <- struct{}{}
	defer func() { <-v.attaching }()
	if !v.disk.CompareAndSwap(root, nil) {
		return
	}
	v.scans.begin()
	v.condition.change(func(f *facts) { f.offline = reason })
	if err := root.Close(); err != nil {
		v.log.Warn("letting go of a root", zap.Error(err))
	}
}

// testRead looks whether the root is still there and answers a real read. It
// takes the root where the volume does not hold it.
func (v *Volume) testRead(ctx context.Context) {
	defer v.triedOnce.Do(func() { close(v.tried) })
	root := v.disk.Load()
	if root == nil {
		// Its outcome stands in the condition.
		_ = v.attach(ctx, false)
		return
	}
	gone, mount := false, v.cfg.Load().Mount
	space, err := through(ctx, v.readTests, v.tune.readTest, func() (disk.Space, error) {
		if err := root.Present(mount); err != nil {
			gone = true
			return disk.Space{}, err
		}
		if err := root.TestRead(); err != nil {
			return disk.Space{}, err
		}
		return root.Space()
	}, nil)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errNoAnswer) || errors.Is(err, errBusy):
		v.noAnswer()
	case err != nil && gone:
		v.detach(root, fmt.Sprintf("the root is gone: %v", err))
	case err != nil:
		v.condition.change(func(f *facts) { f.unread = fmt.Sprintf("a test read failed: %v", err) })
	default:
		back := false
		v.condition.change(func(f *facts) {
			back = f.hung || f.unread != ""
			f.hung, f.unread, f.space = false, "", space
		})
		if _, scanned, _ := v.scans.status(); back && !scanned {
			v.scans.want()
		}
		if back {
			v.removals.all()
		}
	}
}

// testWrite makes a real write; what it finds decides whether the store is
// written.
func (v *Volume) testWrite(ctx context.Context) { v.testWriteWithin(ctx, v.tune.writeTest) }

func (v *Volume) testWriteWithin(ctx context.Context, limit time.Duration) {
	root := v.disk.Load()
	if root == nil {
		return
	}
	err := do(ctx, v.writeTests, limit, root.TestWrite, nil)
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errNoAnswer) || errors.Is(err, errBusy) {
		err = fmt.Errorf("a test write did not end within %s", limit)
		v.condition.change(func(f *facts) { f.suspect, f.failedAt = err.Error(), time.Now() })
		return
	}
	v.condition.change(func(f *facts) {
		switch fault := disk.FaultOf(err); {
		case err == nil:
			f.readOnly = ""
			if f.suspect != "" && time.Since(f.failedAt) >= v.tune.suspectFor {
				f.suspect = ""
			}
		case fault == disk.Full && !f.full:
			f.full, f.fullFree = true, f.space.Free
		case fault == disk.Full:
		case fault == disk.ReadOnly:
			f.readOnly = "the file system is read-only"
		case fault == disk.Failing || errors.Is(err, disk.ErrSync) || errors.Is(err, disk.ErrTest):
			f.suspect, f.failedAt = fmt.Sprintf("a test write failed: %v", err), time.Now()
		default:
			f.readOnly = fmt.Sprintf("it can't be written: %v", err)
		}
	})
}

// noAnswer takes the volume out of use until a test read passes.
func (v *Volume) noAnswer() {
	v.condition.change(func(f *facts) { f.hung = true })
	v.look()
}

// judge draws what an operation's error says about the disk, and returns the
// error for the caller.
func (v *Volume) judge(err error) error {
	switch fault := disk.FaultOf(err); {
	case err == nil:
		return nil
	case errors.Is(err, errNoAnswer):
		v.noAnswer()
		return fmt.Errorf("%w: %w", ErrOffline, err)
	case errors.Is(err, errBusy), errors.Is(err, fs.ErrClosed):
		return fmt.Errorf("%w: %w", ErrOffline, err)
	case fault == disk.Full:
		v.noSpace()
		return fmt.Errorf("%w: %w", ErrFull, err)
	case fault == disk.ReadOnly:
		v.condition.change(func(f *facts) { f.readOnly = "the file system is read-only" })
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case fault == disk.Failing || errors.Is(err, disk.ErrSync):
		v.suspect(err)
		return fmt.Errorf("%w: %w", ErrSuspect, err)
	case errors.Is(err, fs.ErrNotExist):
		v.look() // the whole root may be gone
	}
	return err
}

// suspect takes the volume out of writing until a test write passes.
func (v *Volume) suspect(err error) {
	v.log.Error("disk reported a failure", zap.Error(err))
	v.condition.change(func(f *facts) { f.suspect, f.failedAt = err.Error(), time.Now() })
}

// noSpace takes the volume out of writing until space has come back.
func (v *Volume) noSpace() {
	var space disk.Space
	if root := v.disk.Load(); root != nil {
		space, _ = root.Space()
	}
	v.condition.change(func(f *facts) {
		f.full, f.fullFree = true, space.Free
		f.space.Free = space.Free
	})
}

// fail words an error of this store.
func (v *Volume) fail(doing string, err error) error {
	return fmt.Errorf("%s in store %s: %w", doing, v.name, err)
}

// taken returns the root, or why there is none to use.
func (v *Volume) taken() (*disk.Root, error) {
	root := v.disk.Load()
	if root != nil && v.Readable() {
		return root, nil
	}
	verdict, _ := v.condition.now()
	return nil, fmt.Errorf("%w: %s", ErrOffline, verdict.reason)
}
