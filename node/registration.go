package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// refresh is how often the registry is told of what nobody notifies of, as the
// free space of stores.
const refresh = 10 * time.Second

// runRegistration keeps the registry's records of this node's peers true.
func (n *Node) runRegistration(ctx context.Context) error {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		var told chan struct{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.changed:
		case told = <-n.asked:
		case <-ticker.C:
		}
		if a := n.top.Load(); a != nil {
			n.registerAll(ctx, a)
		}
		if told != nil {
			close(told)
		}
	}
}

// settling bounds how long a configuration's start waits for its disks.
const settling = 3 * time.Second

// settle waits until the stores of a configuration have tried to take their
// roots and those that did are available, so that the first request finds them.
// A disk that hangs is not waited for.
func (n *Node) settle(a *Attachment) {
	timer := time.NewTimer(settling)
	defer timer.Stop()
	for _, v := range a.held {
		select {
		case <-v.Tried():
		case <-timer.C:
			return
		}
	}
	told := make(chan struct{})
	select {
	case n.asked <- told:
	case <-timer.C:
		return
	}
	select {
	case <-told:
	case <-timer.C:
	}
}

// registerAll tells the registry of all peers of a configuration.
func (n *Node) registerAll(ctx context.Context, a *Attachment) {
	prisms := a.spec.Prisms
	for _, p := range prisms {
		or(&p.Name, n.id.Name)
		id := n.prismID(p.Name)
		n.keep(ctx, heartbeat.Peer{
			ID: id, Name: peer.Name{Prism: p.Name}, Kind: peer.Prism,
			Address: a.spec.Config.URL, Zone: n.cfg.Purchase.Zone,
		})
		if !n.Registry.Local(id) {
			n.Registry.Attach(id, func() bool { return true })
		}
	}
	for _, s := range a.spec.Stores {
		n.registerStore(ctx, s, a.byName[s.Name])
	}
	n.forgetOthers(ctx, a)
}

// registerStore tells the registry of a store whose root this node holds.
func (n *Node) registerStore(ctx context.Context, s StoreSpec, v *openVolume) {
	id := v.ID()
	if id == "" {
		return
	}
	if n.refused(v) {
		v.takeBack() // it is where its present owner is
		if !n.informed() {
			return
		}
	}
	if !n.informed() { // what is said now would be later than what others said meanwhile
		v.bringIn(n.Registry, id)
		return
	}
	if !n.mayRegister(ctx, v, id) {
		return
	}
	ok, back := n.recall(ctx, v, id)
	if !ok {
		return
	}
	status, stays := v.Status(), !n.left.Load()
	n.keep(ctx, heartbeat.Peer{
		ID: id, Name: peer.Name{Prism: s.Prism, Store: s.Name}, Kind: peer.Store,
		Address: s.Address, Free: status.Free, Total: status.Total,
		Online: stays && v.Readable(), Room: stays && v.Writable(), Suspect: status.State == inventory.Suspect,
		Caches:  stays && v.Readable() && v.cache.Load() != nil,
		Claimed: n.claims.at(id), Complete: n.claims.complete(id, n.engine.Source()),
	})
	if back {
		v.ScanAnew()
	}
	v.bringIn(n.Registry, id)
}

// keep registers a peer of this node. What the operator switched stays.
func (n *Node) keep(ctx context.Context, p heartbeat.Peer) {
	cfg := n.rules()
	p.Node, p.Site, p.Group, p.Domain = n.id.Name, cfg.Site, cfg.Group, n.cfg.Domain
	p.NodeID, p.Cluster, p.Source = n.id.ID, n.address(), n.engine.Source()
	p.Started = n.started.UnixMilli()
	p.Active, p.Writable = true, true
	if known, ok := n.Registry.Lookup(p.ID); ok {
		p.Active, p.Writable = known.Active, known.Writable
	}
	n.keepAsIs(ctx, p)
}

