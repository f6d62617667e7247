package redisdb

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// A lock is a key that holds a random token of its holder and expires. It is
// kept longer as long as the holder lives.
const (
	lockLife  = 15 * time.Second
	lockRenew = lockLife / 3
)

// luaLock sets or renews a lock, unless somebody else has it.
//
// KEYS: the lock. ARGV: token, life in milliseconds.
const luaLock = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`

// luaUnlock gives a lock back, if it is still the holder's.
const luaUnlock = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`

// lock holds a string: the token of who has the lock of a name.
func (l layout) lock(name string) (tag int, key string) {
	if len(name) > record.MaxKey {
		sum := sha256.Sum256([]byte(name))
		name = "sha256:" + hex.EncodeToString(sum[:])
	}
	tag = tagOf("lock", name)
	return tag, l.in(tag, "l:") + name
}

// TryLock takes the lock of a name, unless somebody has it, on this node or
// another. It is the caller's alone until release is called; where its process
// is gone, or can't reach Redis, for 15 seconds, others may have it. Where there
// are replicas the lock counts only when one of them has it too, so that it
// outlives the master. Who has the lock reads what its former holder wrote: what
// was in memory before counts only once it was confirmed anew. Errors:
// record.ErrUnavailable.
func (e *Engine) TryLock(ctx context.Context, name string) (release func() error, taken bool, err error) {
	if err := e.usable(ctx); err != nil {
		return nil, false, err
	}
	h := &holding{engine: e, name: name, token: rand.Text(), stop: make(chan struct{}), ended: make(chan struct{})}
	h.tag, h.key = e.layout.lock(name)
	if e.states[h.tag].away.Load() {
		return nil, false, errAway
	}
	taken, err = h.set(ctx)
	if err != nil {
		// It may have been set all the same.
		return nil, false, errors.Join(fmt.Errorf("locking in redis: %w", err), h.unset())
	}
	if !taken {
		return nil, false, nil
	}
	e.locked.Store(int64(e.now()))
	go h.keep()
	return h.release, true, nil
}

// holding is a lock that is held.
type holding struct {
	engine *Engine
	name   string
	tag    int
	key    string // in Redis
	token  string
	stop   chan struct{} // closed when it is to be released
	ended  chan struct{} // closed when it is kept no longer
}

// run runs a script on the server that has the lock, and has what it changed
// reach a replica if there are some.
func (h *holding) run(ctx context.Context, text string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, h.engine.within.answer)
	defer cancel()
	c, err := h.engine.data.client(ctx, h.tag)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	deadline, _ := ctx.Deadline()
	wait := max(time.Until(deadline)-waitMargin, time.Millisecond)
	replicated := h.engine.health.replicas(h.tag) > 0
	var done, copies *redis.Cmd
	_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		// Both on one connection: WAIT waits for what was written on its own.
		done = p.Eval(ctx, text, []string{h.key}, args...)
		if replicated {
			copies = p.Do(ctx, "wait", 1, wait.Milliseconds())
		}
		return nil
	})
	if err != nil {
		if moved(err) {
			h.engine.data.lost(ctx)
		}
		return 0, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	n, err := done.Int64()
	if err == nil && n == 1 && replicated {
		var reached int64
		if reached, err = copies.Int64(); err == nil && reached == 0 {
			err = errors.New("no replica has the lock")
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	return n, nil
}

// set takes or renews the lock; false where another one has it.
func (h *holding) set(ctx context.Context) (bool, error) {
	n, err := h.run(ctx, luaLock, h.token, lockLife.Milliseconds())
	return n == 1, err
}

// unset gives it back, whoever waits.
func (h *holding) unset() error {
	if _, err := h.run(context.Background(), luaUnlock, h.token); err != nil {
		return fmt.Errorf("unlocking in redis: %w", err)
	}
	return nil
}

// keep renews the lock until it is released, or the engine stops.
func (h *holding) keep() {
	defer close(h.ended)
	tick := time.NewTicker(lockRenew)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-h.engine.running.stopped:
			return
		case <-tick.C:
		}
		held, err := h.set(context.Background())
		switch {
		case err != nil:
			h.engine.log.Warn("a lock could not be renewed", zap.String("lock", h.name), zap.Error(err))
		case !held:
			h.engine.log.Error("a lock was lost: redis was away for too long, or lost it, and another has it now", zap.String("lock", h.name))
			return
		}
	}
}

func (h *holding) release() error {
	close(h.stop)
	<-h.ended
	return h.unset()
}
