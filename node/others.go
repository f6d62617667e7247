package node

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers/ask"
	"github.com/ooseio/oose/handlers/clones"
	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// others is this node's side of the cluster: how it calls the other nodes, and
// how it answers them.
type others struct {
	keys    *cluster.Keys
	client  *cluster.Client
	handler *cluster.Handler
	clones  *clones.Client // reads and writes clones elsewhere
	server  *clones.Server // gives and takes those of this process
	source  *clones.Source
	demand  *demand.Agent
	asker   *ask.Asker   // nil with the engine redis: what is not there, nobody has
	swarm   *swarm.Swarm // the same
	pulse   *pulse

	// away tells whether the node with this id is not reached by the connections
	// that nodes keep to one another either; without such, all are.
	away func(id string) bool
}

// swarmFile keeps, in the data folder, the addresses of nodes once seen.
const swarmFile = "nodes.json"

// openOthers prepares what connects this node with others. A node without a
// secret is alone.
func (n *Node) openOthers() error {
	cfg := &n.cfg.Cluster
	if len(cfg.Secret) == 0 {
		return nil
	}
	config, err := cluster.LoadTLS(cfg.Trust, cfg.ClientAuth.Certificate, cfg.ClientAuth.Key)
	if err != nil {
		return err
	}
	log, keys := n.log.Named("journal"), cluster.NewKeys(cfg.Secret)
	o := &others{
		keys:    keys,
		client:  cluster.NewClient(cluster.Options{Node: n.id.ID, Keys: keys, TLS: config, Log: log}),
		handler: cluster.NewHandler(cluster.Deps{Keys: keys, Self: func() string { return n.id.ID }, Log: log}),
		away:    func(string) bool { return true },
		pulse:   newPulse(cluster.Options{Node: n.id.ID, Keys: keys, TLS: config}),
	}
	n.others = o
	if n.journal != nil {
		n.openSwarm(log)
		o.away = func(id string) bool {
			return !slices.ContainsFunc(o.swarm.Nodes(), func(other swarm.Node) bool { return other.ID == id && other.Reached })
		}
		o.asker = ask.New(ask.Deps{
			Engine: n.engine, Client: o.client, Nodes: n.otherNodes, Complete: n.journal.Complete,
			Plausible: func(token string) bool { return n.Book.Plausible(purchase.Token(token)) }, Ready: o.swarm.Ready, Scanning: n.volumes.Scanning,
			Down: func(other ask.Node) bool { return n.Registry.NodeStanding(other.ID).Away() },
			Away: func(other ask.Node) bool { return o.away(other.ID) }, Counts: n.counts, Log: log,
		})
		o.handler.Handle("/cluster/records", o.asker)
		o.handler.Handle("/cluster/hello", o.swarm)
		o.handler.Handle(journalPath, o.swarm)
	}
	return nil
}

// openSwarm prepares the following of the other nodes' journals.
func (n *Node) openSwarm(log *zap.Logger) {
	n.others.swarm = swarm.New(swarm.Options{
		Journal:  n.journal,
		Self:     n.self,
		Join:     n.cfg.Cluster.Join,
		File:     filepath.Join(n.cfg.Data, swarmFile),
		Client:   n.others.client,
		Log:      log,
		OnNode:   func(swarm.Node) { n.register() },
		OnRenew:  func(string) { n.Book.Renewed(); n.register() },
		OnOffset: n.clock.Correct,
	})
}

// openClones prepares the reading and writing of clones at other nodes, which
// needs the index.
func (n *Node) openClones() {
	o := n.others
	if o == nil {
		return
	}
	log := n.log.Named("store")
	o.clones = clones.NewClient(clones.ClientDeps{Doer: patient{o.client}, Importer: n.engine, Log: log})
	o.server = clones.NewServer(clones.ServerDeps{Volumes: &n.volumes, Index: n.Index, Records: n.engine, Copies: o.demand, Loosen: n.loosen, Log: log})
	o.source = clones.NewSource(o.clones, n.Registry)
	for _, prefix := range []string{clones.ClonePath, clones.UploadPath, clones.RenewPath, clones.StorePath} {
		o.handler.Handle(prefix, o.server)
	}
}

// patient lets calls about uploads take as long as a disk does; the caller
// bounds them.
type patient struct{ client *cluster.Client }

// Do sends a call.
func (p patient) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, clones.UploadPath) {
		r = r.WithContext(cluster.Patient(r.Context()))
	}
	return p.client.Do(r)
}

