package monitor

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/vote"
)

// Settings are what an operator sets. They may change at any time.
type Settings struct {
	Off        bool          // no node is probed, and no votes are cast
	Interval   time.Duration // from one probe of a node to the next
	Timeout    time.Duration // for each probe
	Retries    int           // failures in a row for a vote
	VoteLife   time.Duration // how long a vote counts after its voter last said it
	StartDelay time.Duration // for which no votes are cast after the start
}

// Options are what a Monitor needs.
type Options struct {
	Self      string    // this node's id
	Started   time.Time // when its run began
	Transport Transport
	// Nodes returns the nodes of the cluster; the same value where they are the same.
	Nodes func() *Nodes
	// Settings returns the settings in force.
	Settings func() Settings
	// Ready tells whether this node has caught up with the others; nil: it has.
	Ready func() bool
	// Stores returns how the stores of this process are; nil: there are none.
	Stores func() []heartbeat.StoreHealth
	// Changed is told what was found out, whenever that changes; never two calls
	// at a time. It must not call the monitor. nil: nobody is told.
	Changed func(*heartbeat.Health)
	Log     *zap.Logger // nil: no logs
}

// Monitor probes nodes and counts votes. Its methods can be called at the same
// time.
type Monitor struct {
	opts    Options
	started int64
	news    chan struct{} // there is something to decide, to tell or to probe
	tasks   sync.WaitGroup
	count   counters

	mu        sync.Mutex // guards what follows
	running   bool
	settings  Settings
	nodes     *Nodes
	others    map[string]*other
	ledger    *vote.Ledger
	council   *vote.Council
	own       vote.Ballot // what this node says
	said      time.Time   // when it last said it
	since     time.Time   // when Run began
	lastRound time.Time
	watched   []string // whom this node probes
	asked     []string // whom others are to be told by: this node's own panel
	doubting  bool
	stale     bool   // the verdicts are to be looked at again
	moved     bool   // whom this node watches is to be looked at again
	dirty     bool   // what was found out may have changed
	spread    uint64 // the ledger's version that all neighbours are to hear of
	health    *heartbeat.Health
}

// other is another node as this one sees it.
type other struct {
	node      Node
	series    vote.Series
	started   int64  // the run that is known
	have      uint64 // up to where its votes were heard, in that run
	acked     uint64 // up to where it has heard this node's
	heardFrom time.Time
	answered  time.Time
	answer    Answer
	err       error // of the last probe
	watched   bool
	unreached bool
	telling   bool
	urgent    bool // it asks to be probed at once
	damping   vote.Damping
	away      bool
}

// New returns a monitor that does nothing until Run.
func New(opts Options) *Monitor {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Ready == nil {
		opts.Ready = func() bool { return true }
	}
	if opts.Stores == nil {
		opts.Stores = func() []heartbeat.StoreHealth { return nil }
	}
	if opts.Changed == nil {
		opts.Changed = func(*heartbeat.Health) {}
	}
	s := opts.Settings()
	return &Monitor{
		opts: opts, started: opts.Started.UnixMilli(), news: make(chan struct{}, 1), settings: s,
		others: make(map[string]*other), ledger: vote.NewLedger(s.VoteLife), council: vote.NewCouncil(),
		nodes: NewNodes(nil), health: &heartbeat.Health{},
	}
}

// For how long what changes is collected before it is acted upon: votes of
// several nodes often come together, the more so the more nodes there are.
const (
	gatherMin  = 10 * time.Millisecond
	gatherEach = 250 * time.Microsecond // for each node
	gatherMax  = 250 * time.Millisecond
)

// gather is for how long this cluster's changes are collected.
func (m *Monitor) gather() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return min(max(gatherMin, time.Duration(len(m.others))*gatherEach), gatherMax)
}

// Run probes until ctx ends, and waits for all that it started. It begins at
// once, which has the others look at this node anew.
func (m *Monitor) Run(ctx context.Context) error {
	defer m.tasks.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	m.begin(true)
	defer m.begin(false)
	round := time.NewTimer(0)
	defer round.Stop()
	collected := time.NewTimer(gatherMin)
	defer collected.Stop()
	collecting := true
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-round.C:
			round.Reset(jitter(m.round(inner)))
		case <-m.news:
			if !collecting {
				collecting = true
				collected.Reset(m.gather())
			}
		case <-collected.C:
			collecting = false
			m.act(inner)
		}
	}
}

// jitter keeps nodes that started together from probing at the same moments.
func jitter(interval time.Duration) time.Duration {
	const share = 20
	return interval - interval/share + rand.N(interval/(share/2)+1)
}

func (m *Monitor) begin(running bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = running
	m.since = time.Now()
	m.lastRound = m.since
}

// nudge has Run act soon.
func (m *Monitor) nudge() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// adopt takes over who is in the cluster now. The caller holds m.mu.
func (m *Monitor) adopt(nodes *Nodes) {
	if nodes == m.nodes {
		return
	}
	m.nodes, m.stale = nodes, true
	for id := range m.others {
		if _, ok := nodes.roster.Place(id); !ok {
			delete(m.others, id)
			m.watched = slices.DeleteFunc(m.watched, func(watched string) bool { return watched == id })
		}
	}
	for _, n := range nodes.list {
		if n.ID == m.opts.Self {
			continue
		}
		o := m.others[n.ID]
		if o == nil {
			o = &other{}
			m.others[n.ID] = o
		}
		if n.Started > o.started && n.Started != o.node.Started {
			m.noteRun(o, n.Started)
		}
		o.node = n
	}
	m.moved, m.dirty = true, true
}

// noteRun takes it that a node is in the run that was started at a time. What
// the former run has answered, heard and told is over. The caller holds m.mu.
func (m *Monitor) noteRun(o *other, started int64) (anew bool) {
	if started == o.started {
		return false
	}
	anew = o.started != 0
	o.started, o.have, o.acked = started, 0, 0
	if anew {
		m.ledger.Unheard(o.node.ID)
		o.series.Reset()
		o.unreached, o.urgent = false, true
		m.stale, m.dirty = true, true
	}
	return anew
}

// least is how many nodes each one probes, where there are so many: below that
// it could not tell whether it is the one that is cut off.
const least = 4

// assign finds whom this node is to probe and to tell. The caller holds m.mu.
func (m *Monitor) assign() {
	m.moved, m.dirty = false, true
	m.watched, m.asked = nil, nil
	for _, o := range m.others {
		o.watched = false
	}
	r := m.nodes.roster
	self, ok := r.Place(m.opts.Self)
	if !ok {
		return
	}
	up := m.council.Available(r)
	available := func(place int) bool { return place == self || up(place) }
	alive := 0
	watch := func(id string) {
		o := m.others[id]
		if o.watched {
			return
		}
		o.watched = true
		m.watched = append(m.watched, id)
		if !m.council.Down(id) {
			alive++
		}
	}
	for _, place := range r.Watched(self, available) {
		watch(r.ID(place))
	}
	for _, place := range r.Panel(self, available, nil) {
		m.asked = append(m.asked, r.ID(place))
		if alive < least {
			watch(r.ID(place))
		}
	}
	for id, o := range m.others {
		switch {
		case o.unreached: // it is probed until it answers
			watch(id)
		case !o.watched: // what is under way to it says nothing: nobody here would notice its return
			o.series.Reset()
		}
	}
}

// runOf is the run of a node that is known, 0 where none is. The caller holds m.mu.
func (m *Monitor) runOf(id string) int64 {
	if id == m.opts.Self {
		return m.started
	}
	if o := m.others[id]; o != nil {
		return o.started
	}
	return 0
}
