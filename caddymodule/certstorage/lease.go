package certstorage

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// A lease is a lock as a record: each node writes its own version, and has the
// lock where no other's lease is running. Two that write at the same time see
// each other a moment later, and the one that began earlier has it.
const (
	leaseLife   = 30 * time.Second
	leaseRenew  = leaseLife / 3
	leaseEnd    = 5 * time.Second        // for writing that it is over
	leaseReach  = time.Second            // waits so long for another node to have it
	leaseSettle = 300 * time.Millisecond // waits so long for the others' leases
)

// lease is the value of a lease's record.
type lease struct {
	Lock   string `json:"lock"`
	Holder string `json:"holder"`
	Since  int64  `json:"since"` // milliseconds since 1970
	Until  int64  `json:"until"` // milliseconds since 1970, unless renewed
}

func newHolder() string { return rand.Text() }

func leaseKey(name string) string { return leaseMark + digest(name) }

// running returns the leases among versions that are not over.
func running(versions []record.Record, now int64) map[string]lease {
	list := make(map[string]lease) // by source
	for _, v := range versions {
		var l lease
		if !v.Deleted && json.Unmarshal(v.Value, &l) == nil && l.Until > now {
			list[v.Source] = l
		}
	}
	return list
}

// before tells whether a lease is the one that counts of two.
func (l lease) before(other lease) bool {
	if l.Since != other.Since {
		return l.Since < other.Since
	}
	return l.Holder < other.Holder
}

// tryLease takes a lease, unless another one is running.
func (l *locks) tryLease(ctx context.Context, e record.Engine, name string) (release func() error, taken bool, err error) {
	key, now := leaseKey(name), time.Now().UnixMilli()
	versions, err := e.Get(ctx, record.Certificate, key)
	if err != nil {
		return nil, false, err
	}
	if len(running(versions, now)) > 0 {
		return nil, false, nil
	}
	cond := record.IfAbsent()
	if r, live := record.Merge(record.Certificate, versions); live {
		cond = record.IfUnchanged(r.Time)
	}
	mine := lease{Lock: name, Holder: l.holder, Since: now}
	ack, err := mine.write(ctx, e, key, cond)
	if errors.Is(err, record.ErrConflict) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if first, err := mine.stands(ctx, e, key, ack); err != nil || !first {
		return nil, false, errors.Join(err, mine.end(e, key))
	}
	renewing, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		mine.renew(renewing, e, key, l.keeper.log)
	}()
	return func() error {
		stop()
		<-ended
		return mine.end(e, key)
	}, true, nil
}

// write writes the lease anew, to run from now on.
func (l *lease) write(ctx context.Context, e record.Engine, key string, cond record.Condition) (record.Ack, error) {
	longer := *l
	longer.Until = time.Now().Add(leaseLife).UnixMilli()
	text, err := json.Marshal(longer)
	if err != nil {
		return record.Ack{}, err
	}
	ack, err := e.Update(ctx, record.Certificate, key, cond, record.Change{Value: text})
	if err != nil {
		return ack, fmt.Errorf("writing a lease: %w", err)
	}
	*l = longer
	return ack, nil
}

// stands waits until the other nodes, if there are any, have heard of the lease,
// and tells whether it is the first.
func (l *lease) stands(ctx context.Context, e record.Engine, key string, ack record.Ack) (bool, error) {
	if c, ok := e.(record.Confirmer); ok {
		limited, cancel := context.WithTimeout(ctx, leaseReach)
		ack = c.Confirm(limited, ack)
		cancel()
	}
	if ack.Copies > 1 {
		timer := time.NewTimer(leaseSettle)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	versions, err := e.Get(ctx, record.Certificate, key)
	if err != nil {
		return false, err
	}
	for _, other := range running(versions, time.Now().UnixMilli()) {
		if other.Holder != l.Holder && other.before(*l) {
			return false, nil
		}
	}
	return true, nil
}

// lost tells whether the lease ended before it was renewed, as it does where a
// machine stood still or was cut off, and another's runs now. Then it is not
// taken up again: the other would not learn of it, and who comes next would
// wait for both.
func (l *lease) lost(ctx context.Context, e record.Engine, key string) bool {
	now := time.Now().UnixMilli()
	if now <= l.Until {
		return false
	}
	versions, err := e.Get(ctx, record.Certificate, key)
	if err != nil {
		return false
	}
	for _, other := range running(versions, now) {
		if other.Holder != l.Holder {
			return true
		}
	}
	return false
}

// renew keeps the lease running until ctx ends, or it is another's.
func (l *lease) renew(ctx context.Context, e record.Engine, key string, log *zap.Logger) {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.lost(ctx, e, key) {
			log.Error("a lock was lost: its lease could not be renewed in time, and another has it now", zap.String("lock", l.Lock))
			return
		}
		if _, err := l.write(ctx, e, key, record.Condition{}); err != nil && ctx.Err() == nil {
			log.Warn("a lock's lease could not be renewed", zap.String("lock", l.Lock), zap.Error(err))
		}
	}
}

// end says that the lease is over. Whoever waits for it is not waited for.
func (l *lease) end(e record.Engine, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseEnd)
	defer cancel()
	if _, err := e.Update(ctx, record.Certificate, key, record.Condition{}, record.Change{Delete: true}); err != nil {
		return fmt.Errorf("ending a lease: %w", err)
	}
	return nil
}

// clearLeases ends the leases that this node left behind when it was killed:
// one process at a time writes under its source.
func (k *Keeper) clearLeases(ctx context.Context, e record.Engine) {
	named, ok := e.(interface{ Source() string })
	if _, own := e.(Locker); own || !ok {
		return
	}
	var stale []string
	for r, err := range e.List(ctx, record.Certificate, record.ByKey, leaseMark, "") {
		if err != nil {
			return // they end by themselves
		}
		var l lease
		if r.Source == named.Source() && !r.Deleted && json.Unmarshal(r.Value, &l) == nil && l.Holder != k.locks.holder {
			stale = append(stale, r.Key)
		}
	}
	for _, key := range stale {
		if err := new(lease).end(e, key); err != nil {
			k.log.Warn("a lease of before the start could not be ended", zap.String("record", strings.TrimPrefix(key, leaseMark)), zap.Error(err))
		}
	}
}
