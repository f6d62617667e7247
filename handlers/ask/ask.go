// Package ask asks other nodes for records that this node lacks, so that what
// was made elsewhere a moment ago is known here before it is told to be unknown:
// purchases, sessions, users, and who holds a content.
package ask

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/record"
)

// Errors on which callers decide. They come within a *handlers.Fault, which
// tells them to clients.
var (
	// ErrUnsure says that a node that may know more could not be asked, or is
	// catching up. It is a record.ErrUnavailable.
	ErrUnsure = fmt.Errorf("a node that may know more does not answer: %w", record.ErrUnavailable)
	// ErrAway is an ErrUnsure: those that could not be asked are not reached at
	// all, so that what only they know of can't be had from them either.
	ErrAway = fmt.Errorf("a node that may know more is away: %w", ErrUnsure)
	// ErrBusy says that too many questions are asked already.
	ErrBusy = errors.New("too many questions to other nodes at once")
)

// Engine is what this node has itself.
type Engine interface {
	record.Engine
	record.Importer
	Source() string
}

// Doer sends a call to another node; *cluster.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Node is another node, as the registry has it.
type Node struct {
	ID      string
	Address string   // URL at which it can be called, "": it can't
	Source  string   // under which it writes
	Zones   []string // of the tokens that its prisms make; none: it has no prism
	Stores  bool     // it has stores
}

// Deps is what an Asker works with.
type Deps struct {
	Engine Engine
	Client Doer
	// Nodes returns all registered nodes but this one.
	Nodes func() []Node
	// Complete returns up to when all that a source wrote is known here; nil:
	// nothing is known of that.
	Complete func(source string) (time.Time, bool)
	// Plausible tells whether a token may have been made in this cluster; nil: all.
	Plausible func(token string) bool
	// Ready tells whether this node has caught up with the others; nil: it has.
	Ready func() bool
	// Scanning tells whether a store of this node may hold what no record
	// tells; nil: none does.
	Scanning func() bool
	// Away tells whether a node that does not answer is not reached otherwise
	// either, and so nobody's to ask; nil: none is.
	Away func(Node) bool
	// Counts tells whether a record says anything to readers: what a store's
	// former owners wrote about it does not; nil: all do.
	Counts func(record.Record) bool
	// Down tells whether a node is known not to answer: it is not asked, and
	// leaves the doubt of one that did not answer; nil: of none.
	Down func(Node) bool
	Log  *zap.Logger // nil: no logs
}

// Asker asks other nodes, and answers them. Its methods can be called at the
// same time.
type Asker struct {
	deps  Deps
	stops []func() // of its watchers

	watched atomic.Int64 // subjects in asked and denied: without any, commits cost nothing
	mu      sync.Mutex
	closed  bool
	open    map[*question]struct{}
	asked   map[subject]*question // those of open that others may wait for
	denied  map[subject]time.Time // what all said no about, and until when that holds
	swept   time.Time             // when those of denied that are over were dropped
	silent  map[string]time.Time  // addresses that did not answer, and until when they are not asked
	waits   sync.WaitGroup        // for the questions
}

// subject is what a question is about.
type subject struct {
	topic record.Topic
	key   string
}

// New returns an asker. Close ends it.
func New(deps Deps) *Asker {
	if deps.Complete == nil {
		deps.Complete = func(string) (time.Time, bool) { return time.Time{}, false }
	}
	if deps.Plausible == nil {
		deps.Plausible = func(string) bool { return true }
	}
	if deps.Ready == nil {
		deps.Ready = func() bool { return true }
	}
	if deps.Down == nil {
		deps.Down = func(Node) bool { return false }
	}
	if deps.Scanning == nil {
		deps.Scanning = func() bool { return false }
	}
	if deps.Away == nil {
		deps.Away = func(Node) bool { return false }
	}
	if deps.Counts == nil {
		deps.Counts = func(record.Record) bool { return true }
	}
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	a := &Asker{
		deps: deps, open: make(map[*question]struct{}), asked: make(map[subject]*question),
		denied: make(map[subject]time.Time), silent: make(map[string]time.Time),
	}
	for topic := range related {
		a.stops = append(a.stops, deps.Engine.Watch(topic, a.committed))
	}
	return a
}

// Close ends the questions under way and waits for them.
func (a *Asker) Close() {
	a.mu.Lock()
	a.closed = true
	for q := range a.open {
		q.cancel()
	}
	stops := a.stops
	a.stops = nil
	a.mu.Unlock()
	a.waits.Wait()
	for _, stop := range stops {
		stop()
	}
}

// related are the topics that can be asked about, each with those whose records
// under the same key an answer brings too: a purchase comes with its uses, a
// content with what removes or blocks it.
var related = map[record.Topic][]record.Topic{
	record.Purchase:  {record.Purchase, record.Use},
	record.Session:   {record.Session},
	record.User:      {record.User},
	record.Inventory: {record.Inventory, record.Removal, record.Block},
}

// Engine returns the engine, whose Get asks other nodes for a purchase, a
// session or a user of which it has no version at all. Its errors are then
// ErrUnsure and ErrBusy too.
func (a *Asker) Engine() Engine { return engine{a.deps.Engine, a} }

type engine struct {
	Engine
	asker *Asker
}

// Get is record.Engine's.
func (e engine) Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error) {
	versions, err := e.Engine.Get(ctx, topic, key)
	if err != nil || len(versions) > 0 || topic != record.Purchase && topic != record.Session && topic != record.User {
		return versions, err
	}
	if err := e.asker.ask(ctx, subject{topic, key}); err != nil {
		return nil, err
	}
	return e.Engine.Get(ctx, topic, key)
}

// Content asks the nodes with stores for a content that no record places
// anywhere. nil says that what there is to be known is known here now, which may
// still be nothing: ask the index again. Errors: ErrUnsure, ErrAway, ErrBusy.
func (a *Asker) Content(ctx context.Context, h content.Hash) error {
	return a.ask(ctx, subject{record.Inventory, h.String()})
}

// Contents is Content for many at once, with one question a node for each 256.
// It does not go by what was answered before. Errors: ErrUnsure, ErrAway, ErrBusy.
func (a *Asker) Contents(ctx context.Context, hashes []content.Hash) error {
	var doubt error
	for some := range slices.Chunk(hashes, maxKeys) {
		keys := make([]string, len(some))
		for i, h := range some {
			keys[i] = h.String()
		}
		err := a.askAll(ctx, record.Inventory, keys)
		switch {
		case err == nil:
		case !errors.Is(err, ErrUnsure) || ctx.Err() != nil:
			return err
		case doubt == nil || !errors.Is(err, ErrAway):
			doubt = err
		}
	}
	return doubt
}

// busy is ErrBusy as clients are told it.
func busy() error {
	f := handlers.Faultf(handlers.TooMany, "Too much is looked up at other nodes at once: try again shortly").Because(ErrBusy)
	f.Retry = time.Second
	return f
}

// unsure is ErrUnsure, or ErrAway, as clients are told it.
func unsure(why error) error {
	f := handlers.Faultf(handlers.Unavailable, "A node that may know this does not answer now: try again shortly").Because(why)
	f.Retry = time.Second
	return f
}
