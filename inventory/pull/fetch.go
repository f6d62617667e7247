package pull

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// fetch is a copy that is being made, and what its readers wait for.
type fetch struct {
	cache  *Cache
	hash   content.Hash
	size   int64
	source func(ctx context.Context, offset int64) (io.ReadCloser, error)
	medium uint64
	wanted bool // by other nodes

	ctx    context.Context
	cancel context.CancelCauseFunc
	began  time.Time
	ready  chan struct{} // closed when file is there, or the fetch is over
	slow   atomic.Bool   // somebody has waited too long for that already
	joined atomic.Bool   // viewers here have read it

	got   int64        // bytes written; the fetch's own
	avail atomic.Int64 // bytes that readers may have; changed under mu

	mu      sync.Mutex
	file    file // nil until ready; closed after the last user
	users   int  // readers, and the fetch itself
	err     error
	moved   time.Time     // when avail was last changed
	changed chan struct{} // closed at the next change, nil: nobody waits
}

func newFetch(c *Cache, h content.Hash, size int64, source func(context.Context, int64) (io.ReadCloser, error)) *fetch {
	f := &fetch{
		cache: c, hash: h, size: size, source: source, users: 1,
		began: c.tune.now(), ready: make(chan struct{}),
	}
	f.moved = f.began
	f.ctx, f.cancel = context.WithCancelCause(c.life)
	return f
}

// enter counts a reader, unless the fetch is far from where it begins. What the
// fetch does in a second is not far.
func (f *fetch) enter(offset int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	avail := f.avail.Load()
	reach := f.cache.tune.ahead
	if took := f.cache.tune.now().Sub(f.began); took >= time.Second {
		reach = max(reach, int64(float64(avail)/took.Seconds()))
	}
	if offset > avail+reach {
		return false
	}
	f.users++
	f.joined.Store(true)
	return true
}

// leave gives a use back; the last one closes the file.
func (f *fetch) leave() {
	f.mu.Lock()
	f.users--
	last := f.users == 0
	f.mu.Unlock()
	if last {
		f.close()
	}
}

// close closes the file, which may be done more than once.
func (f *fetch) close() {
	f.cache.mu.Lock()
	delete(f.cache.inUse, f)
	f.cache.mu.Unlock()
	f.mu.Lock()
	file := f.file
	f.mu.Unlock()
	if file != nil {
		_ = file.Close() // what went wrong there, the disk has told
	}
}

