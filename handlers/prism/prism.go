// Package prism is the API of a prism: users and sessions, uploads, purchases,
// and what is known about contents. It is the API of OOSE 2.x with what was
// added to it; delivery has a package of its own.
//
// Authentication comes before a body is read. A content is streamed, never
// held in memory; a JSON body is bounded.
package prism

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// Stores is the stores of this process.
type Stores interface {
	delivery.StoreSet
	// Volumes returns all of them.
	Volumes() []*inventory.Volume
}

// Peers tells who the peers are and which of them answer. *heartbeat.Registry
// is one.
type Peers interface {
	Lookup(id string) (heartbeat.Peer, bool)
	Available(id string) bool
	Reachable(id string) bool
}

// Deps is what a prism works with. It outlives every configuration.
type Deps struct {
	Book     *purchase.Book
	Index    *inventory.Index
	Users    *account.Users
	Sessions *account.Sessions
	Uploader *upload.Uploader
	Stores   Stores
	Peers    Peers
	Counters *handlers.Counters
	Clock    *record.Clock
	Log      *zap.Logger

	// Audit writes down who changed what; nil: nobody does.
	Audit func(audit.Entry) error
	// Client tells a request's client address; nil: the connection's own.
	Client delivery.Client
	// Loosen has the web server wait longer for who reads a response slowly;
	// nil: it does not need to be told.
	Loosen delivery.Loosen
	// LoosenBody has the web server wait longer for who sends a body slowly,
	// until undo is called; nil: it does not need to be told.
	LoosenBody func(r *http.Request) (undo func())
	// Ready tells whether the node has caught up with the others; nil: always.
	Ready func() bool
	// Node tells whether a request comes from a node of the cluster, which may
	// use the private routes; nil: none does.
	Node func(r *http.Request) bool
	// Content asks other nodes for a content that no record places anywhere, and
	// Contents for many at once, without going by former answers; nil as their
	// error says that the index knows what there is to be known. nil: there is
	// nobody to ask.
	Content  func(ctx context.Context, h content.Hash) error
	Contents func(ctx context.Context, hashes []content.Hash) error
	// Confirm waits until a write is durable elsewhere too, or ctx ends, and
	// returns how many copies there are; nil: there is nowhere else.
	Confirm func(ctx context.Context, ack record.Ack) record.Ack
	// Spread waits until all nodes that are reached know what this one has written
	// so far, or ctx ends; nil: there are none, or they know at once.
	Spread func(ctx context.Context)
	// Sender sends contents from wherever their clones are; nil: from the stores
	// of this process.
	Sender *delivery.Sender
	// Own lists the stores of this prism, also those of other processes; nil: all
	// that the uploader knows.
	Own func() []upload.Store
	// Denied tells addresses that fetch-by-URL must not reach even where private
	// ones are allowed (the node's own admin endpoint); nil: none.
	Denied func(netip.AddrPort) bool
}

// Settings is what one site's configuration says.
type Settings struct {
	Name    peer.Name      // of this prism
	Version string         // of OOSE, for the welcome
	Basic   *account.Basic // credentials of the private routes; nil: nobody has them
	Compat  bool           // answer with the statuses of OOSE 2.x

	SessionHeader   string        // default X-OOSE-Token
	Copies          int           // clones of an upload; default 2
	MaxSize         int64         // bytes of one content; 0: no bound
	HashType        content.Type  // of uploads that ask for none; default SHA-1
	RetrievePrivate bool          // let fetch-by-URL reach private addresses
	RetrieveTime    time.Duration // how long a fetch-by-URL may take; default 6 h
	Life            time.Duration // of purchases that ask for none; default 2 h

	// URL returns what the links of purchases begin with, "" where that is not
	// known. May be nil.
	URL func() string
}

// Handler answers a prism's routes for one site.
type Handler struct {
	Deps
	set     Settings
	table   *handlers.Table
	fetcher *http.Client
}

// New returns a handler.
func New(deps Deps, settings Settings) *Handler {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if deps.Clock == nil {
		deps.Clock = record.NewClock(nil)
	}
	if deps.Client == nil {
		deps.Client = func(r *http.Request) (netip.Addr, string) { return handlers.ClientAddr(r), "http" }
	}
	if deps.Sender == nil {
		deps.Sender = delivery.NewSender(delivery.Deps{Stores: deps.Stores, Registry: deps.Peers, Loosen: deps.Loosen, Log: deps.Log})
	}
	if settings.SessionHeader == "" {
		settings.SessionHeader = "X-OOSE-Token"
	}
	if settings.HashType == 0 {
		settings.HashType = content.SHA1
	}
	if settings.Life == 0 {
		settings.Life = 2 * time.Hour
	}
	if settings.RetrieveTime == 0 {
		settings.RetrieveTime = 6 * time.Hour
	}
	h := &Handler{Deps: deps, set: settings}
	h.fetcher = newFetcher(settings.RetrievePrivate, deps.Denied)
	h.table = &handlers.Table{
		Routes: h.routes(), Prefix: "prism", Compat: settings.Compat,
		Counters: deps.Counters, Log: deps.Log, Fault: fault,
	}
	return h
}

// Serve answers a request. It returns handlers.ErrNotMine, with nothing
// written, for what is none of its routes. A response that can't be finished
// ends in panic(http.ErrAbortHandler), as net/http wants it.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error { return h.table.Serve(w, r) }