// loosen is what the web server of the configuration in force has for long
// responses.
func (n *Node) loosen(r *http.Request) (chunk int64, undo func()) {
	if a := n.top.Load(); a != nil && a.spec.Loosen != nil {
		return a.spec.Loosen(r)
	}
	return 0, func() {}
}

// self is what this node tells others of itself.
func (n *Node) self() swarm.Self {
	s := swarm.Self{ID: n.id.ID, Name: n.id.Name, Domain: n.cfg.Domain, Address: n.address(), Started: n.started.UnixMilli()}
	if a := n.top.Load(); a != nil {
		s.Version = a.spec.Version
	}
	return s
}

// address is where other nodes reach this one, "" where they can't.
func (n *Node) address() string {
	if n.others == nil {
		return ""
	}
	return n.rules().Cluster.Address
}

// otherNodes are the nodes of the registry but this one.
func (n *Node) otherNodes() []ask.Node {
	var nodes []ask.Node
	at := make(map[string]int)
	for _, p := range n.Registry.Peers() {
		if p.NodeID == "" || p.NodeID == n.id.ID {
			continue
		}
		i, ok := at[p.NodeID]
		if !ok {
			i = len(nodes)
			at[p.NodeID] = i
			nodes = append(nodes, ask.Node{ID: p.NodeID, Address: p.Cluster, Source: p.Source})
		}
		switch p.Kind {
		case peer.Prism:
			if !slices.Contains(nodes[i].Zones, p.Zone) {
				nodes[i].Zones = append(nodes[i].Zones, p.Zone)
			}
		case peer.Store:
			nodes[i].Stores = true
		}
	}
	return nodes
}

// counts tells whether what a record says is not passed over by the index.
func (n *Node) counts(r record.Record) bool {
	if r.Topic != record.Inventory {
		return true
	}
	source, complete := n.owner(r.Member)
	return !complete || r.Source == source
}

// hearing bounds how long a node that has just started waits for the others
// before it takes stores that it does not know.
const hearing = 10 * time.Second

// informed tells whether this node has heard what the others know.
func (n *Node) informed() bool {
	return n.others == nil || n.others.swarm == nil || n.others.swarm.Ready() || time.Since(n.started) > hearing
}

// firstHearing is for how long a store that is not known waits for the others
// at once, before it is tried again later.
const firstHearing = 2 * time.Second

// hear waits, at most for so long, until this node is informed.
func (n *Node) hear(patience time.Duration) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !n.informed() {
		select {
		case <-ticker.C:
		case <-end.C:
			return false
		}
	}
	return true
}

// ready tells whether a prism of this node can answer for the cluster.
func (n *Node) ready() bool {
	if n.others == nil || n.others.swarm == nil {
		return n.Registry.Loaded()
	}
	return n.others.swarm.Ready() && n.others.swarm.Conflict() == nil
}

// Connections are those with other nodes, and, as an error, that another live
// node has this node's name.
func (n *Node) Connections() ([]swarm.Connection, error) {
	if n.others == nil || n.others.swarm == nil {
		return []swarm.Connection{}, nil
	}
	return n.others.swarm.Connections(), n.others.swarm.Conflict()
}

// closeOthers ends what openOthers and openClones began.
func (n *Node) closeOthers(ctx context.Context) []error {
	o := n.others
	if o == nil {
		return nil
	}
	var errs []error
	if o.asker != nil {
		o.asker.Close()
	}
	if o.clones != nil {
		errs = append(errs, o.clones.Close(ctx), o.server.Close(ctx))
	}
	o.client.Close()
	o.pulse.client.Close()
	return errs
}

// journalPath is that of the journals' streams.
const journalPath = "/cluster/journal"

// joined answers other nodes, before a role answers everybody else.
type joined struct {
	a    *Attachment
	role Server
}

// Serve answers a request, as Server says.
func (j joined) Serve(w http.ResponseWriter, r *http.Request) error {
	o := j.a.node.others
	if o == nil || !strings.HasPrefix(r.URL.Path, cluster.Prefix) {
		return j.role.Serve(w, r)
	}
	if !strings.HasPrefix(r.URL.Path, journalPath) {
		return o.handler.Serve(w, r)
	}
	// A journal's stream would go on for ever and keep this configuration, or the
	// whole process, from ending: the other node asks the next one.
	ctx, cancel := context.WithCancel(r.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-j.a.retired:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-ended }()
	return o.handler.Serve(w, r.WithContext(ctx))
}
