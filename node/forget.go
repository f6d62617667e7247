package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// forgotten is the stores that an operator has given up: claimed by nobody, so
// that what was recorded of them counts no more. The record outlives their
// registration; a store that comes back after all takes it back.
type forgotten struct {
	mu     sync.Mutex
	all    map[string][]record.Record // by store id: the latest of each source
	anew   bool                       // to be read again
	signal chan struct{}
}

// forgottenKey is before a store's id in the keys of records of topic switch.
const forgottenKey = "forgotten/"

// forgottenValue is the value of such a record.
type forgottenValue struct {
	Forgotten int64 `json:"forgotten"` // when, milliseconds since 1970
}

func (f *forgotten) has(store string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := record.Merge(record.Switch, f.all[store])
	return ok
}

// take takes records in, and tells whether they are about forgotten stores.
func (f *forgotten) take(records []record.Record) (about bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		store, ok := strings.CutPrefix(r.Key, forgottenKey)
		if r.Key == "" {
			f.anew, about = true, true
		}
		if !ok {
			continue
		}
		about = true
		versions := f.all[store]
		kept := versions[:0:0]
		for _, v := range versions {
			if v.Source != r.Source {
				kept = append(kept, v)
			} else if v.Revision > r.Revision {
				r = v
			}
		}
		f.all[store] = append(kept, r)
	}
	return about
}

// followForgotten has the index read anew when a store is forgotten, or comes
// back.
func (n *Node) followForgotten() (stop func()) {
	n.forgotten.all, n.forgotten.signal, n.forgotten.anew = map[string][]record.Record{}, make(chan struct{}, 1), true
	return n.engine.Watch(record.Switch, func(records []record.Record) {
		if n.forgotten.take(records) {
			n.Index.Forget()
			select {
			case n.forgotten.signal <- struct{}{}:
			default:
			}
		}
	})
}

// readAgain is how long reading what is forgotten waits for an engine that is
// away.
const readAgain = time.Second

// runForgotten reads which stores are forgotten, at the start and whenever that
// may have changed unseen.
func (n *Node) runForgotten(ctx context.Context) error {
	ticker := time.NewTicker(readAgain)
	defer ticker.Stop()
	for {
		n.forgotten.mu.Lock()
		anew := n.forgotten.anew
		n.forgotten.anew = false
		n.forgotten.mu.Unlock()
		if anew {
			if err := n.readForgotten(ctx); err != nil && ctx.Err() == nil {
				n.log.Debug("reading which stores are forgotten; it is tried again", zap.Error(err))
				n.forgotten.mu.Lock()
				n.forgotten.anew = true
				n.forgotten.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.forgotten.signal:
		case <-ticker.C:
		}
	}
}

func (n *Node) readForgotten(ctx context.Context) error {
	var all []record.Record
	for r, err := range n.engine.List(ctx, record.Switch, record.ByKey, forgottenKey, "") {
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if n.forgotten.take(all) {
		n.Index.Forget()
	}
	return nil
}

// Forget gives a store up that never comes back: it is claimed by nobody, leaves
// the registry, and its clones count no more. Should it come back after all, it is
// one that its node has just taken. Errors: heartbeat.ErrUnknownPeer,
// ErrStillThere, and those of records.
func (n *Node) Forget(ctx context.Context, store string) error {
	p, ok := n.Registry.Lookup(store)
	if !ok || p.Kind != peer.Store {
		return fmt.Errorf("forgetting store %s: %w", store, heartbeat.ErrUnknownPeer)
	}
	for _, s := range n.sights() {
		if s.ID == store && s.Up {
			return fmt.Errorf("forgetting store %s: %w", p.Name.Store, ErrStillThere)
		}
	}
	value, err := json.Marshal(forgottenValue{Forgotten: n.clock.Wall().UnixMilli()})
	if err == nil {
		_, err = n.engine.Update(ctx, record.Switch, forgottenKey+store, record.Condition{}, record.Change{Value: value})
	}
	if err == nil {
		err = n.Registry.Unregister(ctx, store)
	}
	if err != nil {
		return fmt.Errorf("forgetting store %s: %w", p.Name.Store, err)
	}
	n.Index.Forget()
	n.log.Warn("store is forgotten", zap.String("store", p.Name.Store), zap.String("id", store))
	return nil
}

// recall tells whether a store of this process may be registered: one that was
// forgotten only when its disk is there again, which takes that back.
func (n *Node) recall(ctx context.Context, store string, readable bool) bool {
	if !n.forgotten.has(store) {
		return true
	}
	if !readable {
		return false
	}
	_, err := n.engine.Update(ctx, record.Switch, forgottenKey+store, record.Condition{}, record.Change{Delete: true})
	if err != nil && !errors.Is(err, context.Canceled) {
		n.log.Warn("a store that was forgotten is back, and can't be registered yet", zap.String("id", store), zap.Error(err))
	}
	return err == nil
}
