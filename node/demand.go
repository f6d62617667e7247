package node

import (
	"context"
	"io"

	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
	"github.com/ooseio/oose/peer"
)

// openDemand prepares the copies on demand, which needs the way to others, before
// what lends them.
func (n *Node) openDemand() {
	o := n.others
	if o == nil {
		return
	}
	o.demand = demand.New(demand.Deps{
		Index: n.Index, Doer: o.client, Peers: demandPeers{n}, Caches: &n.volumes, Settings: n.demandSettings,
		Fetch: n.fetchElsewhere, Log: n.log.Named("prism"),
	})
	o.handler.Handle(demand.Path, o.demand)
}

// Demand tells of the copies on demand; false where the node is alone.
func (n *Node) Demand() (demand.Status, bool) {
	if n.others == nil {
		return demand.Status{}, false
	}
	return n.others.demand.Status(), true
}

// demandSettings are those in force.
func (n *Node) demandSettings() demand.Settings {
	cfg := n.rules()
	s := demand.Settings{Above: float64(cfg.Demand.Above), Most: cfg.Demand.Stores, Self: demand.Place{Node: n.id.ID, Site: cfg.Site, Group: cfg.Group}}
	if cfg.Demand.Off {
		s.Above = 0
	}
	return s
}

// fetchElsewhere gives a whole content, for a copy of it.
func (n *Node) fetchElsewhere(p *inventory.Placement, size int64) func(context.Context, int64) (io.ReadCloser, error) {
	return delivery.NewSender(delivery.Deps{
		Stores: &n.volumes, Registry: n.Registry, Self: n.location(), Elsewhere: n.others.source, FirstBytes: &n.firstBytes,
		Log: n.log.Named("store"),
	}).Fetch(p, size)
}

// Cache returns the pull-through copies of the store with this id.
func (vs *volumes) Cache(id string) (*pull.Cache, bool) {
	for _, v := range vs.all() {
		if id != "" && v.ID() == id {
			c := v.cache.Load()
			return c, c != nil && v.Readable()
		}
	}
	return nil, false
}

// demandPeers is what the registry knows of stores.
type demandPeers struct{ n *Node }

// Caching is demand.Peers'.
func (d demandPeers) Caching() []demand.Place {
	var list []demand.Place
	for _, p := range d.n.Registry.Peers() {
		if p.Kind != peer.Store || !p.Caches || p.Cluster == "" || p.NodeID == d.n.id.ID || p.Draining {
			continue
		}
		if place, ok := d.Place(p.ID); ok {
			list = append(list, place)
		}
	}
	return list
}

// Place is demand.Peers'.
func (d demandPeers) Place(store string) (demand.Place, bool) {
	p, ok := d.n.Registry.Lookup(store)
	if !ok || !p.Active || !d.n.Registry.Available(store) {
		return demand.Place{}, false
	}
	return demand.Place{ID: p.ID, Node: p.NodeID, Address: p.Cluster, Site: p.Site, Group: p.Group}, true
}