// leaving bounds how long a process that ends waits until another node has
// heard of it.
const leaving = 500 * time.Millisecond

// Leave tells the others, while this node still answers, that its stores will
// be away in a moment.
func (n *Node) Leave() {
	if n.others == nil {
		return
	}
	n.left.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), leaving)
	defer cancel()
	told := make(chan struct{})
	select {
	case n.asked <- told:
	case <-ctx.Done():
		return
	}
	select {
	case <-told:
	case <-ctx.Done():
		return
	}
	if n.journal != nil {
		n.engine.Confirm(ctx, record.Ack{Revision: n.journal.Head(), Copies: 1})
	}
}

// forgetOthers takes prisms that this node no longer has out of the registry,
// and stores whose name another medium has now. Stores that it no longer serves
// are told to be away.
func (n *Node) forgetOthers(ctx context.Context, a *Attachment) {
	here := make(map[string]string) // id by full name
	for _, p := range a.spec.Prisms {
		or(&p.Name, n.id.Name)
		here[p.Name] = n.prismID(p.Name)
	}
	for _, s := range a.spec.Stores {
		here[":"+s.Name] = a.byName[s.Name].ID()
	}
	for _, p := range n.Registry.Peers() {
		key := p.Name.Prism
		if p.Kind == peer.Store {
			key = ":" + p.Name.Store
		}
		id, known := here[key]
		gone := p.Kind == peer.Prism && !known || known && id != "" && id != p.ID
		if !n.owns(p) {
			continue
		}
		if !gone {
			if !known && p.Online {
				p.Online, p.Room = false, false
				n.keepAsIs(ctx, p)
			}
			continue
		}
		if err := n.Registry.Unregister(ctx, p.ID); err != nil && ctx.Err() == nil {
			n.log.Warn("taking a peer out of the registry", zap.String("peer", p.Name.String()), zap.Error(err))
		} else if p.Kind == peer.Store {
			n.log.Warn("another medium has this store's name now; what is recorded of the former one stays until it is back, or given up with `oose forget ID`",
				zap.String("store", p.Name.Store), zap.String("former", p.ID), zap.String("id", id))
		}
	}
}

// keepAsIs registers a peer as it is given.
func (n *Node) keepAsIs(ctx context.Context, p heartbeat.Peer) {
	if err := n.Registry.Register(ctx, p); err != nil && ctx.Err() == nil {
		n.log.Warn("registering a peer", zap.String("peer", p.Name.String()), zap.Error(err))
	}
}

// prismID is under what the registry knows a prism of this node.
func (n *Node) prismID(name string) string { return "prism-" + n.id.ID + "-" + name }

// knownStore is the id that the registry has for a store's name, "" where it
// has none: that of this node's own store rather than another's, and what was
// taken last of several.
func (n *Node) knownStore(name string) string {
	var known heartbeat.Peer
	for _, p := range n.Registry.Peers() {
		if p.Kind != peer.Store || p.Name.Store != name {
			continue
		}
		own, before := n.owns(p), known.ID != "" && n.owns(known)
		if known.ID == "" || own && !before || own == before && p.Claimed > known.Claimed {
			known = p
		}
	}
	return known.ID
}

// bringIn has the registry take a store for one of this process, whose health
// it asks for.
func (v *openVolume) bringIn(r *heartbeat.Registry, id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.id == id {
		return
	}
	if v.detach != nil {
		v.detach()
	}
	v.id, v.detach = id, r.Attach(id, v.Readable)
}

// storeURL is what clients begin the URLs of a store with, where they can
// reach it.
func (n *Node) storeURL(id string) (string, bool) {
	p, ok := n.Registry.Lookup(id)
	return p.Address, ok && p.Address != ""
}

// location is where this node is.
func (n *Node) location() heartbeat.Location {
	cfg := n.rules()
	return heartbeat.Location{Site: cfg.Site, Group: cfg.Group}
}
