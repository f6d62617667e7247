package heartbeat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// ErrInvalidPeer says that a peer can't be registered as it is.
var ErrInvalidPeer = errors.New("invalid peer")

// Peer is a prism or a store, as the registry lists it.
type Peer struct {
	ID      string    `json:"-"`    // of a store, the one in its root's marker; of a prism, a text of its own that stays the same
	Name    peer.Name `json:"name"` // unique in the cluster
	Kind    peer.Kind `json:"kind"`
	Node    string    `json:"node"`              // the name of the node that carries it
	Address string    `json:"address,omitempty"` // URL at which others reach it; "": only its own process does
	Site    string    `json:"site,omitempty"`
	Group   string    `json:"group,omitempty"`
	Domain  string    `json:"domain,omitempty"`
	Zone    string    `json:"zone,omitempty"` // of the tokens that a prism makes

	NodeID  string `json:"nodeId,omitempty"`  // of the node that carries it: random, kept in its data folder
	Cluster string `json:"cluster,omitempty"` // URL at which other nodes reach its node; "": they can't
	Source  string `json:"source,omitempty"`  // under which its node writes records

	Online   bool        `json:"online,omitempty"`   // a store's disk can be read; its node says so
	Room     bool        `json:"room,omitempty"`     // a store takes new clones now; its node says so
	Claimed  record.Time `json:"claimed,omitempty"`  // of a store: when its node took it
	Caches   bool        `json:"caches,omitempty"`   // a store has room for copies that are no clones; its node says so
	Suspect  bool        `json:"suspect,omitempty"`  // a store's disk has failed and not passed a test since; its node says so
	Complete bool        `json:"complete,omitempty"` // of a store: its node has written its whole inventory itself
	Free     int64       `json:"free,omitempty"`     // bytes of a store, when it was last registered
	Total    int64       `json:"total,omitempty"`    // bytes of a store
	Started  int64       `json:"started,omitempty"`  // milliseconds since 1970: when its node started

	// What the operator has switched, which Register leaves alone.
	Active   bool `json:"active"`             // false takes it out of service
	Writable bool `json:"writable"`           // false keeps new clones away, be it because of Draining
	Draining bool `json:"draining,omitempty"` // its clones are to be elsewhere
}

// Registry is this node's copy of who the peers are. Its methods can be called
// at the same time; those that ask take no lock.
type Registry struct {
	engine record.Engine
	log    *zap.Logger
	stops  []func()
	loaded chan struct{} // closed once all registrations were read
	once   sync.Once
	view   atomic.Pointer[view]
	local  sync.Map // id to func() bool: peers of this process, and their health
	reach  sync.Map // id to *reach: peers elsewhere
	health atomic.Pointer[Health]
	now    func() time.Time

	departures departures

	mu       sync.Mutex
	peers    versions // of the registrations, by id
	switched versions // of the operator's switches, by id
	changed  []func()
}

// view is what the registry answers from; it is never changed.
type view struct {
	peers   []Peer // in the order of their names
	byID    map[string]Peer
	byLabel map[string]Peer
}

// NewRegistry returns a registry that follows the records from now on. Load
// reads those there are; Close ends the following.
func NewRegistry(e record.Engine, log *zap.Logger) *Registry {
	if log == nil {
		log = zap.NewNop()
	}
	r := &Registry{engine: e, log: log, now: time.Now, loaded: make(chan struct{}), peers: make(versions), switched: make(versions)}
	r.view.Store(&view{})
	r.health.Store(&Health{})
	r.stops = []func(){
		e.Watch(record.Peer, func(records []record.Record) { r.apply(r.peers, records) }),
		e.Watch(record.Switch, func(records []record.Record) { r.apply(r.switched, records) }),
	}
	return r
}

// Close ends the following of records.
func (r *Registry) Close() {
	for _, stop := range r.stops {
		stop()
	}
}

