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
// that what was recorded of them counts no more, and goes. The record outlives
// their registration; a medium that comes back after all is a new store under its
// old id, of which nothing is known but what is read from it then.
type forgotten struct {
	mu     sync.Mutex
	all    map[string][]record.Record // by store id: the latest of each source
	anew   bool                       // to be read again
	signal chan struct{}
	drop   chan struct{} // a sign that records are to be dropped
}

// forgottenKey is before a store's id in the keys of records of topic switch.
const forgottenKey = "forgotten/"

// forgottenValue is the value of such a record.
type forgottenValue struct {
	Forgotten int64 `json:"forgotten"` // when, milliseconds since 1970
}

func (f *forgotten) has(store string) bool { return f.at(store) > 0 }

// at is when a store was forgotten, 0 where it is not.
func (f *forgotten) at(store string) record.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := record.Merge(record.Switch, f.all[store]); ok {
		return r.Time
	}
	return 0
}

// owners are the forgotten stores, as peers of nobody: everything that was said
// of them before they were forgotten is a former owner's word.
func (f *forgotten) owners() (peers []heartbeat.Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for store, versions := range f.all {
		if r, ok := record.Merge(record.Switch, versions); ok {
			peers = append(peers, heartbeat.Peer{ID: store, Name: peer.Name{Store: store}, Kind: peer.Store, Claimed: r.Time, Complete: true})
		}
	}
	return peers
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
	f := &n.forgotten
	f.all, f.signal, f.drop, f.anew = map[string][]record.Record{}, make(chan struct{}, 1), make(chan struct{}, 1), true
	return n.engine.Watch(record.Switch, func(records []record.Record) {
		if f.take(records) {
			n.Index.Forget()
			sign(f.signal)
			sign(f.drop)
		}
	})
}

// sign leaves a sign where none is waiting.
func sign(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
		sign(n.forgotten.drop)
	}
	return nil
}

// Forget gives a peer up that never comes back. A store is claimed by nobody then,
// leaves the registry, and every node drops what was recorded of it; should its
// medium come back after all, that is a new store. A prism leaves the registry, so
// that its node is not asked for what it may have known alone; it is back as soon as
// it registers. Errors: heartbeat.ErrUnknownPeer, ErrStillThere, and those of records.
func (n *Node) Forget(ctx context.Context, id string) error {
	p, ok := n.Registry.Lookup(id)
	if !ok {
		return n.forgetFormer(ctx, id)
	}
	still := p.Kind == peer.Prism && (n.owns(p) || n.answers(p))
	for _, s := range n.sights() {
		still = still || s.ID == id && s.Up
	}
	if still {
		return fmt.Errorf("forgetting %s: %w", p.Name, ErrStillThere)
	}
	if p.Kind == peer.Store {
		return n.giveUp(ctx, p)
	}
	if err := n.Registry.Unregister(ctx, id); err != nil {
		return fmt.Errorf("forgetting prism %s: %w", p.Name, err)
	}
	n.log.Warn("prism is forgotten", zap.Stringer("peer", p.Name), zap.String("node", p.Node))
	return nil
}

// forgetFormer gives up a store that is not registered any more, since another
// medium has its name, and of which there are records.
func (n *Node) forgetFormer(ctx context.Context, id string) error {
	recorded, err := n.anyBefore(ctx, id, n.clock.Next())
	if err == nil && !recorded {
		err = heartbeat.ErrUnknownPeer
	}
	if err != nil {
		return fmt.Errorf("forgetting %s: %w", id, err)
	}
	return n.giveUp(ctx, heartbeat.Peer{ID: id, Name: peer.Name{Store: id}, Kind: peer.Store})
}

// giveUp is Forget for a store, whether or not it is there.
func (n *Node) giveUp(ctx context.Context, p heartbeat.Peer) error {
	value, err := json.Marshal(forgottenValue{Forgotten: n.clock.Wall().UnixMilli()})
	if err == nil {
		_, err = n.engine.Update(ctx, record.Switch, forgottenKey+p.ID, record.Condition{}, record.Change{Value: value})
	}
	if err == nil {
		err = n.Registry.Unregister(ctx, p.ID)
	}
	if err != nil {
		return fmt.Errorf("forgetting store %s: %w", p.Name.Store, err)
	}
	n.Index.Forget()
	n.log.Warn("store is forgotten", zap.String("store", p.Name.Store), zap.String("id", p.ID))
	return nil
}

// recall tells whether a store of this process may be registered: one that was
// forgotten only when its disk is there again, and nothing is left of what was
// recorded of it before, also not here, where nobody may have heard of that until
// now. Then the forgetting is taken back; back says that the disk is to be read
// anew once the store is registered.
func (n *Node) recall(ctx context.Context, v *openVolume, store string) (ok, back bool) {
	at := n.forgotten.at(store)
	if at == 0 {
		return true, false
	}
	if !v.Readable() {
		return false, false
	}
	left, err := n.anyBefore(ctx, store, at)
	if left {
		sign(n.forgotten.drop)
		return false, false
	}
	if err == nil {
		_, err = n.engine.Update(ctx, record.Switch, forgottenKey+store, record.Condition{}, record.Change{Delete: true})
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			n.log.Warn("a store that was forgotten is back, and can't be registered yet", zap.String("id", store), zap.Error(err))
		}
		return false, false
	}
	n.claims.takeOver(store, n.clock.Next())
	n.log.Info("a store that was forgotten is back as a new one: what is on it counts once it is read", zap.String("store", v.Name()), zap.String("id", store))
	return true, true
}

// anyBefore tells whether something that was recorded of a store before a time is
// still here.
func (n *Node) anyBefore(ctx context.Context, store string, at record.Time) (bool, error) {
	for r, err := range n.engine.List(ctx, record.Inventory, record.ByMember, store, "") {
		if err != nil || r.Time < at {
			return err == nil, err
		}
	}
	return false, nil
}
