package inventory

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Why an operation was not waited for any longer.
var (
	errNoAnswer = errors.New("disk does not answer")
	errBusy     = errors.New("too many operations wait for the disk")
)

// gate bounds how many operations of one volume are with its disk at the same
// time. An operation that hangs keeps its place until the disk answers, so
// that a hung disk ties up no more than the gate has places.
type gate struct {
	places chan struct{}
}

func newGate(places int) *gate { return &gate{places: make(chan struct{}, places)} }

// drain waits until no operation is under way and lets none begin any more. It
// returns how many are still with the disk after the limit.
func (g *gate) drain(limit time.Duration) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for i := range cap(g.places) {
		select {
		case g.places <- struct{}{}:
			continue
		default:
		}
		select {
		case g.places <- struct{}{}:
		case <-timer.C:
			return cap(g.places) - i
		}
	}
	return 0
}

// An operation's states.
const (
	running int32 = iota
	finished
	abandoned
)

type operation[T any] struct {
	state atomic.Int32
	done  chan struct{}
	value T
	err   error
}

// through runs an operation on the disk and waits for it, at most until the
// limit or the end of ctx. What an operation comes to that nobody waits for any
// more goes to late, which may be nil. The errors of waiting are errNoAnswer
// and ctx's; every other is the operation's own.
func through[T any](ctx context.Context, g *gate, limit time.Duration, run func() (T, error), late func(T, error)) (T, error) {
	var none T
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case g.places <- struct{}{}:
	default:
		select {
		case g.places <- struct{}{}:
		case <-timer.C:
			return none, errBusy
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	op := &operation[T]{done: make(chan struct{})}
	go func() {
		defer func() { <-g.places }()
		op.value, op.err = run()
		if op.state.CompareAndSwap(running, finished) {
			close(op.done)
		} else if late != nil {
			late(op.value, op.err)
		}
	}()
	err := errNoAnswer
	select {
	case <-op.done:
		return op.value, op.err
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !op.state.CompareAndSwap(running, abandoned) {
		<-op.done
		return op.value, op.err
	}
	return none, err
}

// do is through for operations that return nothing.
func do(ctx context.Context, g *gate, limit time.Duration, run func() error, late func(error)) error {
	_, err := through(ctx, g, limit, func() (struct{}, error) { return struct{}{}, run() }, func(_ struct{}, err error) {
		if late != nil {
			late(err)
		}
	})
	return err
}
