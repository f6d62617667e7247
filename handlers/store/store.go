// Package store is the private API of one store: putting, reading, verifying,
// removing and sending its clones. It is the API of OOSE 2.x; what a store
// gives the public, at its own host name, is handed to the delivery package.
//
// Authentication comes before a body is read. A content is streamed, never
// held in memory; a JSON body is bounded.
package store

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// Stores is the other stores of this process, to which clones can be sent.
type Stores interface {
	// Volume returns the volume of the store with this id, if it is open here.
	Volume(id string) (*inventory.Volume, bool)
}

// Peers tells who the peers are. *heartbeat.Registry is one.
type Peers interface {
	ByLabel(label string) (heartbeat.Peer, bool)
	Available(id string) bool
}

// Public serves what everyone may have. *delivery.StoreSide is one.
type Public interface {
	Serve(w http.ResponseWriter, r *http.Request) error
}

// Deps is what a store's API works with. It outlives every configuration.
type Deps struct {
	Volume   *inventory.Volume
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
	// Node tells whether a request comes from a node of the cluster, which may
	// use the private routes; nil: none does.
	Node func(r *http.Request) bool
	// Public serves the routes that everyone may use; nil: there are none.
	Public Public
	// Remote returns a store of another process, to which clones can be sent, and
	// false where that can't be reached; nil: none can.
	Remote func(heartbeat.Peer) (upload.Store, bool)
}

// Settings is what one site's configuration says.
type Settings struct {
	Name    peer.Name      // of this store, with its prism
	Version string         // of OOSE, for the welcome
	Basic   *account.Basic // credentials of the private routes; nil: nobody has them
	MaxSize int64          // bytes of one content; 0: no bound
	Compat  bool           // answer with the statuses of OOSE 2.x
}

// Handler answers a store's routes for one site.
type Handler struct {
	Deps
	set   Settings
	table *handlers.Table
	local []upload.Store // this store alone
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
	h := &Handler{Deps: deps, set: settings, local: []upload.Store{upload.Local(deps.Volume, settings.Name.Prism, "")}}
	h.table = &handlers.Table{
		Routes: h.routes(), Prefix: "store", Compat: settings.Compat,
		Counters: deps.Counters, Log: deps.Log, Fault: fault,
	}
	return h
}

func (h *Handler) routes() map[string]*handlers.Route {
	get, post := handlers.Methods{http.MethodGet, http.MethodPost}, handlers.Methods{http.MethodPost}
	put := handlers.Methods{http.MethodPut}
	return map[string]*handlers.Route{
		"/":      {Methods: get, Counter: "index", Serve: h.welcome},
		"/ping":  {Methods: get, Counter: "ping", Serve: h.ping},
		"/stats": {Methods: get, Counter: "stat", Serve: h.stats},

		handlers.PutRoute:   {Methods: put, Counter: "content.put", Headers: true, Serve: h.private(h.put)},
		"/content/download": {Methods: post, Counter: "content.download", Headers: true, Serve: h.private(h.download)},
		"/content/exists":   {Methods: post, Counter: "content.exists", Serve: h.private(h.exists)},
		"/content/detail":   {Methods: post, Counter: "content.detail", Serve: h.private(h.detail)},
		"/content/remove":   {Methods: post, Counter: "content.remove", Headers: true, Serve: h.private(h.remove)},
		"/content/send":     {Methods: post, Counter: "content.send", Serve: h.private(h.send)},
		"/content/verify":   {Methods: post, Counter: "content.verify", Serve: h.private(h.verify)},
	}
}

// Serve answers a request. It returns handlers.ErrNotMine, with nothing
// written, for what is none of its routes. A response that can't be finished
// ends in panic(http.ErrAbortHandler), as net/http wants it.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	err := h.table.Serve(w, r)
	if errors.Is(err, handlers.ErrNotMine) && h.Public != nil {
		return h.Public.Serve(w, r)
	}
	return err
}

// private lets only those serve a route who have the store's credentials, and
// nodes of the cluster. It tells without having read the body.
func (h *Handler) private(serve func(http.ResponseWriter, *http.Request) (any, error)) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		if h.Node == nil || !h.Node(r) {
			client, _ := h.Client(r)
			ok, err := handlers.CheckBasic(r, h.set.Basic, client)
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, handlers.ErrUnauthorized
			}
		}
		return serve(w, r)
	}
}

func (h *Handler) welcome(w http.ResponseWriter, r *http.Request) (any, error) {
	return map[string]string{"message": "Welcome to OOSE version " + h.set.Version}, handlers.CheckJSON(w, r)
}

// ping tells that the store answers: its disk alone decides.
func (h *Handler) ping(w http.ResponseWriter, r *http.Request) (any, error) {
	return map[string]string{"pong": "pong"}, handlers.CheckJSON(w, r)
}

func (h *Handler) stats(w http.ResponseWriter, r *http.Request) (any, error) {
	return h.Counters.Snapshot(), handlers.CheckJSON(w, r)
}

// fault returns what a client is told about an error.
func fault(err error) *handlers.Fault {
	switch {
	case errors.Is(err, inventory.ErrNotExist), errors.Is(err, inventory.ErrChanged):
		return handlers.Faultf(handlers.ContentUnknown, "%s", notFound).Because(err)
	case errors.Is(err, inventory.ErrPromised):
		return handlers.Faultf(handlers.Promised, "%s", promised).Because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return handlers.Faultf(handlers.Unavailable, "The answer took too long; try again").Because(err)
	case errors.Is(err, inventory.ErrOffline), errors.Is(err, inventory.ErrSuspect):
		return handlers.Faultf(handlers.Unavailable, "The store can't be used now; try again later").Because(err)
	}
	return upload.Fault(err)
}

// promised is what is told where a clone is to be removed that this store has
// promised to keep, which it does for inventory.PromiseLife.
const promised = "The clone is promised to be kept: another store has just dropped its own, counting on this one. Try again in an hour, or move it with `oose clones --drop-from`"

const notFound = "File not found"
