package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ooseio/oose/content"
)

// stripeCount is how many hashes can be worked on at the same time.
const stripeCount = 256

// stripes are the locks of one volume's hashes. A lock is a place in a channel,
// so that waiting for one has a limit, and so that it can pass to an operation
// that hangs.
type stripes [stripeCount]chan struct{}

func newStripes() *stripes {
	s := &stripes{}
	for i := range s {
		s[i] = make(chan struct{}, 1)
	}
	return s
}

// hashLock is the lock of one hash (and of those that share its stripe), held.
type hashLock struct {
	stripe chan struct{}
	lost   bool // it passed to an operation that is still with the disk
}

// hold takes the lock of a hash. All that changes a clone's file or record
// happens under it.
func (v *Volume) hold(ctx context.Context, h content.Hash, limit time.Duration) (*hashLock, error) {
	stripe := v.locks[h.Sum()[0]]
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case stripe <- struct{}{}:
		return &hashLock{stripe: stripe}, nil
	case <-timer.C:
		return nil, fmt.Errorf("%w: %w", ErrOffline, errBusy)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives the lock back.
func (l *hashLock) release() {
	if !l.lost {
		<-l.stripe
	}
}

// held is through for an operation under a lock: where the disk does not
// answer, the operation keeps the lock until it does. It does not end with ctx.
func held[T any](ctx context.Context, l *hashLock, g *gate, limit time.Duration, run func() (T, error)) (T, error) {
	value, err := through(context.WithoutCancel(ctx), g, limit, run, func(T, error) { <-l.stripe })
	l.lost = errors.Is(err, errNoAnswer)
	return value, err
}
