// Package upload takes one body and makes clones of it: it streams the bytes
// to all chosen stores at the same time, computes their digest once, and
// answers when as many clones are durable as are wanted, or as there are
// stores for.
//
// What it promises:
//   - Memory is constant: an upload holds at most a fixed number of buffers,
//     however large the body and however many the stores.
//   - Stores fail alone. One that fails, or takes none of the bytes that wait
//     for it while another takes them, is left behind; its clone is copied to
//     another store from a finished one before the answer. With none finished
//     the upload fails.
//   - Nothing is left of an upload that did not come to its end, and nothing is
//     counted that is not durable.
package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Errors on which callers decide, beside those of inventory.
var (
	// ErrTooLarge says that a body is larger than is allowed.
	ErrTooLarge = errors.New("content too large")
	// ErrNoStore says that no store can take a clone now.
	ErrNoStore = errors.New("no store can take a clone")
	// ErrStalled says that no store took any of the bytes for too long.
	ErrStalled = errors.New("store stalled")
	// ErrClosed says that the uploader is closing.
	ErrClosed = errors.New("uploader is closed")
)

// BodyError says that the body could not be read to its end: the client, or
// the other server, went away or sent less than announced.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return "reading the body: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// Index answers who holds a content, and whether it is refused.
type Index interface {
	Find(ctx context.Context, h content.Hash) (*inventory.Placement, error)
}

// defaultCopies is how many clones are made where a request does not say.
const defaultCopies = 2

// Request is one upload.
type Request struct {
	Body    io.Reader
	Size    int64        // bytes announced, -1 where that is not known
	Type    content.Type // of the digest; default: Want's, else SHA-1
	Want    content.Hash // the digest announced; zero: none
	Ext     string       // without its dot; default: content.UnknownExt
	Copies  int          // clones wanted; default 2
	MaxSize int64        // bytes, beyond which the body is refused; 0: no bound
	Stores  []Store      // to choose from; nil: all
}

// Result is what an upload has come to.
type Result struct {
	Hash       content.Hash
	Size       int64
	Ext        string            // as sent, whatever extension the clones have
	Clones     []inventory.Clone // those that are durable, at least one
	Durability int               // how many they are
}

// Uploader makes clones of bodies. Its methods can be called at the same time.
type Uploader struct {
	index  Index
	stores Stores
	log    *zap.Logger
	pool   sync.Pool // of *[]byte

	mu      sync.Mutex
	closed  bool
	writers int           // whose goroutines run, also those left behind
	idle    chan struct{} // made by Close, ends with the last of them
}

// New returns an uploader over stores. Close ends it.
func New(index Index, stores Stores, log *zap.Logger) *Uploader {
	u := &Uploader{index: index, stores: stores, log: log}
	u.pool.New = func() any {
		b := make([]byte, bufferSize)
		return &b
	}
	return u
}

// Close refuses new uploads and waits until every goroutine of those there
// were has ended, or ctx has.
func (u *Uploader) Close(ctx context.Context) error {
	u.mu.Lock()
	u.closed = true
	if u.idle == nil {
		u.idle = make(chan struct{})
		if u.writers == 0 {
			close(u.idle)
		}
	}
	idle := u.idle
	u.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for writers of uploads: %w", context.Cause(ctx))
	}
}

// Upload reads the body to its end and makes clones of it. Errors: *BodyError,
// ErrTooLarge, ErrNoStore, ErrStalled, ErrClosed, and of inventory
// ErrMismatch, ErrCollision, ErrBlocked, ErrFull and what the stores gave.
// After an error nothing is left of it.
func (u *Uploader) Upload(ctx context.Context, req Request) (Result, error) {
	received, err := u.Receive(ctx, req)
	if err != nil {
		return Result{}, err
	}
	return received.Finish(ctx)
}

// Received is an upload whose body is whole and with the stores, but which is
// no clone yet. It must be finished or discarded, from one goroutine.
type Received struct {
	u    *Uploader
	req  Request
	pump *pump
	hash content.Hash
}

// Receive reads the body to its end. Errors are those of Upload.
func (u *Uploader) Receive(ctx context.Context, req Request) (*Received, error) {
	if err := u.check(ctx, &req); err != nil {
		return nil, err
	}
	p, err := u.start(ctx, &req)
	if err != nil {
		return nil, err
	}
	h, err := p.receive(ctx, &req)
	if err != nil {
		p.end()
		return nil, err
	}
	p.emptyBuffers()
	return &Received{u: u, req: req, pump: p, hash: h}, nil
}

func (p *pump) receive(ctx context.Context, req *Request) (content.Hash, error) {
	if err := p.feed(ctx, req.Body, req.MaxSize); err != nil {
		return content.Hash{}, err
	}
	if req.Size >= 0 && p.size != req.Size {
		return content.Hash{}, &BodyError{Err: fmt.Errorf("%d bytes came of %d", p.size, req.Size)}
	}
	h, err := p.sum()
	if err != nil {
		return content.Hash{}, err
	}
	if !req.Want.IsZero() && h != req.Want {
		return content.Hash{}, fmt.Errorf("%w: got %s", inventory.ErrMismatch, h)
	}
	return h, nil
}

// Hash returns the digest of what came.
func (r *Received) Hash() content.Hash { return r.hash }

// Size returns how many bytes came.
func (r *Received) Size() int64 { return r.pump.size }

// Finish makes the clones durable. Errors are those of Upload.
func (r *Received) Finish(ctx context.Context) (Result, error) {
	defer r.pump.end()
	clones, err := r.u.finish(ctx, &r.req, r.pump, r.hash)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Hash: r.hash, Size: r.pump.size, Ext: r.req.Ext, Clones: clones, Durability: len(clones),
	}, nil
}

// Discard takes all of it back.
func (r *Received) Discard() { r.pump.end() }

// check fills in a request's defaults and refuses what needs no reading.
func (u *Uploader) check(ctx context.Context, req *Request) error {
	if !req.Want.IsZero() {
		req.Type = req.Want.Type()
		placement, err := u.index.Find(ctx, req.Want)
		if err != nil {
			return err
		}
		if placement.Blocked {
			return inventory.ErrBlocked
		}
	}
	if req.Type == 0 {
		req.Type = content.SHA1
	}
	if req.Ext == "" {
		req.Ext = content.UnknownExt
	}
	if req.Copies <= 0 {
		req.Copies = defaultCopies
	}
	if req.MaxSize > 0 && req.Size > req.MaxSize {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, req.Size, req.MaxSize)
	}
	if req.Stores == nil {
		req.Stores = u.stores()
	}
	return nil
}

// spawn runs a writer in a goroutine that Close waits for. It reports false
// where the uploader is closed.
func (u *Uploader) spawn(w *writer) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.writers++
	go func() {
		defer u.ended()
		w.run()
	}()
	return true
}

func (u *Uploader) ended() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writers--
	if u.writers == 0 && u.idle != nil {
		close(u.idle)
	}
}
