package inventory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// What the write path waits for and looks after.
const (
	syncRate     = 50e6        // bytes that a disk is expected to make durable in a second
	reserveRate  = 1e9         // bytes that a file system is expected to reserve in a second
	writebackLen = 16 << 20    // bytes after which the system is asked to begin writing
	roomCheckLen = 64 << 20    // bytes after which the reserve is looked at again
	preallocMin  = 64 << 10    // bytes below which preallocating is not worth a call
	engineLimit  = time.Minute // for a record to be written
)

// Temp is a clone being written: a temporary file in the store. One goroutine
// writes and commits; Abort may be called by another, also while a Write hangs.
// Either Commit or Abort must be called.
type Temp struct {
	v    *Volume
	root *disk.Root
	rel  string
	size int64 // announced, -1: not known

	written atomic.Int64
	copied  copied

	mu      sync.Mutex // held while the file is worked on
	file    *os.File
	failed  error
	over    bool // committed or discarded
	release func()

	aborted atomic.Bool // whoever holds mu is to discard the file afterwards
}

// Create begins a new clone of size bytes, -1 where that is not known. Where it
// is known its space is reserved at once. Errors: ErrFull, ErrReadOnly,
// ErrOffline, ErrSuspect.
func (v *Volume) Create(ctx context.Context, size int64) (*Temp, error) {
	release, ok := v.Acquire()
	if !ok {
		return nil, v.fail("writing", ErrOffline)
	}
	t, err := v.create(ctx, size)
	if err != nil {
		release()
		return nil, v.fail("writing", err)
	}
	t.release = release
	return t, nil
}

func (v *Volume) create(ctx context.Context, size int64) (*Temp, error) {
	if err := v.condition.refusal(); err != nil {
		return nil, err
	}
	root, err := v.taken()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &Temp{v: v, root: root, rel: disk.TempPath(rand.Text()), size: size}
	t.file, err = through(ctx, v.writes, v.tune.open+atRate(size, reserveRate), func() (*os.File, error) {
		return v.createFile(root, t.rel, size)
	}, func(late *os.File, _ error) {
		if late != nil {
			late.Close()
			_ = root.Remove(t.rel)
		}
	})
	if err != nil {
		return nil, v.judge(err)
	}
	return t, nil
}

// createFile makes a temporary file and its room.
func (v *Volume) createFile(root *disk.Root, rel string, size int64) (*os.File, error) {
	if err := v.room(root, size); err != nil {
		return nil, err
	}
	f, err := root.Create(rel)
	if err != nil {
		return nil, err
	}
	if size >= preallocMin {
		if err := root.Preallocate(f, size); err != nil {
			if disk.FaultOf(err) == disk.Full {
				// Not wrapped: something smaller may still find room.
				err = fmt.Errorf("%w: no room for %d bytes: %v", ErrFull, size, err)
			}
			return nil, errors.Join(err, f.Close(), root.Remove(rel))
		}
	}
	return f, nil
}

// room returns ErrFull where size more bytes would leave less than the reserve.
func (v *Volume) room(root *disk.Root, size int64) error {
	space, err := root.Space()
	if err != nil {
		return err
	}
	reserve := v.cfg.Load().Reserve
	if short := reserve + max(size, 0) - space.Free; short > 0 && v.give(short) {
		if space, err = root.Space(); err != nil {
			return err
		}
	}
	if space.Free-max(size, 0) < reserve {
		// The disk may still have room for something smaller.
		if space.Free < reserve {
			v.condition.change(func(f *facts) { f.space = space })
		}
		return fmt.Errorf("%w: %d bytes are free and %d wanted, with a reserve of %d", ErrFull, space.Free, max(size, 0), reserve)
	}
	return nil
}

// give has copies that are no clones give way; it tells whether any did.
func (v *Volume) give(bytes int64) bool {
	give := v.giver.Load()
	return give != nil && *give != nil && (*give)(bytes)
}

