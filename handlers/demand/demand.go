// Package demand makes copies on demand: where the clients of a prism ask for
// some content so often that its holders have much to do, the prism asks other
// stores, which have room for copies, to take it in, and then reads from them
// too. Such a copy is no clone: no record tells of it, it counts for nothing, and
// it goes first when the prisms want it no more.
//
// One Agent a node is both ends of it. At a prism it counts what is read from
// other nodes, decides every second what is hot, and asks:
//
//	POST /cluster/demand {hash, store} → {whole}: the store has a copy, or is fetching one
//
// The answer holds for the life of a copy; what is still hot is asked for anew
// well before that, which is all that keeps a copy: what cools is asked for no
// more and goes by itself. At a store the agent has the cache of pull-through
// copies fetch the content from where its clones are, and lends its copies to
// package clones. Who asks has been found to be a node of the cluster.
package demand

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
)

const (
	turnEvery = time.Second
	// life is for how long a store is taken to have the copy that it said it has,
	// and for how long it keeps one after it was last asked.
	life = 30 * time.Second
	// renewEvery is how often a store is asked again that has a copy, comingEvery
	// one that is fetching it.
	renewEvery  = 10 * time.Second
	comingEvery = 2 * time.Second
	// A store that took nothing is not asked again for refusedMin, and for twice as
	// long, up to refusedMax, after each further time in a row.
	refusedMin = 2 * time.Second
	refusedMax = time.Minute
	// askFor is how long an answer may take, and maxAsks how many are awaited.
	askFor  = 5 * time.Second
	maxAsks = 16
)

// Index answers who holds what. *inventory.Index is one.
type Index interface {
	Find(ctx context.Context, h content.Hash) (*inventory.Placement, error)
}

// Doer sends a request to another node, signed. *cluster.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Peers is what the registry knows.
type Peers interface {
	// Caching returns the stores of other nodes that are available and have room
	// for copies.
	Caching() []Place
	// Place tells where a store is, and false where it is not available.
	Place(store string) (Place, bool)
}

// Caches is the pull-through copies of this process.
type Caches interface {
	// Cache returns those of the store with this id; false: it has no room for
	// any, or is not open here.
	Cache(store string) (*pull.Cache, bool)
	// Volume returns the volume of the store with this id, if it is open here.
	Volume(store string) (*inventory.Volume, bool)
}

// Settings are what an operator decides. They may change at any time.
type Settings struct {
	Above float64 // requests a second that each holder of a content may get from this node; 0: nobody is asked
	Most  int     // stores that are asked for one content
	Self  Place   // this node; its ID is of no matter
}

// Deps is what an Agent works with. All of it must be there but Log.
type Deps struct {
	Index    Index
	Doer     Doer
	Peers    Peers
	Caches   Caches
	Settings func() Settings
	// Fetch returns what gives a whole content, from an offset to its end, from
	// the stores elsewhere that hold it.
	Fetch func(p *inventory.Placement, size int64) func(ctx context.Context, offset int64) (io.ReadCloser, error)
	Log   *zap.Logger
}

// Agent is a node's part in copies on demand. Its methods can be called at the
// same time; Count and Copies take no lock.
type Agent struct {
	Deps
	counter *Counter
	counts  counts
	known   atomic.Pointer[map[content.Hash][]inventory.Clone] // whole copies elsewhere

	asks  chan struct{} // one for each answer that is awaited
	calls sync.WaitGroup

	mu  sync.Mutex
	hot map[content.Hash]*hot
}

// counts is what Status adds up.
type counts struct{ asked, refused, read, taken, lent atomic.Int64 }

// hot is a content that is asked for often; guarded by the agent's mu.
type hot struct {
	want   int // copies
	stores map[string]*copyAt
}

// copyAt is what a store said of a copy.
type copyAt struct {
	clone   inventory.Clone
	asking  bool      // an answer is awaited
	whole   time.Time // until then it is taken to have one
	next    time.Time // it is asked again from then on
	refused time.Time // until then it is not asked
	fails   int       // times in a row that it refused
}

// Status is what an operator wants to know: of this node's prisms the first
// five, of its stores the last two.
type Status struct {
	Hot     int64 `json:"hot"`     // contents that other stores are asked to take in
	Copies  int64 `json:"copies"`  // of them that are read at other stores
	Asked   int64 `json:"asked"`   // times that a store was asked
	Refused int64 `json:"refused"` // times that one did not take it
	Read    int64 `json:"read"`    // requests served from copies at other stores
	Taken   int64 `json:"taken"`   // copies that stores here began to fetch
	Lent    int64 `json:"lent"`    // reads of copies here by other nodes
}

// New returns an agent. Run has it ask.
func New(deps Deps) *Agent {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	a := &Agent{Deps: deps, counter: NewCounter(), asks: make(chan struct{}, maxAsks), hot: make(map[content.Hash]*hot)}
	a.known.Store(&map[content.Hash][]inventory.Clone{})
	return a
}

// Count is delivery.Demand's.
func (a *Agent) Count(h content.Hash, copied bool) {
	if copied {
		a.counts.read.Add(1)
	}
	a.counter.Add(h)
}

// Copies is delivery.Demand's.
func (a *Agent) Copies(h content.Hash) []inventory.Clone {
	known := *a.known.Load()
	if len(known) == 0 {
		return nil
	}
	return known[h]
}

// Lost is delivery.Demand's.
func (a *Agent) Lost(h content.Hash, store string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.hot[h]; c != nil && c.stores[store] != nil {
		c.stores[store].refuse(time.Now())
		a.publish()
	}
}

// Status tells how it stands.
func (a *Agent) Status() Status {
	s := Status{
		Asked: a.counts.asked.Load(), Refused: a.counts.refused.Load(), Read: a.counts.read.Load(),
		Taken: a.counts.taken.Load(), Lent: a.counts.lent.Load(),
	}
	for _, list := range *a.known.Load() {
		s.Copies += int64(len(list))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Hot = int64(len(a.hot))
	return s
}

func (c *copyAt) refuse(now time.Time) {
	c.whole, c.refused = time.Time{}, now.Add(min(refusedMin<<min(c.fails, 10), refusedMax))
	c.fails++
}

var errUnexpected = errors.New("unexpected answer of another node")
