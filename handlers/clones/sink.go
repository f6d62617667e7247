package clones

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// remindEvery is how often a store is told that an upload is still wanted: its
// client may be slow to send, or hold it back until more is sent.
const remindEvery = 25 * time.Second

var (
	errInterrupted = errors.New("upload to the store was given up")
	errEarly       = errors.New("the store did not take all bytes")
	errDigest      = errors.New("the store received other bytes than were sent")
)

// sink is an upload at a store: one request whose body is what is written.
type sink struct {
	store *remote
	url   string
	size  int64       // announced, -1: not known
	kept  record.Time // see CommitCopy

	ctx    context.Context //nolint:containedctx // of the upload, whose methods come from several calls
	cancel context.CancelCauseFunc
	in     *io.PipeReader
	out    *io.PipeWriter
	sent   int64

	done  chan struct{} // the store has told what came, or err
	whole wholeMessage
	err   error

	once sync.Once
	over chan struct{} // there is a verdict
}

var _ interface {
	upload.Sink
	upload.Ender
	upload.Interrupter
} = (*sink)(nil)

func newSink(ctx context.Context, s *remote, url string, size int64) *sink {
	k := &sink{store: s, url: url, size: size, done: make(chan struct{}), over: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.in, k.out = io.Pipe()
	return k
}

// run sends what is written.
func (k *sink) run() {
	k.whole, k.err = k.send()
	if k.err != nil {
		k.err = causeOf(k.ctx, k.err)
		if k.ctx.Err() == nil {
			k.store.heard(k.ctx, k.err)
		}
	}
	_ = k.in.CloseWithError(errors.Join(errEarly, k.err)) // it returns nil
	close(k.done)
}

// keptOpen is a request's body that the transport can't close: what is written
// fails with the reason, and not with that.
type keptOpen struct{ io.Reader }

func (keptOpen) Close() error { return nil }

func (k *sink) send() (wholeMessage, error) {
	r, err := http.NewRequestWithContext(k.ctx, http.MethodPut, k.url, keptOpen{k.in})
	if err != nil {
		return wholeMessage{}, err
	}
	if k.size > 0 {
		r.ContentLength = k.size
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	resp, err := k.store.client.Doer.Do(r)
	if err != nil {
		return wholeMessage{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	var whole wholeMessage
	return whole, answer(resp, &whole)
}

// remind tells the store that the upload is wanted, until there is a verdict.
func (k *sink) remind() {
	ticker := time.NewTicker(k.store.client.remindEvery)
	defer ticker.Stop()
	for {
		select {
		case <-k.over:
			return
		case <-k.ctx.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(k.ctx, answerAfter)
		_ = k.store.client.call(ctx, http.MethodHead, k.url, nil, nil) // the commit tells what came of it
		cancel()
	}
}

// Write hands bytes to the request. It waits as long as the store takes none;
// Interrupt ends that.
func (k *sink) Write(p []byte) (int, error) {
	n, err := k.out.Write(p)
	k.sent += int64(n)
	return n, err
}

// End says that all bytes were written, and waits for the store's word on what
// came: as many as were sent.
func (k *sink) End() error {
	_ = k.out.Close() // it returns nil
	<-k.done          // which Interrupt brings about as well
	switch {
	case k.err != nil:
		return k.err
	case k.whole.Size != k.sent:
		return fmt.Errorf("%w: %d bytes of %d", errDigest, k.whole.Size, k.sent)
	}
	return nil
}

// Interrupt has a Write, End or Commit that waits fail.
func (k *sink) Interrupt(cause error) {
	if errors.Is(cause, upload.ErrStalled) && k.store.at.Failed != nil {
		k.store.at.Failed()
	}
	k.cancel(cause)
	_ = k.in.CloseWithError(cause) // it returns nil
}

// Commit has the store keep what it received, if that has the digest h, and
// this node know its record.
func (k *sink) Commit(ctx context.Context, h content.Hash, ext string) (inventory.Clone, error) {
	c, err := k.commit(ctx, h, ext)
	if err != nil {
		k.Abort()
		return inventory.Clone{}, err
	}
	k.settle()
	return c, nil
}

// CommitCopy is Commit for a copy of another store's clone, of which kept is the
// kept time: see inventory.Temp.
func (k *sink) CommitCopy(ctx context.Context, h content.Hash, ext string, kept record.Time) (inventory.Clone, error) {
	k.kept = max(kept, 1)
	return k.Commit(ctx, h, ext)
}

func (k *sink) commit(ctx context.Context, h content.Hash, ext string) (inventory.Clone, error) {
	if err := k.End(); err != nil {
		return inventory.Clone{}, k.store.wrap(err)
	}
	if k.whole.Hash != h.String() {
		return inventory.Clone{}, k.store.wrap(fmt.Errorf("%w: their digest is %.128q", errDigest, k.whole.Hash))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(k.ctx, func() { cancel(context.Cause(k.ctx)) })()
	var out cloneMessage
	err := k.store.client.call(ctx, http.MethodPost, k.url+"/commit", commitMessage{Hash: h.String(), Ext: ext, Kept: k.kept}, &out)
	k.store.heard(ctx, err)
	if err != nil {
		return inventory.Clone{}, k.store.wrap(err)
	}
	return k.store.learn(ctx, h, out)
}

// Abort has the store take all of it back. It does not wait for that: a store
// that is away does it by itself.
func (k *sink) Abort() {
	if !k.settle() || k.store.at.Gone != nil && closed(k.store.at.Gone()) {
		return
	}
	k.store.client.spawn(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), answerAfter)
		defer cancel()
		_ = k.store.client.call(ctx, http.MethodDelete, k.url, nil, nil) // the store's own patience ends it as well
	})
}

// settle ends the sink's own work; it reports true to the first who calls it.
func (k *sink) settle() (first bool) {
	k.once.Do(func() {
		first = true
		close(k.over)
		k.cancel(errInterrupted)
		_ = k.in.CloseWithError(errInterrupted) // it returns nil
	})
	return first
}
