package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

const (
	// bufferSize is what is read and written at once, in bytes.
	bufferSize = 256 << 10
	// bufferCount is how many buffers one upload has: the slowest of its stores
	// may be that far behind the body.
	bufferCount = 8

	// stallAfter is how long a store may take none of the bytes that wait for
	// it while another takes them, before it is left behind.
	stallAfter = 5 * time.Second
	// hangAfter is the same for stores that all take none.
	hangAfter = time.Minute
	// sweepEvery is how often stores that are waited for are looked at.
	sweepEvery = 500 * time.Millisecond
)

// chunk is a buffer on its way to the digest and the stores. The last of them
// gives it back.
type chunk struct {
	buf  *[]byte
	n    int
	refs atomic.Int32
	home *pump
}

func (c *chunk) bytes() []byte { return (*c.buf)[:c.n] }

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		c.home.giveBack(c)
	}
}

// pump moves one body to its writers. All methods but those that say otherwise
// are called from the goroutine of the upload.
type pump struct {
	u       *Uploader
	free    chan *chunk
	wake    chan struct{} // a writer has failed or drained its queue
	digest  *writer
	writers []*writer
	ranking []Store // candidates that are not yet tried, the best first
	typ     content.Type
	size    int64
	copies  int
	closed  bool // nothing more will be given
}

func (u *Uploader) newPump(copies int) *pump {
	p := &pump{u: u, copies: copies, free: make(chan *chunk, bufferCount), wake: make(chan struct{}, 1)}
	for range bufferCount {
		p.free <- p.newChunk()
	}
	return p
}

func (p *pump) newChunk() *chunk { return &chunk{buf: p.u.pool.Get().(*[]byte), home: p} }

// giveBack may be called from any goroutine. Buffers of a pump that has ended,
// or that were replaced meanwhile, go back to the pool.
func (p *pump) giveBack(c *chunk) {
	select {
	case p.free <- c:
	default:
		p.u.pool.Put(c.buf)
	}
}

// end takes back what was not committed, and waits for the writers but those
// that were left behind.
func (p *pump) end() {
	p.closeQueues()
	for _, w := range p.all() {
		w.decide(verdict{})
	}
	for _, w := range p.all() {
		if !w.left.Load() {
			p.await(w.done, stallAfter)
		}
	}
	p.emptyBuffers()
}

// emptyBuffers lets others use the buffers that are not in use.
func (p *pump) emptyBuffers() {
	for {
		select {
		case c := <-p.free:
			p.u.pool.Put(c.buf)
		default:
			return
		}
	}
}

// await waits for a channel's end, but no longer than it may take.
func (p *pump) await(done <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (p *pump) all() []*writer {
	all := p.writers[:len(p.writers):len(p.writers)]
	if p.digest != nil {
		all = append(all, p.digest)
	}
	return all
}

// alive returns the writers that neither failed nor were left behind.
func (p *pump) alive() []*writer {
	var alive []*writer
	for _, w := range p.writers {
		if w.alive() {
			alive = append(alive, w)
		}
	}
	return alive
}

// feed reads the body and hands it on. At its return the writers have taken
// all of it, or were left behind.
func (p *pump) feed(ctx context.Context, body io.Reader, most int64) error {
	for {
		c, err := p.take(ctx)
		if err != nil {
			return err
		}
		n, err := fill(body, *c.buf)
		p.size += int64(n)
		if most > 0 && p.size > most {
			p.giveBack(c)
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)
		}
		c.n = n
		p.give(c)
		if errors.Is(err, io.EOF) {
			return p.drain()
		}
		if err != nil {
			return &BodyError{Err: err}
		}
	}
}

// fill reads until b is full or the body has ended, which is io.EOF as the
// body itself said it.
func fill(body io.Reader, b []byte) (int, error) {
	n, empty := 0, 0
	for n < len(b) {
		m, err := body.Read(b[n:])
		n += m
		if err == io.EOF { //nolint:errorlint // a wrapped one is not the body's end
			return n, io.EOF
		}
		if err != nil {
			return n, err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// take waits for a buffer that all have done with, and looks at the writers
// meanwhile.
func (p *pump) take(ctx context.Context) (*chunk, error) {
	var ticks <-chan time.Time
	for {
		if len(p.alive()) == 0 {
			return nil, p.failure()
		}
		select {
		case c := <-p.free:
			return c, nil
		default:
		}
		if ticks == nil {
			ticker := time.NewTicker(sweepEvery)
			defer ticker.Stop()
			ticks = ticker.C
		}
		select {
		case c := <-p.free:
			return c, nil
		case <-p.wake:
		case <-ticks:
			p.sweep(time.Now())
		case <-ctx.Done():
			return nil, &BodyError{Err: context.Cause(ctx)}
		}
	}
}

// give hands a filled buffer to the digest and every writer that is alive.
func (p *pump) give(c *chunk) {
	if c.n == 0 {
		p.giveBack(c)
		return
	}
	alive := append(p.alive(), p.digest)
	c.refs.Store(int32(len(alive)))
	for _, w := range alive {
		w.give(c)
	}
}

// drain waits until the digest and the writers that are alive have taken
// everything.
func (p *pump) drain() error {
	p.closeQueues()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		alive := p.alive()
		if len(alive) == 0 {
			return p.failure()
		}
		waiting := 0
		for _, w := range append(alive, p.digest) {
			if !w.hasDrained() {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		select {
		case <-p.wake:
		case <-ticker.C:
			p.sweep(time.Now())
		}
	}
}

func (p *pump) closeQueues() {
	if p.closed {
		return
	}
	p.closed = true
	for _, w := range p.all() {
		close(w.queue)
	}
}

// sweep leaves stalled writers behind.
func (p *pump) sweep(now time.Time) {
	alive := p.alive()
	hanging := 0
	for _, w := range alive {
		waited := w.waited(now)
		if waited >= hangAfter {
			hanging++
		}
		if waited < stallAfter {
			continue
		}
		for _, other := range alive {
			if other != w && w.isBehind(other) {
				p.leave(w)
				break
			}
		}
	}
	if hanging > 0 && hanging == len(alive) {
		for _, w := range alive {
			p.leave(w)
		}
	}
}

// leave goes on without a writer. The buffer that it holds on to is replaced.
func (p *pump) leave(w *writer) {
	w.fail(ErrStalled)
	w.left.Store(true)
	w.interrupt(ErrStalled)
	for {
		select {
		case c, ok := <-w.queue:
			if !ok {
				return
			}
			c.release()
			continue
		default:
		}
		break
	}
	p.giveBack(p.newChunk())
}

// failure says why there is no writer: a full disk before anything else,
// because it is what the caller can do something about.
func (p *pump) failure() error {
	var first error
	for _, w := range p.writers {
		err := w.failed()
		if errors.Is(err, inventory.ErrFull) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = ErrNoStore
	}
	return first
}
