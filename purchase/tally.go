package purchase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// The rhythm of what a Book does in the background.
const (
	writeEvery = time.Second      // at most one write for a purchase in this time
	sweepEvery = time.Minute      // also how soon silent clients are forgotten
	lastWrites = 10 * time.Second // for what is counted and not kept when Run ends
	writers    = 32               // writes at the same time; the engine commits them together
)

// Run keeps what is counted of uses until ctx ends, and then once more. It
// returns nil, or the errors of the last writes.
func (b *Book) Run(ctx context.Context) error {
	write := time.NewTimer(0) // what was counted before is kept at once
	defer write.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	waiting := true // for write
	for {
		select {
		case <-b.uses.wake:
			if !waiting {
				waiting = true
				write.Reset(writeEvery)
			}
		case <-write.C:
			waiting = false
			if err := b.writeUses(ctx); err != nil && ctx.Err() == nil {
				b.log.Warn("uses could not be kept, trying again", zap.Error(err))
				waiting = true
				write.Reset(writeEvery)
			}
		case <-sweep.C:
			b.uses.sweep()
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrites)
			defer cancel()
			b.uses.saveClients(0)
			return b.writeUses(last)
		}
	}
}

// tally is what has to be written about one purchase.
type tally struct {
	token   Token
	value   useValue
	expires int64
	at      time.Duration
}

// writeUses keeps what was counted since the last time.
func (b *Book) writeUses(ctx context.Context) error {
	b.renewUses(ctx)
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		failed []error
		room   = make(chan struct{}, writers)
	)
	for _, t := range b.uses.unwritten() {
		room <- struct{}{}
		wait.Go(func() {
			defer func() { <-room }()
			if err := b.writeUse(ctx, t); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(failed) == 0 { // the others fail for the same reason
					failed = append(failed, err)
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

func (b *Book) writeUse(ctx context.Context, t tally) error {
	value, err := json.Marshal(t.value)
	if err != nil {
		return fmt.Errorf("encoding the uses of purchase %s: %w", t.token.Short(), err)
	}
	_, err = b.engine.Update(ctx, record.Use, string(t.token), record.Condition{},
		record.Change{Value: value, Expires: t.expires})
	if err != nil {
		return fmt.Errorf("keeping the uses of purchase %s: %w", t.token.Short(), err)
	}
	b.uses.wrote(t)
	return nil
}

// renewUses looks at the purchases that changed: a count has to be kept as
// long as its purchase is.
func (b *Book) renewUses(ctx context.Context) {
	for _, t := range b.uses.takeRenewals() {
		p, err := b.Find(ctx, t)
		if err == nil && p.Count > 0 {
			_, err = b.Used(ctx, p) // makes the counter, which then knows the new expiry
		}
		if errors.Is(err, record.ErrUnavailable) {
			b.uses.renew(t)
		}
	}
}

// missed has all counters read again: what others counted may have changed unseen.
func (u *uses) missed() {
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		shard.stale++
		for _, n := range shard.counters {
			n.stale = true
		}
		shard.mu.Unlock()
	}
}

// changed is told what was written about uses; it is a watcher.
func (u *uses) changed(records []record.Record) {
	source := u.source()
	for _, r := range records {
		if r.Key == "" {
			u.missed()
			continue
		}
		if r.Source == source && !r.Deleted {
			continue
		}
		shard := u.shard(Token(r.Key))
		shard.mu.Lock()
		shard.stale++
		if n := shard.counters[Token(r.Key)]; n != nil {
			n.stale = true
		}
		shard.mu.Unlock()
	}
}

// renew remembers that a purchase may have another expiry; it is called by a watcher.
func (u *uses) renew(t Token) {
	shard := u.shard(t)
	shard.mu.Lock()
	shard.renewals[t] = true
	shard.mu.Unlock()
	u.call()
}

// call has Run write; who calls it need not wait.
func (u *uses) call() {
	select {
	case u.wake <- struct{}{}:
	default: // it is called already
	}
}

func (u *uses) takeRenewals() []Token {
	var tokens []Token
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		for t := range shard.renewals {
			tokens = append(tokens, t)
		}
		clear(shard.renewals)
		shard.mu.Unlock()
	}
	return tokens
}

// unwritten returns what is not kept yet.
func (u *uses) unwritten() []tally {
	var tallies []tally
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		for t, n := range shard.counters {
			if n.dirty() {
				value := useValue{Count: n.own, Clients: u.latest(n)}
				tallies = append(tallies, tally{token: t, value: value, expires: n.expires, at: u.now()})
			}
		}
		shard.mu.Unlock()
	}
	return tallies
}

func (u *uses) wrote(t tally) {
	shard := u.shard(t.token)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if n := shard.counters[t.token]; n != nil {
		n.written, n.kept, n.saved, n.due = t.value.Count, t.expires, t.at, false
	}
}

// saveClients has the clients written of counters whose records are older than
// age, where clients went on since.
func (u *uses) saveClients(age time.Duration) {
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		for _, n := range shard.counters {
			if u.now()-n.saved >= age && n.goesOn() {
				n.due = true
				u.call()
			}
		}
		shard.mu.Unlock()
	}
}

// sweep forgets clients that are no longer known, and counters without any
// whose counts are kept.
func (u *uses) sweep() {
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		for t, n := range shard.counters {
			for key, c := range n.clients {
				if !u.known(c) {
					u.drop(n, key)
				}
			}
			if len(n.clients) == 0 && !n.dirty() {
				delete(shard.counters, t)
			}
		}
		shard.mu.Unlock()
	}
	u.saveClients(keptFor)
}
