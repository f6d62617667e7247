package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// Failed says that a clone's file, which Open returned, could not be read to
// its end: by that the disk is judged, and the clone is verified in the
// background at once. It must not be called where the reader's client has
// failed.
func (v *Volume) Failed(h content.Hash, err error) {
	v.log.Warn("clone failed while it was read, it is verified", zap.Stringer("hash", h), zap.Error(err))
	_ = v.judge(err) // the error is the caller's already
	v.changed.add(h)
}

// readError says where a file could not be read.
type readError struct {
	offset int64
	err    error
}

func (e *readError) Error() string { return fmt.Sprintf("at byte %d: %v", e.offset, e.err) }
func (e *readError) Unwrap() error { return e.err }

// rereads is how often what could not be read is tried again.
const rereads = 2

// unreadable decides whether a file that could not be read for cause is lost
// while its disk is not: the same place fails again and again, and in between
// the disk gives what is read from its medium elsewhere. Where the disk as a
// whole does not answer as it should, nothing is known of the clone.
func (v *Volume) unreadable(ctx context.Context, root *disk.Root, rel string, cause error) bool {
	if disk.FaultOf(cause) != disk.Failing || errors.Is(cause, disk.ErrSync) {
		return false
	}
	var at readError
	if e := (*readError)(nil); errors.As(cause, &e) {
		at = *e
	}
	for range rereads {
		if sleep(ctx, v.tune.reread); ctx.Err() != nil {
			return false
		}
		if disk.FaultOf(v.readAt(ctx, root, rel, at.offset)) != disk.Failing {
			return false
		}
		if do(ctx, v.readTests, v.tune.readTest, root.TestRead, nil) != nil || v.disk.Load() != root {
			return false
		}
	}
	return true
}

// readAt reads a block of a file.
func (v *Volume) readAt(ctx context.Context, root *disk.Root, rel string, offset int64) error {
	o, err := v.openFile(ctx, v.back, root, rel)
	if err != nil {
		return err
	}
	defer o.file.Close()
	return do(ctx, v.back, v.tune.read, func() error {
		if _, err := o.file.Seek(offset, io.SeekStart); err != nil {
			return err
		}
		_, err := readBlock(v, o.file, rel, make([]byte, bufferSize))
		if err == io.EOF {
			err = nil
		}
		return err
	}, nil)
}

// verifyChanged verifies the clones that readers found changed, missing or
// unreadable. Those that can't be judged are tried again after a while.
func (v *Volume) verifyChanged(ctx context.Context) error {
	var later []content.Hash
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.changed.wake:
		case <-again:
			for _, h := range later {
				v.changed.add(h)
			}
			later, again = nil, nil
		}
		waiting, all := v.changed.take()
		for h := range waiting {
			_, err := v.verify(ctx, h, true, nil)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil || errors.Is(err, ErrNotExist) {
				continue
			}
			v.log.Warn("verifying a changed clone; it is tried again", zap.Stringer("hash", h), zap.Error(err))
			if len(later) < maxBacklog {
				later = append(later, h)
			}
			if again == nil {
				again = time.After(v.tune.suspectFor + v.tune.readEvery)
			}
		}
		if all {
			v.scans.want()
		}
	}
}
