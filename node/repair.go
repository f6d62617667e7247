package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
	"github.com/ooseio/oose/peer"
)

// ErrStillThere says that a peer can't be given up because it answers.
var ErrStillThere = errors.New("it is available: drain it if it is a store, or take its node away first")

// Repair is what makes missing clones and has surplus ones dropped.
func (n *Node) Repair() *repair.Agent { return n.repair }

// openRepair prepares the repairing of clones, which needs the uploader and, where
// there are others, the way to them.
func (n *Node) openRepair() {
	deps := repair.Deps{
		Index: n.Index, Volumes: &n.volumes, Engine: n.engine, Uploader: n.uploader,
		Stores: n.uploadStores, Sights: n.sights, Address: n.carrier, Nodes: n.carriers, Gone: n.Registry.Gone, Settings: n.repairSettings,
		Ready: n.ready, Clock: n.clock, Log: n.log.Named("repair"),
	}
	if o := n.others; o != nil {
		deps.Doer, deps.Importer = o.client, n.engine
	}
	n.repair = repair.New(deps)
	if o := n.others; o != nil {
		o.handler.Handle(repair.Prefix, n.repair)
	}
}

// repairSettings are those in force.
func (n *Node) repairSettings() repair.Settings {
	cfg := n.rules()
	return repair.Settings{
		Limits: plan.Limits{After: cfg.Repair.After.Std(), MaxShare: float64(cfg.Repair.MaxShare)},
		Copies: cfg.Content.Copies, Bandwidth: int64(cfg.Repair.Bandwidth), Parallel: cfg.Repair.Parallel,
	}
}

// sights is how all stores look to this node now.
func (n *Node) sights() []plan.Sight {
	var list []plan.Sight
	for _, p := range n.Registry.Peers() {
		if p.Kind != peer.Store {
			continue
		}
		s := plan.Sight{
			Target:   inventory.Target{ID: p.ID, Node: p.Node, Group: groupOf(p), Free: p.Free},
			Draining: p.Draining, Suspect: p.Suspect, Up: p.Active && n.elsewhere(p), Room: p.Active && p.Writable && p.Room,
		}
		if v, ok := n.volumes.Volume(p.ID); ok {
			status := v.Status()
			s.Free, s.Suspect, s.Up = status.Free, status.State == inventory.Suspect, p.Active && v.Readable()
			s.Room = p.Active && p.Writable && v.Writable()
		}
		list = append(list, s)
	}
	return list
}

// elsewhere tells whether a store of another node is there, by what nodes agree
// on: that this one alone fails to reach it is no reason to make its clones anew.
// With nobody who probes, the connections between nodes tell.
func (n *Node) elsewhere(p heartbeat.Peer) bool {
	return p.Online && n.answers(p)
}

// answers is elsewhere for the node that carries a peer.
func (n *Node) answers(p heartbeat.Peer) bool {
	switch {
	case p.Cluster == "" || n.others == nil:
		return false
	case n.rules().Heartbeat.Off:
		return n.others.swarm == nil || !n.others.away(p.NodeID)
	}
	return n.Registry.Standing(p.ID) != heartbeat.Down
}

// groupOf is a peer's failure domain; groups of several sites may share a name.
func groupOf(p heartbeat.Peer) string {
	if p.Site != "" && p.Group != "" {
		return p.Site + "/" + p.Group
	}
	return p.Group
}

// carrier is the address of the node that carries a store elsewhere, "" where
// none can be asked.
func (n *Node) carrier(store string) string {
	if p, ok := n.Registry.Lookup(store); ok && n.Registry.Available(store) {
		return p.Cluster
	}
	return ""
}

// carriers are the addresses of the other nodes that have stores and are there.
func (n *Node) carriers() []string {
	var list []string
	for _, other := range n.otherNodes() {
		if other.Stores && other.Address != "" && !n.Registry.NodeStanding(other.ID).Away() {
			list = append(list, other.Address)
		}
	}
	return list
}

// Drain has a store emptied: it takes no new clones, is read as ever, and its
// clones are made elsewhere and then dropped. It is only a switch, so that it
// survives every restart; false takes it back. Repair().Draining tells how far it
// is. Errors: heartbeat.ErrUnknownPeer, and those of records.
func (n *Node) Drain(ctx context.Context, store string, on bool) error {
	if p, ok := n.Registry.Lookup(store); !ok || p.Kind != peer.Store {
		return fmt.Errorf("store %s: %w", store, heartbeat.ErrUnknownPeer)
	}
	return n.Registry.Switch(ctx, store, func(s *heartbeat.Switches) { s.Draining = on })
}
