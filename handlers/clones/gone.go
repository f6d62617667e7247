package clones

import (
	"context"
	"errors"
	"time"
)

// ErrGone says that the other node was found to be down, or that it can't read
// the store any more, while it was asked.
var ErrGone = errors.New("the store is gone")

// moveOn has a request that another node serves end with ErrGone when gone is
// closed, unless ctx, which must come to an end, has ended before. A nil channel
// is watched by nobody.
func (c *Client) moveOn(ctx context.Context, gone <-chan struct{}, cancel context.CancelCauseFunc) {
	if gone == nil {
		return
	}
	c.spawn(func() { // a client that is closing ends all by itself
		select {
		case <-gone:
			cancel(ErrGone)
		case <-ctx.Done():
		}
	})
}

// asking returns a context for a call about the store, which ends when the
// store is gone, and in good time.
func (s *remote) asking(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, end := context.WithTimeoutCause(ctx, limit, ErrStalled)
	ctx, cancel := context.WithCancelCause(ctx)
	if s.at.Gone != nil {
		s.client.moveOn(ctx, s.at.Gone(), cancel)
	}
	return ctx, func() { cancel(nil); end() }
}
