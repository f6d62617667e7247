package node

import (
	"sync/atomic"

	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/handlers/probe"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
)

// pulse is how this node learns which of the others are there, and tells them
// that it is.
type pulse struct {
	monitor *monitor.Monitor
	client  *cluster.Client // of its own: no probe waits behind what others send
	nodes   atomic.Pointer[monitor.Nodes]
}

func newPulse(opts cluster.Options) *pulse { return &pulse{client: cluster.NewClient(opts)} }

// openHealth prepares the heartbeat, which needs the registry. A node that is
// alone has none.
func (n *Node) openHealth() {
	if n.others == nil {
		return
	}
	p := n.others.pulse
	p.monitor = monitor.New(monitor.Options{
		Self: n.id.ID, Started: n.started, Transport: probe.Transport{Client: p.client}, Log: n.log.Named("heartbeat"),
		Nodes:    func() *monitor.Nodes { return p.look(n) },
		Settings: n.heartbeatSettings,
		Ready:    n.ready,
		Stores:   n.storeHealth,
		Changed:  n.Registry.SetHealth,
	})
	n.others.handler.Handle(probe.Path, probe.Handler{Answerer: p.monitor, Caller: cluster.CallerOf})
}

// heartbeatSettings are those of the configuration in force.
func (n *Node) heartbeatSettings() monitor.Settings {
	h := n.rules().Heartbeat
	return monitor.Settings{
		Off: h.Off, Interval: h.Interval.Std(), Timeout: h.Timeout.Std(), Retries: h.Retries,
		VoteLife: h.VoteLife.Std(), StartDelay: h.StartDelay.Std(),
	}
}

// look returns the nodes of the registry that can be reached, this one among
// them; the same value while they are the same.
func (p *pulse) look(n *Node) *monitor.Nodes {
	byID := make(map[string]monitor.Node)
	for _, peer := range n.Registry.Peers() {
		if peer.NodeID == "" || peer.Cluster == "" {
			continue
		}
		// A peer that its node no longer has may still tell an old address.
		if known, ok := byID[peer.NodeID]; !ok || peer.Started > known.Started {
			byID[peer.NodeID] = monitor.Node{ID: peer.NodeID, Name: peer.Node, Address: peer.Cluster, Started: peer.Started}
		}
	}
	list := make([]monitor.Node, 0, len(byID))
	for _, node := range byID {
		list = append(list, node)
	}
	if old := p.nodes.Load(); old.Same(list) {
		return old
	}
	nodes := monitor.NewNodes(list)
	p.nodes.Store(nodes)
	return nodes
}

// storeHealth is how the stores of this process are.
func (n *Node) storeHealth() []heartbeat.StoreHealth {
	stays := !n.left.Load()
	var list []heartbeat.StoreHealth
	for _, v := range n.volumes.all() {
		if id := v.ID(); id != "" && !n.refused(v) {
			list = append(list, heartbeat.StoreHealth{
				ID: id, Readable: stays && v.Readable(), Writable: stays && v.Writable(), Free: v.Status().Free,
			})
		}
	}
	return list
}

// Heartbeat tells what the heartbeat knows, nil where this node is alone.
func (n *Node) Heartbeat() *monitor.Status {
	if n.others == nil || n.others.pulse.monitor == nil {
		return nil
	}
	s := n.others.pulse.monitor.Status()
	return &s
}
