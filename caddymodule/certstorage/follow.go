package certstorage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// When the copy is compared with the engine.
const (
	readyEvery  = 200 * time.Millisecond // asks whether the engine knows what the cluster knows
	firstWait   = time.Second            // after a failure, doubled
	longestWait = 30 * time.Second
	compareAll  = 10 * time.Minute
)

// maxDirty is how many changed keys are remembered; beyond, all are compared.
const maxDirty = 10_000

// Attach gives the keeper the engine of a node that is open. ready tells whether
// the engine knows what the cluster knows; until then nothing that is only here
// is told to it. The engine is used until detach returns; it may be attached
// several times.
func (k *Keeper) Attach(e record.Engine, ready func() bool) (detach func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attached++; k.attached == 1 {
		k.begin(e, ready)
	}
	var once sync.Once
	return func() { once.Do(k.detach) }
}

func (k *Keeper) detach() {
	k.mu.Lock()
	var stop func()
	if k.attached--; k.attached == 0 {
		k.engine, k.synced, stop = nil, false, k.stop
	}
	k.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// begin follows an engine. The caller holds mu.
func (k *Keeper) begin(e record.Engine, ready func() bool) {
	if err := k.local.persist(); err != nil {
		k.log.Error("writing the local copy of the certificates", zap.Error(err))
	}
	k.engine, k.synced = e, false
	select {
	case <-k.opened:
	default:
		close(k.opened)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer e.Watch(record.Certificate, k.changed)()
		k.follow(ctx, e, ready)
	}()
	k.stop = func() {
		cancel()
		<-ended
		k.locks.releaseAll()
	}
}

// changed notes what was written to the engine. It is quick, as a watcher must be.
func (k *Keeper) changed(records []record.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range records {
		switch key := records[i].Key; {
		case key == "":
			k.missed = true
		case len(k.dirty) <= maxDirty && !strings.HasPrefix(key, leaseMark):
			k.dirty[key] = true
		}
	}
	k.nudge()
}

// nudge wakes follow.
func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// follow keeps the copy and the engine equal.
func (k *Keeper) follow(ctx context.Context, e record.Engine, ready func() bool) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	tick.Stop()
	k.clearLeases(ctx, e)
	all, wait := true, firstWait
	compared := time.Now()
	for {
		err := k.round(ctx, e, all)
		if ctx.Err() != nil {
			return
		}
		next := time.NewTimer(max(0, compareAll-time.Since(compared)))
		var wake <-chan struct{} = k.wake
		if err != nil {
			k.log.Warn("comparing the certificates with their local copy", zap.Error(err))
			next.Reset(wait)
			wait, wake = min(2*wait, longestWait), nil
		} else {
			wait = firstWait
			if all {
				compared, all = time.Now(), false
			}
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-next.C:
			all = all || time.Since(compared) >= compareAll
		}
		next.Stop()
	}
}

// round brings copy and engine together: of all keys, or of those that changed
// and those that are pending.
func (k *Keeper) round(ctx context.Context, e record.Engine, all bool) error {
	k.mu.Lock()
	all = all || k.missed || len(k.dirty) > maxDirty
	k.missed = false
	dirty := maps.Clone(k.dirty)
	clear(k.dirty)
	pending := maps.Clone(k.pending)
	k.mu.Unlock()
	err := k.compare(ctx, e, all, dirty, pending)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		maps.Copy(k.dirty, dirty)
		k.missed = k.missed || all
		return err
	}
	k.synced = k.synced || all
	return nil
}

func (k *Keeper) compare(ctx context.Context, e record.Engine, all bool, dirty, pending map[string]bool) error {
	if all {
		err := eachGroup(ctx, e, "", func(at string, _ []record.Record) { dirty[at] = true })
		if err != nil {
			return err
		}
	}
	for at := range dirty {
		if err := k.take(ctx, e, at); err != nil {
			return err
		}
	}
	if all {
		here, err := k.local.all()
		if err != nil {
			return err
		}
		for key, h := range here {
			// What is here and not in the engine was stored while there was none,
			// or the engine has lost it.
			if h.Pending || !dirty[recordKey(key)] {
				pending[key] = true
			}
		}
	}
	return k.giveAll(ctx, e, pending)
}

