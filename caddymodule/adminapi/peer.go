package adminapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/clonetool"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/peer"
)

// keeper sees to the stores of the cluster. *node.Node is one.
type keeper interface {
	Drain(ctx context.Context, store string, on bool) error
	Forget(ctx context.Context, store string) error
}

// repairer makes clones and drops them. *repair.Agent is one.
type repairer interface {
	clonetool.Agent
	Draining(ctx context.Context, store string) (repair.Drain, error)
	DrainingEach(ctx context.Context, store string, alone func(content.Hash)) (repair.Drain, error)
	Now(ctx context.Context) []string
	Look()
	Status() repair.Status
}

// peer finds a peer by its name (`prism1:store1`), the first label of its host
// name (`store1`), or its id.
func (c *call) peer(name string) (heartbeat.Peer, error) {
	if name == "" {
		return heartbeat.Peer{}, handlers.Faultf(handlers.Malformed, "No peer is named; GET /oose/peers lists those there are")
	}
	for _, p := range c.registry.Peers() {
		if p.ID == name || strings.EqualFold(p.Name.String(), name) {
			return p, nil
		}
	}
	if p, ok := c.registry.ByLabel(name); ok {
		return p, nil
	}
	return heartbeat.Peer{}, handlers.Faultf(handlers.RouteUnknown, "There is no peer %.64q; GET /oose/peers lists those there are", name)
}

// store is peer for a store.
func (c *call) store(name string) (heartbeat.Peer, error) {
	p, err := c.peer(name)
	if err == nil && p.Kind != peer.Store {
		err = handlers.Faultf(handlers.Malformed, "%s is a prism: name a store", p.Name)
	}
	return p, err
}

// switchPeer answers POST /oose/switch: the operator's switches of a peer.
func (c *call) switchPeer() error {
	var ask SwitchRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	p, err := c.peer(ask.Peer)
	if err != nil {
		return err
	}
	if ask.Active == nil && ask.Writable == nil {
		return handlers.Faultf(handlers.Malformed, `Nothing is to be switched: send "active" or "writable"`)
	}
	if ask.Writable != nil && p.Kind != peer.Store {
		return handlers.Faultf(handlers.Malformed, "%s is a prism: only stores are written", p.Name)
	}
	var now heartbeat.Switches
	var before heartbeat.Switches
	err = c.registry.Switch(c.r.Context(), p.ID, func(s *heartbeat.Switches) {
		before = *s
		if ask.Active != nil {
			s.Active = *ask.Active
		}
		if ask.Writable != nil {
			s.Writable = *ask.Writable
		}
		now = *s
	})
	if err != nil {
		return peerFault(p, err)
	}
	if now != before {
		c.audited(audit.Entry{Action: audit.PeerSwitch, Store: p.Name.String(), StoreID: p.ID, Detail: fmt.Sprintf("active %t, writable %t", now.Active, now.Writable)})
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, SwitchAnswer{Peer: p.Name.String(), ID: p.ID, Switches: now})
}

// undrain answers POST /oose/undrain.
func (c *call) undrain() error {
	return c.aboutStore(func(p heartbeat.Peer) (any, error) {
		if err := c.keeper.Drain(c.r.Context(), p.ID, false); err != nil {
			return nil, peerFault(p, err)
		}
		c.audited(audit.Entry{Action: audit.StoreUndrain, Store: p.Name.String(), StoreID: p.ID})
		return StoreAnswer{Store: p.Name.String(), ID: p.ID}, nil
	})
}

// lostListed bounds how many contents are listed that are lost with a store.
const lostListed = 1000

// forget answers POST /oose/forget. What is given up with the store is said
// plainly: afterwards nothing knows of it any more.
func (c *call) forget() error {
	return c.about(c.peerOrFormer, func(p heartbeat.Peer) (any, error) {
		ctx, answer := context.WithoutCancel(c.r.Context()), ForgetAnswer{Store: p.Name.String(), ID: p.ID}
		if _, registered := c.registry.Lookup(p.ID); p.Kind != peer.Store || !registered {
			if err := c.keeper.Forget(ctx, p.ID); err != nil {
				return nil, peerFault(p, err)
			}
			action := audit.PeerForget
			if p.Kind == peer.Store {
				action = audit.StoreForget
			}
			c.audited(audit.Entry{Action: action, Store: p.Name.String(), StoreID: p.ID})
			return answer, nil
		}
		c.repair.Look()
		d, err := c.repair.DrainingEach(ctx, p.ID, func(h content.Hash) {
			if len(answer.Lost) < lostListed {
				answer.Lost = append(answer.Lost, h.String())
			}
		})
		if err == nil {
			answer.Alone, answer.Short = d.Alone, d.Needed-d.Alone
			err = c.keeper.Forget(ctx, p.ID)
		}
		if err != nil {
			return nil, peerFault(p, err)
		}
		c.audited(audit.Entry{Action: audit.StoreForget, Store: p.Name.String(), StoreID: p.ID, Count: d.Alone})
		return answer, nil
	})
}

// peerOrFormer is peer, or a store by its id that has left the registry.
func (c *call) peerOrFormer(name string) (heartbeat.Peer, error) {
	p, err := c.peer(name)
	if id, wrong := hex.DecodeString(name); err != nil && wrong == nil && len(id) == 16 {
		return heartbeat.Peer{ID: strings.ToLower(name), Name: peer.Name{Prism: "former", Store: name[:8]}, Kind: peer.Store}, nil
	}
	return p, err
}

// aboutStore answers a request that names a store with what work returns.
func (c *call) aboutStore(work func(heartbeat.Peer) (any, error)) error {
	return c.about(c.store, work)
}

// about is aboutStore for what find finds.
func (c *call) about(find func(string) (heartbeat.Peer, error), work func(heartbeat.Peer) (any, error)) error {
	var ask StoreRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	p, err := find(ask.Store)
	if err != nil {
		return err
	}
	return c.streamed(func(*lineStream) (any, error) { return work(p) })
}

// peerFault tells what keeps something from being done about a peer.
func peerFault(p heartbeat.Peer, err error) error {
	switch {
	case errors.Is(err, node.ErrStillThere):
		return handlers.Faultf(handlers.Declared, "%s answers, and is forgotten only when it is gone: stop its node first, or drain it if it is a store", p.Name)
	case errors.Is(err, heartbeat.ErrUnknownPeer):
		return handlers.Faultf(handlers.RouteUnknown, "%s is not registered any more", p.Name)
	}
	return unfinished(err, 0, 1)
}
