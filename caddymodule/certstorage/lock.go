package certstorage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Locker is an engine that has locks of its own, which hold on all nodes.
type Locker interface {
	// TryLock takes the lock of a name, unless somebody has it. Where it is
	// taken, it is this caller's alone until release is called; a holder whose
	// process is gone loses it after a while. Error: record.ErrUnavailable
	// where the engine can't tell.
	TryLock(ctx context.Context, name string) (release func() error, taken bool, err error)
}

// How long is waited between two attempts to get a lock.
const (
	shortestTry = 50 * time.Millisecond
	longestTry  = 2 * time.Second
)

// loadingTry is how long a configuration that is being loaded waits for a lock
// while the engine is away.
const loadingTry = 10 * time.Second

// errNotLocked says that a lock is released that is not held.
var errNotLocked = errors.New("the lock is not held")

// locks are the locks that are held here: by name, first within this process
// and then in the engine.
type locks struct {
	keeper *Keeper
	holder string // tells this process' leases from others'

	mu   sync.Mutex
	held map[string]*held
}

// held is one lock: free is closed when it is released.
type held struct {
	free    chan struct{}
	release func() error // gives it back to the engine; nil where that does not have it
}

func (l *locks) init(k *Keeper) {
	l.keeper, l.holder, l.held = k, newHolder(), make(map[string]*held)
}

// Lock takes the lock of a name, and waits for it. See Keeper for what it is
// worth.
func (k *Keeper) Lock(ctx context.Context, name string) error {
	h, err := k.locks.own(ctx, name)
	if err == nil {
		if err = k.locks.take(ctx, name, h); err != nil {
			k.locks.forget(name, h)
		}
	}
	if err != nil {
		return fmt.Errorf("locking %.200q: %w", name, err)
	}
	return nil
}

// TryLock is Lock without waiting. It reports whether the lock was taken.
func (k *Keeper) TryLock(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	h, _ := k.locks.reserve(name)
	if h == nil {
		return false, nil
	}
	engine, _ := k.using("")
	if engine == nil {
		return true, nil
	}
	release, taken, err := k.locks.try(ctx, engine, name)
	if !taken {
		k.locks.forget(name, h)
		if err != nil {
			err = fmt.Errorf("locking %.200q: %w", name, err)
		}
		return false, err
	}
	k.locks.keep(h, release)
	return true, nil
}

// Unlock gives a lock back.
func (k *Keeper) Unlock(_ context.Context, name string) error {
	l := &k.locks
	l.mu.Lock()
	h := l.held[name]
	var release func() error
	if h != nil {
		release, h.release = h.release, nil
	}
	l.mu.Unlock()
	if h == nil {
		return fmt.Errorf("unlocking %.200q: %w", name, errNotLocked)
	}
	var err error
	if release != nil {
		err = release()
	}
	l.forget(name, h)
	if err != nil {
		return fmt.Errorf("unlocking %.200q, it is free when its lease ends: %w", name, err)
	}
	return nil
}

// reserve takes the lock within this process, or returns what is closed when
// it is free.
func (l *locks) reserve(name string) (*held, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.held[name]; ok {
		return nil, other.free
	}
	h := &held{free: make(chan struct{})}
	l.held[name] = h
	return h, nil
}

// own waits for the lock within this process.
func (l *locks) own(ctx context.Context, name string) (*held, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, free := l.reserve(name)
		if h != nil {
			return h, nil
		}
		select {
		case <-free:
		case <-ctx.Done():
		}
	}
}

func (l *locks) keep(h *held, release func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.release = release
}

func (l *locks) forget(name string, h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] == h {
		delete(l.held, name)
		close(h.free)
	}
}

// take waits for the engine's lock.
func (l *locks) take(ctx context.Context, name string, h *held) error {
	// A configuration that is being loaded locks with its own context, and can't
	// wait for what comes only when it is.
	_, loading := ctx.(caddy.Context)
	select {
	case <-l.keeper.opened:
	default:
		if loading {
			return nil
		}
		select {
		case <-l.keeper.opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	engine, _ := l.keeper.using("")
	if engine == nil {
		return nil // the node has closed
	}
	if loading {
		limited, cancel := context.WithTimeout(ctx, loadingTry)
		defer cancel()
		ctx = limited
	}
	release, err := l.shared(ctx, engine, name)
	if err == nil {
		l.keep(h, release)
	}
	return err
}

// shared waits for a lock of the engine's, whoever in this process has it.
func (l *locks) shared(ctx context.Context, e record.Engine, name string) (release func() error, err error) {
	wait, told := shortestTry, false
	for {
		release, taken, err := l.try(ctx, e, name)
		switch {
		case taken:
			return release, nil
		case ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), err)
		case err != nil && !errors.Is(err, record.ErrUnavailable):
			return nil, err
		case err != nil && !told:
			told = true
			l.keeper.log.Warn("the records are away: waiting for a lock until they are back", zap.String("lock", name), zap.Error(err))
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(ctx.Err(), err)
		}
		wait = min(2*wait, longestTry)
	}
}

// try takes a lock of the engine's own kind, or a lease.
func (l *locks) try(ctx context.Context, e record.Engine, name string) (release func() error, taken bool, err error) {
	if locker, ok := e.(Locker); ok {
		return locker.TryLock(ctx, name)
	}
	return l.tryLease(ctx, e, name)
}

// releaseAll gives all locks back to the engine, which goes. Within this process
// they stay held: what they guard may still run.
func (l *locks) releaseAll() {
	l.mu.Lock()
	var releases []func() error
	for _, h := range l.held {
		if h.release != nil {
			releases = append(releases, h.release)
			h.release = nil
		}
	}
	l.mu.Unlock()
	for _, release := range releases {
		if err := release(); err != nil {
			l.keeper.log.Warn("a lock could not be given back, it is free when its lease ends", zap.Error(err))
		}
	}
}
