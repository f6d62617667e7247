package swarm

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/journal"
)

// Protocol is the version of the requests between nodes. Nodes with another
// one refuse each other.
const Protocol = 1

// ErrConflict says that another live node has this node's name, or runs from a
// copy of its data folder, and that this one has to give way.
var ErrConflict = errors.New("another live node has this node's name")

// Doer sends a request to another node, signed. The URL is absolute.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// Journal is what the swarm replicates; *journal.Journal is one.
type Journal interface {
	Source() string
	Head() uint64
	Ahead(claim uint64) bool
	Behind(claim uint64) uint64
	Catalogue() []journal.SourceState
	Claims() map[string]uint64
	Since(source, server string) uint64
	Stream(ctx context.Context, source string, since uint64, w io.Writer, flush func() error) error
	Follow(ctx context.Context, source, server string, r io.Reader, claimed func(claim uint64)) error
	Acknowledge(node string, claims map[string]uint64)
	Forget(node string)
	Part(ctx context.Context, known []journal.SourceState) error
}

// Self is what this node says of itself.
type Self struct {
	ID      string // random, kept in its data folder
	Name    string // unique in the cluster
	Domain  string // of the cluster: nodes of another are refused
	Address string // URL at which other nodes reach this one, "": they can't
	Version string // of the program, to be shown
	Started int64  // milliseconds since 1970: when the process started
}

// Node is another node that was heard of lately.
type Node struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // what it says of itself, or where it was reached
	Source  string `json:"source,omitempty"`  // under which it writes
	Version string `json:"version,omitempty"` // of its program
	Reached bool   `json:"reached"`           // requests to it are answered
	Leaving bool   `json:"leaving,omitempty"` // it said goodbye
}

// Options are what a Swarm needs.
type Options struct {
	Journal Journal
	// Self tells what this node is at present. ID and Started never change.
	Self func() Self
	// Join lists where other nodes are: https://host:port (or http), or names
	// to look up: dns+srv://_service._proto.name, dns+a://host[:port]. Addresses
	// found by DNS get the scheme (and with dns+a the port) of Self's address.
	Join []string
	// File keeps the addresses once seen, and whether this journal was ever
	// complete; "": nothing is kept.
	File     string
	Client   Doer
	Resolver Resolver         // nil: net.DefaultResolver
	Log      *zap.Logger      // nil: none
	Now      func() time.Time // the machine's clock, uncorrected; nil: time.Now

	// What is told must not block, and may be nil.

	// OnNode is told when a node is reached or lost, or says something new of
	// itself; never two calls at a time.
	OnNode func(Node)
	// OnRenew is told the former source after the journal went on as a new one.
	OnRenew func(old string)
	// OnOffset is told by how much this machine's clock has to be corrected to
	// agree with the median of all, where there are at least three nodes.
	OnOffset func(time.Duration)

	streams int // that this node reads at a time; 0: maxStreams
}

// Swarm is this node's connections to the others. Its methods can be called at
// the same time.
type Swarm struct {
	opts   Options
	j      Journal
	log    *zap.Logger
	wake   chan struct{} // Run has something to do
	saving chan struct{} // the file is to be written now
	ready  atomic.Bool

	tasks      sync.WaitGroup // the goroutines
	serving    sync.WaitGroup // the requests being answered
	stopping   context.Context
	endServing context.CancelFunc
	told       map[string]Node // Run's

	mu         sync.Mutex
	phase      phase
	links      map[string]*link    // by address
	holders    map[string]*session // by node: the one session to it
	callers    map[string]*caller  // by node
	streams    map[string]*stream  // by source
	holds      map[held]hold
	served     int
	join       map[string]bool    // addresses
	finders    map[string]*finder // by the text that is looked up
	conflicts  map[string]conflict
	readiness  readiness
	wrote      string // the journal's source, as far as others were told
	changed    bool   // since the file was written
	clockOff   bool
	correction time.Duration
}

// New returns a Swarm that does nothing until Run.
func New(opts Options) *Swarm {
	if opts.Resolver == nil {
		opts.Resolver = net.DefaultResolver
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.streams == 0 {
		opts.streams = maxStreams
	}
	s := &Swarm{
		opts: opts, j: opts.Journal, log: opts.Log,
		wake: make(chan struct{}, 1), saving: make(chan struct{}, 1),
		links: make(map[string]*link), holders: make(map[string]*session), callers: make(map[string]*caller),
		streams: make(map[string]*stream), holds: make(map[held]hold), finders: make(map[string]*finder),
		conflicts: make(map[string]conflict), readiness: readiness{targets: make(map[string]*target)}, wrote: opts.Journal.Source(),
	}
	s.stopping, s.endServing = context.WithCancel(context.Background())
	s.SetJoin(opts.Join)
	return s
}

// nudge has Run look at what is to be done.
func (s *Swarm) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saveNow has the file written soon.
func (s *Swarm) saveNow() {
	select {
	case s.saving <- struct{}{}:
	default:
	}
}

// self is what this node is, its address in the form that others know.
func (s *Swarm) self() Self {
	self := s.opts.Self()
	address, err := parseAddress(self.Address)
	if err != nil {
		address = ""
	}
	self.Address = address
	return self
}

// introduce is this node's hello, with the addresses of the nodes it reaches.
func (s *Swarm) introduce() hello {
	self := s.self()
	h := hello{
		Protocol: Protocol, ID: self.ID, Name: self.Name, Domain: self.Domain, Address: self.Address,
		Version: self.Version, Source: s.j.Source(), Started: self.Started,
	}
	s.mu.Lock()
	for _, ses := range s.active() {
		h.Peers = append(h.Peers, cmp.Or(ses.peer.Address, ses.link.address))
	}
	s.mu.Unlock()
	if len(h.Peers) > maxPeers { // others each time
		rand.Shuffle(len(h.Peers), func(i, j int) { h.Peers[i], h.Peers[j] = h.Peers[j], h.Peers[i] })
		h.Peers = h.Peers[:maxPeers]
	}
	h.Time = s.opts.Now().UnixMilli()
	return h
}
