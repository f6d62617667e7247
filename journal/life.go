package journal

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ooseio/oose/record"
)

// gate lets readers in until it is closed, and closing waits for those inside:
// Badger unmaps its files when it closes.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the last is out, made by close
	shut   atomic.Bool   // closed, for those who only look
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// close reports false where it had been called before.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed = true
	g.shut.Store(true)
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
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
