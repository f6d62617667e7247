package inventory

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/ooseio/oose/content"
)

// bufferSize is how much is read and written at once, in bytes.
const bufferSize = 512 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Put writes a clone from body and checks its digest. A size of -1 says that
// the length is not known; a body of another length than announced is refused.
// Errors: ErrMismatch, ErrCollision, body's, and those of Create and Commit.
func (v *Volume) Put(ctx context.Context, h content.Hash, ext string, body io.Reader, size int64) (Clone, error) {
	if h.IsZero() {
		return Clone{}, v.fail("storing", content.ErrInvalidHash)
	}
	t, err := v.Create(ctx, size)
	if err != nil {
		return Clone{}, err
	}
	defer t.Abort()
	got, err := copyHashed(ctx, t, body, h.Type())
	if err != nil {
		return Clone{}, v.fail("storing "+h.String(), err)
	}
	if size >= 0 && t.Size() != size {
		return Clone{}, v.fail("storing "+h.String(), fmt.Errorf("%w: %d bytes came, %d were announced", io.ErrUnexpectedEOF, t.Size(), size))
	}
	if got != h {
		return Clone{}, v.fail("storing "+h.String(), fmt.Errorf("%w: the digest is %s", ErrMismatch, got))
	}
	return t.Commit(ctx, h, ext)
}

// copyHashed writes what it reads and returns its digest.
func copyHashed(ctx context.Context, w io.Writer, body io.Reader, t content.Type) (content.Hash, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	digest := NewHash(t)
	for {
		if err := ctx.Err(); err != nil {
			return content.Hash{}, err
		}
		n, err := body.Read(*buf)
		if n > 0 {
			digest.Write((*buf)[:n])
			if _, err := w.Write((*buf)[:n]); err != nil {
				return content.Hash{}, err
			}
		}
		if err == io.EOF {
			return SumOf(t, digest)
		}
		if err != nil {
			return content.Hash{}, fmt.Errorf("reading the body: %w", err)
		}
	}
}
