// Package repair makes the clones that are missing in a cluster, and has stores
// drop those that are not needed. What is to be done, package inventory/repair
// decides; how a store may drop its clone, inventory.Volume.Surrender. This
// package does it: one Agent a node looks at the clones of its own stores, and
// the agents ask one another over HTTP. Their callers have seen to it that who
// asks is a node of the cluster.
//
//	POST /cluster/repair/promise {store, hash, kept, fresh}  → {clone, records}: it is kept for an hour
//	POST /cluster/repair/copy    {hash, to}                  → {clone}: a holder has copied it to a store
//	POST /cluster/repair/drop    {hash, store}               → {}: the store has dropped its own clone
//	POST /cluster/repair/doing   {hash}                      → {doing}: whether this node is about to copy it
//	POST /cluster/repair/now     {stores}                    → {}: an operator gives these stores up
//	POST /cluster/repair/verify  {hash, store, force}        → {verification}: a clone was read and compared
//
// An answer that takes time is a stream of JSON lines that tell how far it is:
// who waits notices within seconds that the other one is gone. Nothing is kept
// but the records: a node that dies has its work taken up by the next in rank,
// because its own stores are no holders any more.
package repair

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
	"github.com/ooseio/oose/record"
)

// Errors on which callers decide, beside those of inventory.
var (
	// ErrNeeded says that a clone is not dropped because too few others hold
	// the content.
	ErrNeeded = errors.New("clone is needed: too few others could promise to stay")
	// ErrNoSource says that no store that can be reached holds the content.
	ErrNoSource = errors.New("no store that can be reached holds the content")
	// ErrUnknownStore says that no store with that id can be reached.
	ErrUnknownStore = errors.New("no store with that id can be reached")
)

// Index answers who holds what. *inventory.Index is one.
type Index interface {
	Find(ctx context.Context, h content.Hash) (*inventory.Placement, error)
	List(ctx context.Context, store string, after content.Hash) iter.Seq2[inventory.Clone, error]
	Wanted(ctx context.Context, h content.Hash) (int, error)
}

// Volumes is the stores of this process.
type Volumes interface {
	Volume(id string) (*inventory.Volume, bool)
	Volumes() []*inventory.Volume
}

// Engine tells of new records, and gives those there are. Every record.Engine
// does.
type Engine interface {
	Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error)
	Watch(topic record.Topic, f func([]record.Record)) (stop func())
}

// Doer sends a request to another node, signed. *cluster.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Settings are what an operator decides. They may change at any time.
type Settings struct {
	plan.Limits
	Copies    int   // clones that there are to be of each content, at least 1
	Bandwidth int64 // bytes per second that copying and verifying may use, each; 0: no bound
	Parallel  int   // clones made at the same time, at least 1
}

// Deps is what an Agent works with.
type Deps struct {
	Index    Index
	Volumes  Volumes
	Engine   Engine
	Importer record.Importer // is given the records that stores answer with; nil: the engine knows them as soon as the store does
	Uploader *upload.Uploader
	Stores   func() []upload.Store     // all of the cluster that can be reached
	Sights   func() []plan.Sight       // all of the cluster
	Address  func(store string) string // of the node that carries a store elsewhere, "" where there is none
	Nodes    func() []string           // addresses of the other nodes that can be reached
	// Gone returns a channel that is closed when a store elsewhere is found to be
	// gone; nil: nobody tells.
	Gone     func(store string) <-chan struct{}
	Settings func() Settings //
	Ready    func() bool     // this node knows what the others know; nil: always
	Doer     Doer            // nil: this node is alone
	Clock    *record.Clock   //
	Log      *zap.Logger     // nil: none
	Tune     func(*Tuning)   // for tests; nil: the defaults
}

// Agent repairs what this node's stores hold a clone of. Its methods can be
// called at the same time.
type Agent struct {
	Deps
	tune    Tuning
	counts  counts
	slots   slots
	copying pace // bytes sent
	reading pace // bytes verified for others

	cluster atomic.Pointer[plan.Cluster]
	walks   chan struct{} // a sign that all is to be looked at
	soon    *backlog

	mu       sync.Mutex
	absences plan.Absences
	verdict  plan.Verdict
	seen     string                     // how the stores stood when that last changed
	running  map[content.Hash]struct{}  // contents that are worked on
	waiting  map[content.Hash]time.Time // since when somebody else's turn is seen to be missing
	failed   map[content.Hash]time.Time // when copying last failed
	survey   survey
	lastErr  string
	errAt    time.Time
}

// Tuning is how often an agent looks, and how long it waits. Zero values mean
// the defaults.
type Tuning struct {
	Look   time.Duration // between two looks at the stores; default 1 s
	Every  time.Duration // from one walk over all clones to the next where nothing calls for one; default 30 min
	Retry  time.Duration // from a walk that left something undone to the next; default a quarter of Limits.After, 1 s to 5 min
	Settle time.Duration // for an upload's other clones to be heard of; default 10 s, or Limits.After where that is less
	Silent time.Duration // another node's answer may bring no line for so long; default 15 s
	Tick   time.Duration // between two lines of an answer; default 1 s
	Fresh  time.Duration // how long ago a verification may be on which a promise is based; default 10 min
}

func (t *Tuning) fill() {
	or := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	or(&t.Look, time.Second)
	or(&t.Every, 30*time.Minute)
	or(&t.Silent, 15*time.Second)
	or(&t.Tick, time.Second)
	or(&t.Fresh, 10*time.Minute)
}

// New returns an agent. Run has it work; what others ask of it, it does without
// as well.
func New(deps Deps) *Agent {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if deps.Ready == nil {
		deps.Ready = func() bool { return true }
	}
	a := &Agent{
		Deps: deps, walks: make(chan struct{}, 1), soon: newBacklog(),
		running: map[content.Hash]struct{}{}, waiting: map[content.Hash]time.Time{}, failed: map[content.Hash]time.Time{},
	}
	if deps.Tune != nil {
		deps.Tune(&a.tune)
	}
	a.tune.fill()
	a.slots.init()
	a.cluster.Store(plan.NewCluster(nil))
	return a
}

// Soon has a content looked at within seconds.
func (a *Agent) Soon(h content.Hash) { a.soon.add(h, 0) }

// Walk has all contents looked at, as soon as the walk that is under way has
// ended.
func (a *Agent) Walk() {
	select {
	case a.walks <- struct{}{}:
	default:
	}
}

// settings are those in force, within their bounds.
func (a *Agent) settings() Settings {
	s := a.Settings()
	s.Copies, s.Parallel = max(s.Copies, 1), max(s.Parallel, 1)
	return s
}

// note keeps an error for the status, and tells the log.
func (a *Agent) note(what string, err error, fields ...zap.Field) {
	a.fault(what, err)
	a.Log.Warn(what, append(fields, zap.Error(err))...)
}

// fault keeps an error for the status.
func (a *Agent) fault(what string, err error) {
	a.counts.failed.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastErr, a.errAt = what+": "+err.Error(), time.Now()
}
