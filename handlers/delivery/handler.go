// Package delivery turns a token into bytes: purchase, store, content. It
// serves `/<token>/<name>` and `/static/<hash>/<name>` for the role of a prism's
// edge (Handler), and the public routes of one store (StoreSide).
//
// A request costs, where all is in memory: one look at the purchase, one at the
// placement, one open and the sending. It takes no lock that all requests
// share, writes nothing to disk and asks nobody else.
package delivery

import (
	"context"
	"net/http"
	"net/netip"
	"os"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// Client tells a request's client address and scheme (http, https), as the web
// server believes them: trusted proxies are its matter.
type Client func(*http.Request) (addr netip.Addr, scheme string)

// Loosen loosens the web server's idle timeouts for one response; see
// serve.Loosen.
type Loosen = serve.Loosen

// StoreSet is the stores of this process.
type StoreSet interface {
	// Volume returns the volume of the store with this id, if it is open here.
	Volume(id string) (*inventory.Volume, bool)
	// Scanning tells whether a store here has not finished its first scan, so
	// that it may hold what no record tells.
	Scanning() bool
}

// Availability tells whether the store with this id answers. *heartbeat.Registry
// is one.
type Availability interface {
	Available(id string) bool
}

// Deps is what delivery works with. It outlives every configuration.
type Deps struct {
	Book     *purchase.Book
	Index    *inventory.Index
	Stores   StoreSet
	Registry Availability       // nil: every readable store is available
	Self     heartbeat.Location // where this node is
	Client   Client             // nil: the connection's own address
	Loosen   Loosen             // nil: the web server has no idle timeouts
	Misses   *Limiter           // nil: misses are not limited
	// Content asks other nodes for a content that no record places anywhere; nil
	// as its error says that the index knows what there is to be known. nil: there
	// is nobody to ask.
	Content func(ctx context.Context, h content.Hash) error
	Metrics Metrics       // nil: none
	Clock   *record.Clock // nil: the wall clock
	Log     *zap.Logger   // nil: none

	// Alone tells whether the node has been cut off from the others for longer
	// than it may serve what they may have revoked; nil: never.
	Alone func() bool
	// Ready tells whether the node has caught up with the others; nil: always.
	Ready func() bool

	Elsewhere  Elsewhere   // the stores of other nodes; nil: there are none
	Cache      Cache       // of what they hold; nil: there is none
	Demand     Demand      // tells of further copies; nil: nobody does
	FirstBytes *FirstBytes // of this process; nil: one of its own
}

// Settings is what one site's configuration says.
type Settings struct {
	// Redirect sends clients to the store's own host name (302) where it has one.
	Redirect bool
	// StoreURL returns what the URLs of a store begin with (scheme and host), and
	// false where it can't be reached by clients. nil: no store can.
	StoreURL func(storeID string) (base string, ok bool)
	// DenyStatic lists the extensions that only a purchase may fetch, in any
	// case; nil means all of audio and video, empty means none.
	DenyStatic []string
	// CORS lists the origins whose pages may read what is delivered; "*" means
	// all, empty means that no header is sent.
	CORS []string
	// PassErrors has Serve return failures instead of answering them.
	PassErrors bool
	// Compat answers with the statuses of OOSE 2.x.
	Compat bool
}

// Handler serves purchases and statics for one site.
type Handler struct {
	core
	redirect bool
	storeURL func(string) (string, bool)
}

// New returns a handler.
func New(deps Deps, settings Settings) *Handler {
	h := &Handler{core: newCore(deps, settings), redirect: settings.Redirect, storeURL: settings.StoreURL}
	if h.storeURL == nil {
		h.storeURL = func(string) (string, bool) { return "", false }
	}
	return h
}

// Serve answers a request. It returns handlers.ErrNotMine, with nothing
// written, for what is none of its routes, and with PassErrors a
// *handlers.Fault, with only headers set, for a failure. A response that can't
// be finished ends in panic(http.ErrAbortHandler), as net/http wants it.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	rt, ok := parseRoute(r.URL.Path)
	if !ok {
		return handlers.ErrNotMine
	}
	return h.answer(w, r, rt.kind, func() error {
		switch rt.kind {
		case kindPing:
			return h.ping(w, r)
		case kindCrossdomain:
			return writeCrossdomain(w, r)
		case kindStatic:
			return h.static(w, r, rt)
		}
		return h.purchase(w, r, rt)
	})
}

// ping tells that the node answers, and whether it can answer for the cluster.
func (h *Handler) ping(w http.ResponseWriter, r *http.Request) error {
	status, pong := http.StatusOK, "pong"
	if h.deps.Ready != nil && !h.deps.Ready() {
		w.Header().Set("Retry-After", "1")
		status, pong = http.StatusServiceUnavailable, "syncing"
	}
	_ = handlers.WriteJSON(w, r, status, map[string]string{"pong": pong}) // a client that is gone needs no answer
	return nil
}

func (h *Handler) purchase(w http.ResponseWriter, r *http.Request, rt route) error {
	g, err := h.admit(r, rt.token, true)
	if err != nil {
		return err
	}
	list := h.candidates(g.placement)
	if h.redirect {
		if base, ok := h.reachable(g.placement, list); ok {
			return h.redirectTo(w, r, kindPurchase, base+"/play/"+string(rt.token)+"/video."+g.ext+playQuery(g.ext, r.URL.RawQuery), len(g.purchase.Referrer) > 0)
		}
	}
	return h.sendPurchase(w, r, kindPurchase, g, list)
}

func (h *Handler) static(w http.ResponseWriter, r *http.Request, rt route) error {
	placement, err := h.lookupStatic(r, rt)
	if err != nil {
		return err
	}
	list := h.candidates(placement)
	ext := placement.Clones[0].Ext
	if h.redirect {
		if base, ok := h.reachable(placement, list); ok {
			target := base + "/static/" + string(appendPairs(nil, rt.hash)) + "." + ext
			if !h.compat && r.URL.RawQuery != "" { // 2.x dropped it, and `attach` with it
				target += "?" + escapeQuery(r.URL.RawQuery)
			}
			return h.redirectTo(w, r, kindStatic, target, false)
		}
	}
	return h.send(w, r, kindStatic, placement, list, serve.Info{Ext: ext, CacheControl: staticCache}, nil)
}

// ServeContent sends an open file as RFC 9110 has it: ranges, conditions, HEAD,
// `attach` and `rate`. The other roles use it for routes that give content. A
// response that can't be finished ends in panic(http.ErrAbortHandler). Its
// error is serve.ErrUnreadable, with nothing written.
func ServeContent(w http.ResponseWriter, r *http.Request, f *os.File, info serve.Info) error {
	plan := serve.Prepare(r, &info)
	_, err := plan.Send(w, r, f)
	return abortBroken(err)
}