// Size returns the bytes written so far.
func (t *Temp) Size() int64 { return t.written.Load() }

// Write appends to the temporary file. After an error every later call fails.
// It may block as long as the disk does; Abort does not wait for it.
func (t *Temp) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.unlock()
	if t.over || t.failed != nil {
		return 0, t.v.fail("writing", errors.Join(errTempOver, t.failed))
	}
	n, err := t.write(p)
	if err != nil {
		t.failed = t.v.judge(err)
		return n, t.v.fail("writing", t.failed)
	}
	return n, nil
}

var errTempOver = errors.New("this upload is over")

func (t *Temp) write(p []byte) (int, error) {
	if err := t.v.inject("write", t.rel); err != nil {
		return 0, err
	}
	n, err := t.file.Write(p)
	after := t.written.Add(int64(n))
	before := after - int64(n)
	if err != nil {
		return n, err
	}
	if from := before / writebackLen; after/writebackLen > from {
		disk.StartWriteback(t.file, from*writebackLen, after-from*writebackLen)
	}
	if after > max(t.size, 0) && after/roomCheckLen > before/roomCheckLen {
		err = t.v.room(t.root, 0)
	}
	return n, err
}

// Abort removes the temporary file. Where a Write hangs, it does not wait for
// it: the file goes when that ends. After Commit it does nothing.
func (t *Temp) Abort() {
	t.aborted.Store(true)
	if t.mu.TryLock() {
		defer t.mu.Unlock()
		t.discard()
	}
}

// unlock gives mu back and does what an Abort could not do meanwhile.
func (t *Temp) unlock() {
	t.mu.Unlock()
	if t.aborted.Load() {
		t.Abort()
	}
}

// discard closes and removes the temporary file; t.mu is held.
func (t *Temp) discard() {
	if t.over {
		return
	}
	t.over = true
	file, root, rel, release, v := t.file, t.root, t.rel, t.release, t.v
	// A disk that hangs does not keep the volume from being closed.
	defer release()
	err := do(context.Background(), v.writes, v.tune.open, func() error {
		err := root.Remove(rel)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // it was moved into place
		}
		return errors.Join(file.Close(), err)
	}, nil)
	if err != nil {
		v.log.Warn("removing a temporary file", zap.String("file", rel), zap.Error(v.judge(err)))
	}
}

// Commit makes the clone durable under its hash, whose digest over all that was
// written the caller has checked, and records it. Where the store holds the
// content already, soundly by size and time, that clone stays and only its kept
// time is renewed; else the temporary file replaces it. Once begun it does not
// end with ctx. After an error nothing is left of the upload; where only the
// record failed, whether it was written is unknown, and the whole clone stays
// for the next scan. Errors: those of
// Create, ErrBlocked, and those of the engine.
func (t *Temp) Commit(ctx context.Context, h content.Hash, ext string) (Clone, error) {
	t.mu.Lock()
	defer t.unlock()
	defer t.discard()
	if t.over || t.failed != nil {
		return Clone{}, t.v.fail("storing", errors.Join(errTempOver, t.failed))
	}
	if e, err := content.ParseExt(ext); err != nil || e != ext || h.IsZero() {
		return Clone{}, t.v.fail("storing", errors.Join(content.ErrInvalidExt, err))
	}
	if err := ctx.Err(); err != nil {
		return Clone{}, t.v.fail("storing", err)
	}
	c, err := t.commit(context.WithoutCancel(ctx), h, ext)
	if err != nil {
		return Clone{}, t.v.fail("storing "+h.String(), err)
	}
	return c, nil
}

// limit is how long making the clone durable may take.
func (t *Temp) limit() time.Duration {
	return t.v.tune.sync + atRate(t.Size(), syncRate)
}

// atRate is how long so many bytes take at so many in a second.
func atRate(size int64, rate float64) time.Duration {
	return time.Duration(float64(max(size, 0)) / rate * float64(time.Second))
}
