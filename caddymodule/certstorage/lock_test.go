package certstorage

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// TestLeaseIsRenewed and ends only with its holder.
func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := recordtest.NewMemory(nil)
		core, logs := observer.New(zap.InfoLevel)
		a, b := NewKeeper(t.TempDir(), zap.New(core)), keeperIn(t.TempDir())
		defer a.Attach(m, always)()
		defer b.Attach(m, always)()
		synctest.Wait()
		require.NoError(t, a.Lock(t.Context(), "x"))
		time.Sleep(10 * leaseLife)
		ok, err := b.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.False(t, ok)
		require.Empty(t, logs.All())
		// Renewing fails: the lease ends.
		m.Fail(record.ErrUnavailable)
		time.Sleep(leaseLife + time.Second)
		m.Fail(nil)
		ok, err = b.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, b.Unlock(t.Context(), "x"))
		require.NoError(t, a.Unlock(t.Context(), "x"))
	})
}

// TestLeaseIsLost: who could not renew it in time does not take it up again where
// another has it by then.
func TestLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wait sync.WaitGroup
		defer wait.Wait()
		one, two := recordtest.NewMemoryOf("one", nil), recordtest.NewMemoryOf("two", nil)
		core, logs := observer.New(zap.ErrorLevel)
		a, b := NewKeeper(t.TempDir(), zap.New(core)), keeperIn(t.TempDir())
		defer a.Attach(node{one, two, time.Millisecond, &wait}, always)()
		defer b.Attach(node{two, one, time.Millisecond, &wait}, always)()
		synctest.Wait()
		require.NoError(t, a.Lock(t.Context(), "x"))
		one.Fail(record.ErrUnavailable)
		time.Sleep(leaseLife + leaseRenew)
		ok, err := b.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, ok)
		one.Fail(nil)
		time.Sleep(2 * leaseRenew)
		versions, err := two.Get(t.Context(), record.Certificate, leaseKey("x"))
		require.NoError(t, err)
		all := running(versions, time.Now().UnixMilli())
		require.Len(t, all, 1)
		require.Equal(t, b.locks.holder, all["two"].Holder)
		require.Equal(t, 1, logs.Len(), "it is told")
		require.NoError(t, a.Unlock(t.Context(), "x"))
		ok, err = a.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, b.Unlock(t.Context(), "x"))
	})
}

// TestLeaseOfTheDead: who was killed holds a lock until its lease ends, for
// others; the same node takes its own back when it starts again.
func TestLeaseOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := recordtest.NewMemory(nil)
		left := func() []byte {
			text, err := json.Marshal(lease{Lock: "x", Holder: "dead", Since: time.Now().UnixMilli(), Until: time.Now().Add(leaseLife).UnixMilli()})
			require.NoError(t, err)
			return text
		}
		m.Inject(record.Record{Topic: record.Certificate, Key: leaseKey("x"), Source: "other node", Revision: 1, Time: record.TimeOf(time.Now()), Value: left()})
		k := keeperIn(t.TempDir())
		detach := k.Attach(m, always)
		synctest.Wait()
		began := time.Now()
		require.NoError(t, k.Lock(t.Context(), "x"))
		require.GreaterOrEqual(t, time.Since(began), leaseLife)
		require.LessOrEqual(t, time.Since(began), leaseLife+2*longestTry)
		require.NoError(t, k.Unlock(t.Context(), "x"))
		detach()

		_, err := m.Update(t.Context(), record.Certificate, leaseKey("x"), record.Condition{}, record.Change{Value: left()})
		require.NoError(t, err)
		k = keeperIn(t.TempDir())
		defer k.Attach(m, always)()
		synctest.Wait()
		began = time.Now()
		require.NoError(t, k.Lock(t.Context(), "x"))
		require.Less(t, time.Since(began), leaseLife/2)
		require.NoError(t, k.Unlock(t.Context(), "x"))
	})
}

// node is an engine of a cluster of two that hear of one another after a while.
type node struct {
	*recordtest.Memory
	other *recordtest.Memory
	lag   time.Duration
	wait  *sync.WaitGroup
}

func (n node) Update(ctx context.Context, topic record.Topic, key string, cond record.Condition, changes ...record.Change) (record.Ack, error) {
	ack, err := n.Memory.Update(ctx, topic, key, cond, changes...)
	if err == nil {
		versions, _ := n.Memory.Get(ctx, topic, key)
		n.wait.Go(func() {
			<-time.After(n.lag)
			n.other.Inject(versions...)
		})
	}
	return ack, err
}