// take brings what the engine has under a record's key into the copy.
func (k *Keeper) take(ctx context.Context, e record.Engine, at string) error {
	key := at
	if strings.HasPrefix(at, hashedMark) {
		v, err := k.ask(ctx, e, at)
		if err == nil && v.Key == "" {
			v.Key, err = k.hashed(at)
		}
		if key = v.Key; key == "" || err != nil {
			return err
		}
	}
	// The engine is asked while nobody changes the copy: who deletes a key does
	// so in the engine first, and must not find it brought back here.
	return k.local.change(key, func(old entry, ok bool) (entry, action, error) {
		v, err := k.ask(ctx, e, at)
		switch {
		case err != nil, !v.known, ok && (old.Time == v.Time && !old.Pending || v.yieldsTo(old)):
			return old, leave, err
		case v.Deleted:
			return old, drop, nil
		case old.Blind && string(old.Value) != string(v.Value):
			k.log.Warn("this node had made its own before it knew what the cluster has, which counts: reload the configuration to use it",
				zap.String("key", key))
		}
		return v.entry, write, nil
	})
}

// ask returns what the engine says of a record's key; a damaged record says nothing.
func (k *Keeper) ask(ctx context.Context, e record.Engine, at string) (verdict, error) {
	versions, err := e.Get(ctx, record.Certificate, at)
	if err != nil {
		return verdict{}, fmt.Errorf("reading a certificate's record: %w", err)
	}
	v, err := judge(versions)
	if err != nil {
		k.log.Warn("a certificate's record is damaged", zap.Error(err))
		return verdict{}, nil
	}
	return v, nil
}

// hashed returns the key in the copy whose record has only its hash, "" where
// there is none.
func (k *Keeper) hashed(at string) (string, error) {
	here, err := k.local.all()
	for key := range here {
		if recordKey(key) == at {
			return key, nil
		}
	}
	return "", err
}

// lockName is the lock under which a node tells what it made without knowing of
// the others: the keys and certificates of one authority must not come from two.
const lockName = "oose_certificates"

// giveAll tells the engine what only the copy has.
func (k *Keeper) giveAll(ctx context.Context, e record.Engine, keys map[string]bool) error {
	if len(keys) == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	release, err := k.locks.shared(waiting, e, lockName)
	if err != nil {
		return err
	}
	for key := range keys {
		if err = k.give(ctx, e, key); err != nil {
			break
		}
	}
	return errors.Join(err, release())
}

// give tells the engine what the copy has under a key, unless what the engine
// has is to stay.
func (k *Keeper) give(ctx context.Context, e record.Engine, key string) error {
	at := recordKey(key)
	for {
		h, ok := k.local.get(key)
		v, err := k.ask(ctx, e, at)
		if err != nil {
			return err
		}
		if !ok {
			k.settle(key, nil)
			return nil
		}
		if v.known && !v.yieldsTo(h) || h.Deleted && (!v.known || v.Deleted) {
			return k.giveWay(ctx, e, h, v)
		}
		stored, err := k.write(ctx, e, h, v)
		if errors.Is(err, record.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		k.settle(key, k.confirm(h, stored))
		return nil
	}
}

// giveWay has the copy follow the engine.
func (k *Keeper) giveWay(ctx context.Context, e record.Engine, h entry, v verdict) error {
	var err error
	if h.Deleted && (!v.known || v.Deleted) {
		err = k.local.remove(h.Key, func(now entry) bool { return now.Deleted && now.Time == h.Time })
	} else {
		err = k.take(ctx, e, recordKey(h.Key))
	}
	if now, ok := k.local.get(h.Key); err == nil && (!ok || !now.Pending) {
		k.settle(h.Key, nil)
	}
	return err
}

func (k *Keeper) write(ctx context.Context, e record.Engine, h entry, v verdict) (record.Time, error) {
	cond, change := record.IfAbsent(), record.Change{Delete: h.Deleted}
	if v.known && !v.Deleted {
		cond = record.IfUnchanged(v.Time)
	}
	if !h.Deleted {
		text, err := encode(h.Key, h.Value)
		if err != nil {
			return 0, err
		}
		change.Value = text
	}
	ack, err := e.Update(ctx, record.Certificate, recordKey(h.Key), cond, change)
	return ack.Time, err
}

// confirm notes in the copy that the engine has an entry.
func (k *Keeper) confirm(h entry, stored record.Time) error {
	if h.Deleted {
		return k.local.remove(h.Key, func(now entry) bool { return now.Time == h.Time })
	}
	return k.local.put(h.Key, func(now entry, ok bool) (entry, bool) {
		h.Time, h.Pending, h.Blind = stored, false, false
		return h, ok && now.Time == h.Time || ok && now.Time < stored && !now.Pending
	})
}
