package node

import (
	"slices"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat/monitor"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
)

// Status is what an operator wants to know of a node.
type Status struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Domain  string `json:"domain,omitempty"`
	Site    string `json:"site,omitempty"`
	Group   string `json:"group,omitempty"`
	Data    string `json:"data"`
	Engine  string `json:"engine"`
	URL     string `json:"url,omitempty"`
	Started int64  `json:"started"` // milliseconds since 1970

	Prisms         []string                `json:"prisms"`
	Stores         []inventory.Status      `json:"stores"`
	Journal        *journal.Stats          `json:"journal,omitempty"` // of the engine badger
	Redis          *redisdb.Stats          `json:"redis,omitempty"`   // of the engine redis
	Digests        map[record.Topic]string `json:"digests,omitempty"` // of all records by topic: equal on nodes that hold the same
	Purchases      int                     `json:"purchasesInMemory"`
	Placements     int                     `json:"placementsInMemory"`
	Configurations int                     `json:"configurations"`  // attached now: more than one while a reload's old streams run
	Requests       int64                   `json:"requests"`        // running now
	Audit          *audit.Status           `json:"audit,omitempty"` // where the audit log can't be written
	Repair         repair.Status           `json:"repair"`
	Demand         *demand.Status          `json:"demand,omitempty"`    // nil: this node is alone
	Heartbeat      *monitor.Status         `json:"heartbeat,omitempty"` // nil: this node is alone
	Failed         []string                `json:"failed,omitempty"`

	Problems []Problem `json:"problems"` // what is not as it should be now; empty: all is well, as far as this node can tell
}

// Status tells how the node is.
func (n *Node) Status() Status {
	cfg := n.rules()
	s := Status{
		Name: n.id.Name, ID: n.id.ID, Domain: n.cfg.Domain, Site: cfg.Site, Group: cfg.Group,
		Data: n.cfg.Data, Engine: n.cfg.Engine.Kind, URL: cfg.URL, Started: n.started.UnixMilli(),
		Prisms: []string{}, Stores: []inventory.Status{},
		Purchases: n.Book.Len(), Placements: n.Index.Cached(), Repair: n.repair.Status(),
	}
	if n.journal != nil {
		stats := n.journal.Stats()
		s.Journal, s.Digests = &stats, n.journal.Digests()
	}
	if n.redis != nil {
		stats := n.redis.Stats()
		s.Redis = &stats
	}
	for _, v := range n.Volumes() {
		s.Stores = append(s.Stores, v.Status())
	}
	if a := n.top.Load(); a != nil {
		for _, p := range a.spec.Prisms {
			or(&p.Name, n.id.Name)
			s.Prisms = append(s.Prisms, p.Name)
		}
		slices.Sort(s.Prisms)
	}
	if state := n.Audit.Status(); state != (audit.Status{}) {
		s.Audit = &state
	}
	s.Heartbeat = n.Heartbeat()
	if demanded, ok := n.Demand(); ok {
		s.Demand = &demanded
	}
	n.countRunning(&s)
	_, conflict := n.Connections()
	s.Problems = problems(&s, n.peerViews(), n.ready(), conflict)
	return s
}

// countRunning tells what is attached and running, and what has failed.
func (n *Node) countRunning(s *Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.stack {
		s.Configurations++
		s.Requests += a.holders.Load() - 1
	}
	s.Failed = slices.Clone(n.failed)
}
