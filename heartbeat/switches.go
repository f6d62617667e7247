package heartbeat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// ErrUnknownPeer says that no peer with that id is registered.
var ErrUnknownPeer = errors.New("unknown peer")

// Switches are what an operator has decided about a peer. They belong to its
// id, whoever carries it, and hold at every node that has heard of them.
type Switches struct {
	Active   bool `json:"active"`   // false: it is chosen for nothing
	Writable bool `json:"writable"` // false: it takes no new clones
	Draining bool `json:"draining"` // true: it takes no new clones, its own are moved away and do not count
}

// untouched is what holds where nothing was switched.
var untouched = Switches{Active: true, Writable: true}

// Switch changes an operator's switches of a registered peer: change gets what
// holds now, and may be called more than once. It returns when the change is
// durable and this registry knows it. Errors: ErrUnknownPeer, record.ErrUnavailable,
// record.ErrConflict where others keep changing the same.
func (r *Registry) Switch(ctx context.Context, id string, change func(*Switches)) error {
	const tries = 8
	var err error
	for range tries {
		if _, ok := r.Lookup(id); !ok {
			return fmt.Errorf("switching peer %s: %w", id, ErrUnknownPeer)
		}
		if err = r.switchOnce(ctx, id, change); !errors.Is(err, record.ErrConflict) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("switching peer %s: %w", id, err)
	}
	return nil
}

func (r *Registry) switchOnce(ctx context.Context, id string, change func(*Switches)) error {
	versions, err := r.engine.Get(ctx, record.Switch, id)
	if err != nil {
		return err
	}
	now, cond := untouched, record.IfAbsent()
	if rec, ok := record.Merge(record.Switch, versions); ok {
		cond = record.IfUnchanged(rec.Time)
		if now, err = parseSwitches(rec.Value); err != nil {
			r.log.Warn("the switches of a peer can't be read, they are set anew", zap.String("peer", id), zap.Error(err))
		}
	}
	before := now
	if change(&now); now == before {
		return nil
	}
	value, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if _, err := r.engine.Update(ctx, record.Switch, id, cond, record.Change{Value: value}); err != nil {
		return err
	}
	r.log.Info("peer switched", zap.String("peer", id), zap.Any("switches", now))
	return nil
}

// parseSwitches reads what Switch wrote. What can't be read switches nothing.
func parseSwitches(value []byte) (Switches, error) {
	s := untouched
	if err := json.Unmarshal(value, &s); err != nil {
		return untouched, fmt.Errorf("reading switches: %w", err)
	}
	return s, nil
}

// switchesOf is what the records say of a peer; r.mu is held.
func (r *Registry) switchesOf(id string) Switches {
	rec, ok := record.Merge(record.Switch, r.switched[id])
	if !ok {
		return untouched
	}
	s, err := parseSwitches(rec.Value)
	if err != nil {
		r.log.Warn("the switches of a peer can't be read", zap.String("peer", id), zap.Error(err))
	}
	return s
}

// set puts a peer's switches into what the registry shows of it.
func (s Switches) set(p *Peer) {
	p.Active, p.Writable, p.Draining = s.Active, s.Writable && !s.Draining, s.Draining
}
