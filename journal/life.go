package journal

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ooseio/oose/record"
)

// gate keeps readers out while the database is closed: Badger unmaps its
// files, and reading on would end the process.
type gate struct {
	mu     sync.RWMutex
	closed bool        // for good
	shut   atomic.Bool // the same, for those who only look
}

func (g *gate) enter() error {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return errClosed
	}
	return nil
}

func (g *gate) leave() { g.mu.RUnlock() }

// exclusive waits for the readers and keeps others waiting while f runs.
func (g *gate) exclusive(f func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return f()
}

// close waits for the readers. It reports false where it had been called before.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.shut.Store(true)
	return true
}

var errClosed = fmt.Errorf("%w: the database is closed", record.ErrUnavailable)

// run is Run's life.
type run struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // of the Run that runs
	begun   bool
	stopped chan struct{} // closed when Run has answered everything
}

// begin reports false where Run has been called, or never may be.
func (r *run) begin(ctx context.Context) (context.Context, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return ctx, false
	}
	r.begun = true
	ctx, r.cancel = context.WithCancel(ctx)
	return ctx, true
}

// end stops Run and waits for it.
func (r *run) end() {
	r.mu.Lock()
	if !r.begun {
		r.begun = true
		close(r.stopped)
	}
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	<-r.stopped
}