// Load reads all registrations, and what the operator has switched. The registry
// is complete once it returned nil.
func (r *Registry) Load(ctx context.Context) error {
	for topic, into := range map[record.Topic]versions{record.Switch: r.switched, record.Peer: r.peers} {
		var all []record.Record
		for rec, err := range r.engine.List(ctx, topic, record.ByKey, "", "") {
			if err != nil {
				return fmt.Errorf("reading the registry of peers: %w", err)
			}
			all = append(all, rec)
		}
		r.apply(into, all)
	}
	r.once.Do(func() { close(r.loaded) })
	return nil
}

// Loaded tells whether all registrations were read.
func (r *Registry) Loaded() bool {
	select {
	case <-r.loaded:
		return true
	default:
		return false
	}
}

// Await waits until all registrations were read, or ctx ends.
func (r *Registry) Await(ctx context.Context) error {
	select {
	case <-r.loaded:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// again is how long Run waits before it asks an engine again that was away.
const again = 500 * time.Millisecond

// Run loads the registry, where Load did not, as soon as the engine can be
// asked, and returns when ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	for !r.Loaded() {
		err := r.Load(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, record.ErrUnavailable) {
			return err
		}
		if err != nil {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	<-ctx.Done()
	return nil
}

// apply takes in records, in whatever order they come; it is what watches.
func (r *Registry) apply(into versions, records []record.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range records {
		into.take(rec)
	}
	r.view.Store(r.look())
	r.departures.look(r)
	for _, f := range r.changed {
		f()
	}
}

// OnChange has f called whenever what Peers returns may have changed. f must be
// quick, and must not call the registry.
func (r *Registry) OnChange(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = append(r.changed, f)
}

// look makes the view of the versions.
func (r *Registry) look() *view {
	v := &view{byID: make(map[string]Peer), byLabel: make(map[string]Peer)}
	for id, versions := range r.peers {
		rec, ok := record.Merge(record.Peer, versions)
		if !ok {
			continue
		}
		p, err := decode(rec)
		if err != nil {
			r.log.Warn("a registration can't be read", zap.String("peer", id), zap.Error(err))
			continue
		}
		r.switchesOf(id).set(&p)
		v.peers = append(v.peers, p)
		v.byID[id] = p
	}
	slices.SortFunc(v.peers, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Name.String(), b.Name.String()), cmp.Compare(a.ID, b.ID))
	})
	for _, p := range v.peers {
		// Stores are asked for by their host's name; a prism of the same name comes after them.
		if other, ok := v.byLabel[p.Name.Label()]; !ok || other.Kind == peer.Prism && p.Kind == peer.Store {
			v.byLabel[p.Name.Label()] = p
		}
	}
	return v
}

func decode(rec record.Record) (Peer, error) {
	var value peerValue
	if err := json.Unmarshal(rec.Value, &value); err != nil {
		return Peer{}, fmt.Errorf("reading a peer: %w", err)
	}
	name, err := peer.ParseName(value.Name)
	if err != nil {
		return Peer{}, fmt.Errorf("reading a peer: %w", err)
	}
	p := Peer(value.plainPeer)
	p.ID, p.Name = rec.Key, name
	return p, nil
}

// plainPeer is a Peer without what it can do.
type plainPeer Peer

// peerValue is the value of a record of topic peer; the name is one text.
type peerValue struct {
	plainPeer
	Name string `json:"name"`
}

// Register keeps a peer of this node in the registry. It writes only where
// something changed, other than the free space by less than a hundredth of the
// total. Errors: ErrInvalidPeer, record.ErrUnavailable.
func (r *Registry) Register(ctx context.Context, p Peer) error {
	if err := p.check(); err != nil {
		return err
	}
	untouched.set(&p) // the switches are records of their own, and may be newer than what p was made of
	if old, ok := r.Lookup(p.ID); ok && same(old, p) {
		return nil
	}
	value, err := json.Marshal(peerValue{plainPeer: plainPeer(p), Name: p.Name.String()})
	if err != nil {
		return fmt.Errorf("encoding peer %s: %w", p.Name, err)
	}
	if _, err := r.engine.Update(ctx, record.Peer, p.ID, record.Condition{}, record.Change{Value: value}); err != nil {
		return fmt.Errorf("registering peer %s: %w", p.Name, err)
	}
	r.log.Info("peer registered", zap.Stringer("peer", p.Name), zap.String("id", p.ID))
	return nil
}