func (n node) Confirm(_ context.Context, ack record.Ack) record.Ack {
	ack.Copies = 2
	return ack
}

// TestLeaseAmongNodes: of two that lock at the same moment one gets it.
func TestLeaseAmongNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wait sync.WaitGroup
		defer wait.Wait()
		one, two := recordtest.NewMemoryOf("one", nil), recordtest.NewMemoryOf("two", nil)
		lag := leaseSettle / 3
		a, b := keeperIn(t.TempDir()), keeperIn(t.TempDir())
		defer a.Attach(node{one, two, lag, &wait}, always)()
		defer b.Attach(node{two, one, lag, &wait}, always)()
		synctest.Wait()
		for range 20 {
			got := make(chan *Keeper, 2)
			for _, k := range []*Keeper{a, b} {
				wait.Go(func() {
					if ok, err := k.TryLock(t.Context(), "x"); err == nil && ok {
						got <- k
					}
				})
			}
			time.Sleep(time.Minute)
			require.Len(t, got, 1)
			require.NoError(t, (<-got).Unlock(t.Context(), "x"))
			time.Sleep(time.Minute)
		}
	})
}

// locking is an engine with locks of its own.
type locking struct {
	*recordtest.Memory
	mu     sync.Mutex
	taken  map[string]bool
	failed error
}

func (l *locking) TryLock(_ context.Context, name string) (func() error, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil || l.taken[name] {
		return nil, false, l.failed
	}
	l.taken[name] = true
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.taken, name)
		return l.failed
	}, true, nil
}

func (l *locking) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// TestLocksOfTheEngine are used where it has some; while it is away nobody gets
// one, and who waits gets it when it is back.
func TestLocksOfTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &locking{Memory: recordtest.NewMemory(nil), taken: map[string]bool{}}
		k := keeperIn(t.TempDir())
		detach := k.Attach(e, always)
		synctest.Wait()
		require.NoError(t, k.Lock(t.Context(), "x"))
		require.True(t, e.taken["x"])
		require.NoError(t, k.Unlock(t.Context(), "x"))
		require.Empty(t, e.taken)

		e.fail(record.ErrUnavailable)
		_, err := k.TryLock(t.Context(), "x")
		require.ErrorIs(t, err, record.ErrUnavailable)
		got := make(chan error, 1)
		go func() { got <- k.Lock(t.Context(), "x") }()
		time.Sleep(time.Hour)
		require.Empty(t, got)
		e.fail(nil)
		time.Sleep(time.Minute)
		require.NoError(t, <-got)

		detach()
		require.Empty(t, e.taken, "a node that closes gives its locks back")
		ok, err := k.TryLock(t.Context(), "x")
		require.NoError(t, err)
		require.False(t, ok, "within the process it is still held")
		require.NoError(t, k.Unlock(t.Context(), "x"))
		list, err := e.Get(t.Context(), record.Certificate, leaseKey("x"))
		require.NoError(t, err)
		require.Empty(t, list)

		broken := errors.New("broken")
		defer k.Attach(e, always)()
		e.fail(broken)
		require.ErrorIs(t, k.Lock(t.Context(), "y"), broken, "what waiting does not help is told")
		e.fail(nil)
		require.NoError(t, k.Lock(t.Context(), "y"))
		e.fail(broken)
		require.ErrorIs(t, k.Unlock(t.Context(), "y"), broken)
	})
}

// TestLockBeforeTheEngine: who obtains certificates waits for it; a
// configuration that is being loaded can't.
func TestLockBeforeTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &locking{Memory: recordtest.NewMemory(nil), taken: map[string]bool{}}
		k := NewKeeper(t.TempDir(), zap.NewNop())
		loading := caddy.Context{Context: t.Context()}
		require.NoError(t, k.Lock(loading, "ech"))
		require.NoError(t, k.Unlock(loading, "ech"))
		got := make(chan error, 1)
		go func() { got <- k.Lock(t.Context(), "issue") }()
		time.Sleep(time.Minute)
		require.Empty(t, got)
		defer k.Attach(e, always)()
		require.NoError(t, <-got)
		require.True(t, e.taken["issue"])

		e.fail(record.ErrUnavailable)
		began := time.Now()
		require.ErrorIs(t, k.Lock(loading, "ech"), record.ErrUnavailable, "a reload does not wait for ever")
		require.LessOrEqual(t, time.Since(began), loadingTry)
		e.fail(nil)
		require.NoError(t, k.Unlock(t.Context(), "issue"))
	})
}
