package upload

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// verdict is how a writer's work ends.
type verdict struct {
	commit bool
	ctx    context.Context
	hash   content.Hash
	ext    string
}

// writer gives one sink what waits for it, in a goroutine of its own.
type writer struct {
	store Store // nil for the digest
	sink  Sink
	pump  *pump
	queue chan *chunk

	given   int64         // bytes handed over, by the pump
	taken   atomic.Int64  // bytes of those that the sink has taken
	moved   atomic.Int64  // when it last took some or was first given some, nanoseconds since 1970
	ending  atomic.Bool   // all are written, and the sink is waited for
	drained chan struct{} // it has taken all there will be
	left    atomic.Bool   // nobody waits for it any more

	verdict chan verdict
	once    sync.Once     // of the verdict
	done    chan struct{} // nothing of it goes on

	mu    sync.Mutex
	err   error
	clone inventory.Clone
}

func (p *pump) newWriter(store Store, sink Sink) *writer {
	return &writer{
		store: store, sink: sink, pump: p,
		queue:   make(chan *chunk, bufferCount+p.copies), // those in use, and what replaced them
		drained: make(chan struct{}),
		verdict: make(chan verdict, 1),
		done:    make(chan struct{}),
	}
}

// run ends when the queue was closed and a verdict came, both of which the
// pump's end sees to.
func (w *writer) run() {
	defer w.notify()
	defer close(w.done)
	aborted := false
	for c := range w.queue {
		if w.failed() == nil {
			if _, err := w.sink.Write(c.bytes()); err != nil {
				w.fail(err)
			}
		}
		if w.failed() != nil && !aborted {
			aborted = true
			w.sink.Abort() // now, and not at the end: the disk may be full
		}
		w.taken.Add(int64(c.n))
		w.moved.Store(time.Now().UnixNano())
		c.release()
	}
	if e, ok := w.sink.(Ender); ok && !aborted {
		w.finishWriting(e)
	}
	close(w.drained)
	w.notify()
	v := <-w.verdict
	switch {
	case aborted:
	case !v.commit || w.failed() != nil:
		w.sink.Abort()
	default:
		clone, err := w.sink.Commit(v.ctx, v.hash, v.ext)
		w.mu.Lock()
		w.clone, w.err = clone, err
		w.mu.Unlock()
	}
}

// finishWriting waits until a sink's bytes are where they belong.
func (w *writer) finishWriting(e Ender) {
	w.moved.Store(time.Now().UnixNano())
	w.ending.Store(true)
	if err := e.End(); err != nil {
		w.fail(err)
	}
	w.ending.Store(false)
}

func (w *writer) notify() {
	select {
	case w.pump.wake <- struct{}{}:
	default:
	}
}

// decide gives the verdict; the first one counts. What a sink still waits for
// is of no use once its bytes are not wanted.
func (w *writer) decide(v verdict) {
	w.once.Do(func() {
		w.verdict <- v
		if !v.commit {
			w.interrupt(errUnwanted)
		}
	})
}

var errUnwanted = errors.New("the upload is not wanted any more")

// interrupt has a sink that can be interrupted not wait any longer.
func (w *writer) interrupt(cause error) {
	if s, ok := w.sink.(Interrupter); ok {
		s.Interrupt(cause)
	}
}

func (w *writer) give(c *chunk) {
	if w.taken.Load() == w.given {
		w.moved.Store(time.Now().UnixNano())
	}
	w.given += int64(c.n)
	w.queue <- c
}

// waited returns for how long bytes have waited of which none was taken, or the
// end of them was waited for.
func (w *writer) waited(now time.Time) time.Duration {
	if w.taken.Load() == w.given && !w.ending.Load() {
		return 0
	}
	return now.Sub(time.Unix(0, w.moved.Load()))
}

// isBehind tells whether another writer has got further.
func (w *writer) isBehind(other *writer) bool {
	return other.taken.Load() > w.taken.Load() || w.ending.Load() && other.hasDrained()
}

func (w *writer) hasDrained() bool {
	select {
	case <-w.drained:
		return true
	default:
		return false
	}
}

func (w *writer) alive() bool { return w.failed() == nil }

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail ends the writer's part in the upload; the first reason stays.
func (w *writer) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		if w.store != nil {
			err = fmt.Errorf("store %s: %w", w.store.Target().ID, err)
		}
		w.err = err
	}
	w.mu.Unlock()
	w.notify()
}

// digestSink computes the hash of the body beside the stores.
type digestSink struct{ hash.Hash }

func (digestSink) Commit(context.Context, content.Hash, string) (inventory.Clone, error) {
	return inventory.Clone{}, nil
}

func (digestSink) Abort() {}

// outcome is what a commit has come to.
func (w *writer) outcome() (inventory.Clone, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clone, w.err
}