func (p Peer) check() error {
	if p.ID == "" {
		return fmt.Errorf("%w: %s has no id", ErrInvalidPeer, p.Name)
	}
	if _, err := peer.ParseName(p.Name.String()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidPeer, err)
	}
	if p.Kind != p.Name.Kind() {
		return fmt.Errorf("%w: %s is named like a %s and registered as a %s", ErrInvalidPeer, p.Name, p.Name.Kind(), p.Kind)
	}
	return nil
}

// same tells whether two registrations say the same, but for free space that
// moved little and what the operator switches.
func same(a, b Peer) bool {
	const share = 100
	if moved := a.Free - b.Free; max(moved, -moved) > b.Total/share {
		return false
	}
	a.Free = b.Free
	a.Active, a.Writable, a.Draining = b.Active, b.Writable, b.Draining
	return a == b
}

// Unregister takes a peer out of the registry. One that is not in it is not an error.
func (r *Registry) Unregister(ctx context.Context, id string) error {
	if _, ok := r.Lookup(id); !ok {
		return nil
	}
	if _, err := r.engine.Update(ctx, record.Peer, id, record.Condition{}, record.Change{Delete: true}); err != nil {
		return fmt.Errorf("unregistering peer %s: %w", id, err)
	}
	r.log.Info("peer unregistered", zap.String("id", id))
	return nil
}

// Peers returns all peers in the order of their names. The slice is shared and
// must not be changed.
func (r *Registry) Peers() []Peer { return r.view.Load().peers }

// Lookup returns the peer of an id.
func (r *Registry) Lookup(id string) (Peer, bool) {
	p, ok := r.view.Load().byID[id]
	return p, ok
}

// ByLabel returns the peer whose host name's first label this is, in either
// case; the store, where a prism has the same.
func (r *Registry) ByLabel(label string) (Peer, bool) {
	p, ok := r.view.Load().byLabel[strings.ToLower(label)]
	return p, ok
}

// Known tells whether a host name is `<label>.<domain>` of a registered peer,
// exactly, in either case: for such names alone certificates are asked for.
func (r *Registry) Known(host, domain string) bool {
	label, rest, ok := strings.Cut(host, ".")
	if !ok || domain == "" || !strings.EqualFold(rest, domain) {
		return false
	}
	_, known := r.ByLabel(label)
	return known
}

// Attach says that a peer is in this process, and how to ask whether it is
// healthy; available is called for every request and must be cheap. The last
// one attached counts. Detach takes it back.
func (r *Registry) Attach(id string, available func() bool) (detach func()) {
	health := &available
	r.local.Store(id, health)
	return func() { r.local.CompareAndDelete(id, health) }
}

// Local tells whether a peer is in this process.
func (r *Registry) Local(id string) bool {
	_, ok := r.local.Load(id)
	return ok
}

// Available tells whether a peer can be asked now: Reachable does, and if it is
// elsewhere it has not just failed to answer.
func (r *Registry) Available(id string) bool {
	return r.Reachable(id) && (!r.failing(id) || r.Local(id))
}

// Reachable tells whether a peer can be expected to answer, whatever single
// requests to it have come to: it may be asked where nobody else is left. One of
// this process is healthy; one elsewhere is registered as online, and its node is
// not found to be down. The operator has switched neither off.
func (r *Registry) Reachable(id string) bool {
	p, registered := r.Lookup(id)
	if registered && !p.Active {
		return false
	}
	health, ok := r.local.Load(id)
	if !ok {
		return registered && r.reachable(p)
	}
	available, ok := health.(*func() bool)
	return ok && (*available)()
}
