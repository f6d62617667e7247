package pull

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// whole reads a part of a whole copy.
type whole struct {
	*io.SectionReader
	file *os.File
}

func newWhole(f *os.File, offset, end int64) *whole {
	return &whole{io.NewSectionReader(f, offset, end-offset), f}
}

// File is the whole copy, for who can send files.
func (w *whole) File() *os.File { return w.file }

func (w *whole) Close() error { return w.file.Close() }

// reader reads what is being fetched.
type reader struct {
	fetch  *fetch
	ctx    context.Context // of the one request it lives in
	offset int64
	end    int64
	gave   bool // bytes
	closed sync.Once
}

// Close gives the reader's use of the fetch back.
func (r *reader) Close() error {
	r.closed.Do(r.fetch.leave)
	return nil
}

// Read is io.Reader's. It waits until there is at least one byte.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.offset >= r.end:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.fetch.avail.Load() <= r.offset {
		if err := r.await(); errors.Is(err, ErrCorrupt) && !r.gave {
			return 0, ErrGone // nothing wrong was given
		} else if err != nil {
			return 0, err
		}
	}
	n := min(int64(len(p)), r.end-r.offset, r.fetch.avail.Load()-r.offset)
	got, err := r.fetch.file.ReadAt(p[:n], r.offset)
	r.offset += int64(got)
	if got > 0 {
		r.gave = true
		return got, nil
	}
	switch {
	case r.fetch.cache.life.Err() != nil:
		err = ErrOff
	case err == io.EOF || err == nil:
		err = io.ErrUnexpectedEOF // it was cut short behind our back
	}
	return 0, err
}

// await waits until the byte at the reader's offset has come.
func (r *reader) await() error {
	began := r.fetch.cache.tune.now()
	for {
		avail, moved, changed, err := r.fetch.watch(r.offset)
		if err != nil || avail > r.offset {
			return err
		}
		if err := r.wait(changed, r.patience(began, avail, moved)); err != nil {
			return err
		}
	}
}

// watch returns how far the fetch has come, and what is closed when it gets on.
// Its error says that it never will come behind offset.
func (f *fetch) watch(offset int64) (avail int64, moved time.Time, changed chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if avail = f.avail.Load(); avail > offset {
		return avail, f.moved, nil, nil
	}
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return avail, f.moved, f.changed, f.err
}

// limit is until when a reader waits, and its error then.
type limit struct {
	at  time.Time
	err error
}

// patience: a reader ahead of the fetch waits for a while in all; one that
// follows it waits as long as something comes.
func (r *reader) patience(began time.Time, avail int64, moved time.Time) limit {
	t := r.fetch.cache.tune
	if avail < min(r.offset, r.fetch.size-t.holdBack) {
		return limit{began.Add(t.patience), ErrAhead}
	}
	if moved.Before(began) {
		moved = began
	}
	return limit{moved.Add(t.stall), ErrStalled}
}

// wait returns without an error when there is something new to look at.
func (r *reader) wait(changed <-chan struct{}, until limit) error {
	timer := time.NewTimer(until.at.Sub(r.fetch.cache.tune.now()))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return until.err
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-r.fetch.cache.life.Done():
		return ErrOff
	}
}