// awaitReady waits a moment for the fetch to begin.
func (f *fetch) awaitReady(ctx context.Context) error {
	limit := f.cache.tune.ready
	if f.slow.Load() {
		limit = 0
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		select {
		case <-f.ready:
		default:
			f.slow.Store(true)
			return ErrBusy
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return f.err
	}
	return nil
}

// run makes the copy.
func (f *fetch) run() {
	defer f.leave()
	c := f.cache
	limit := time.Minute + time.Duration(float64(f.size)/float64(c.tune.slowest)*float64(time.Second))
	ctx, cancel := context.WithTimeoutCause(f.ctx, limit, ErrStalled)
	defer cancel()
	err := f.make(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
		if c.life.Err() != nil {
			err = ErrOff
		}
	}
	f.cancel(nil)
	c.settle(f, err)
	f.mu.Lock()
	f.err = err
	f.tell()
	if f.file == nil {
		close(f.ready)
	}
	f.mu.Unlock()
}

// make fetches, checks and keeps the copy. What the disk does wrong is a
// diskError.
func (f *fetch) make(ctx context.Context) error {
	if err := f.cache.evict(ctx, charge(f.size)); err != nil {
		return err
	}
	file, err := f.cache.disk.Create(ctx, f.size)
	if errors.Is(err, inventory.ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return diskError{err}
	}
	f.mu.Lock()
	f.file = file
	f.mu.Unlock()
	close(f.ready)
	digest := inventory.NewHash(f.hash.Type())
	if err := f.pump(ctx, file, digest); err != nil {
		return err
	}
	if sum, err := inventory.SumOf(f.hash.Type(), digest); err != nil || sum != f.hash {
		return errors.Join(ErrCorrupt, err)
	}
	f.advance(f.size)
	if f.cache.removals != nil {
		switch gone, err := f.cache.removals.Gone(ctx, f.hash); {
		case err != nil:
			return err
		case gone:
			return ErrGone
		}
	}
	if err := file.Keep(ctx, nameOf(f.hash, f.size)); err != nil {
		return diskError{err}
	}
	return nil
}

// diskError is what a cache's own disk did.
type diskError struct{ error }

func (e diskError) Unwrap() error { return e.error }

// pump fetches all bytes, from one source after the other.
func (f *fetch) pump(ctx context.Context, file file, digest hash.Hash) error {
	t := f.cache.tune
	empty := 0 // calls in a row that brought nothing
	var last error
	for calls := 0; f.got < f.size; calls++ {
		if calls == t.calls || empty == t.tries {
			return fmt.Errorf("fetching from byte %d on: %w", f.got, last)
		}
		if empty > 1 {
			if err := pause(ctx, t.pause<<(empty-2)); err != nil {
				return err
			}
		}
		before := f.got
		last = f.from(ctx, file, digest)
		if failed := (diskError{}); errors.As(last, &failed) || ctx.Err() != nil {
			return errors.Join(last, ctx.Err())
		}
		if empty++; f.got > before {
			empty = 0
		}
	}
	return nil
}

func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// from fetches from one source, until that has no more to give.
func (f *fetch) from(ctx context.Context, file file, digest hash.Hash) error {
	body, err := f.source(ctx, f.got)
	if err != nil {
		return err
	}
	// A body that does not know the context is closed under its reader.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = body.Close()
	})
	defer func() {
		if stop() {
			_ = body.Close() // it was only read
		} else {
			<-closed
		}
	}()
	buf := make([]byte, f.cache.tune.buffer)
	for f.got < f.size {
		n, err := body.Read(buf[:min(int64(len(buf)), f.size-f.got)])
		if n > 0 {
			if err := f.take(ctx, file, digest, buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF && f.got < f.size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// roomEvery is after how many bytes the disk's room is looked at again.
const roomEvery = 64 << 20

// take writes what came, and lets readers have it but for the end.
func (f *fetch) take(ctx context.Context, file file, digest hash.Hash, p []byte) error {
	if _, err := file.WriteAt(p, f.got); err != nil {
		return diskError{err}
	}
	before := f.got
	f.got += int64(len(p))
	f.advance(min(f.got, f.size-f.cache.tune.holdBack))
	digest.Write(p)
	if before/roomEvery != f.got/roomEvery {
		if err := f.cache.evict(ctx, 0); err != nil {
			return diskError{err}
		}
	}
	return nil
}

// advance lets readers have the bytes up to avail.
func (f *fetch) advance(avail int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = f.cache.tune.now()
	if avail > f.avail.Load() {
		f.avail.Store(avail)
		f.tell()
	}
}

// tell wakes who waits for a change. f.mu is held.
func (f *fetch) tell() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// logged says what a fetch came to.
func (f *fetch) logged(err error) {
	log := f.cache.log.With(zap.Stringer("hash", f.hash), zap.Int64("size", f.size), zap.Int64("fetched", f.got))
	switch {
	case err == nil:
		log.Debug("copy fetched")
	case errors.Is(err, ErrCorrupt):
		log.Error("what was fetched has another digest than its name, it is thrown away", zap.Error(err))
	case errors.Is(err, ErrOff), errors.Is(err, ErrGone), errors.Is(err, ErrFull):
		log.Debug("copy not fetched", zap.Error(err))
	default:
		log.Warn("copy not fetched", zap.Error(err))
	}
}
