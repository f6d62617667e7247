package delivery

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// core is what the edge and a store's side have in common.
type core struct {
	deps       Deps
	cors       cors
	denied     map[string]bool // nil: all of audio and video
	passErrors bool
	compat     bool
}

func newCore(deps Deps, settings Settings) core {
	if deps.Client == nil {
		deps.Client = connectionClient
	}
	if deps.Metrics == nil {
		deps.Metrics = noMetrics{}
	}
	if deps.Clock == nil {
		deps.Clock = record.NewClock(nil)
	}
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if deps.FirstBytes == nil {
		deps.FirstBytes = new(FirstBytes)
	}
	c := core{deps: deps, cors: newCORS(settings.CORS), passErrors: settings.PassErrors, compat: settings.Compat}
	if settings.DenyStatic != nil {
		c.denied = make(map[string]bool, len(settings.DenyStatic))
		for _, ext := range settings.DenyStatic {
			c.denied[strings.ToLower(strings.TrimPrefix(ext, "."))] = true
		}
	}
	return c
}

// connectionClient is the Client of a server without proxies in front.
func connectionClient(r *http.Request) (netip.Addr, string) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, scheme
	}
	return peer.Addr().Unmap(), scheme
}

// answer sees to the method and has f answer GET and HEAD.
func (c *core) answer(w http.ResponseWriter, r *http.Request, kind Kind, f func() error) error {
	c.cors.set(w.Header(), r)
	allow := "GET, HEAD, OPTIONS"
	if kind == kindPing {
		allow = "GET, HEAD, POST, OPTIONS"
	}
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodPost && kind == kindPing:
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allow)
		c.cors.setPreflight(w.Header(), allow)
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		return c.fail(w, r, kind, &handlers.Fault{
			Code:    handlers.MethodNotAllowed,
			Message: "The method is not allowed here: use one of " + allow,
			Allow:   allow,
		})
	}
	if err := f(); err != nil {
		return c.fail(w, r, kind, err)
	}
	return nil
}

// grant is a request that may have the content of a purchase.
type grant struct {
	purchase  *purchase.Purchase
	placement *inventory.Placement
	ext       string     // the purchase's, or where it has none the content's
	client    netip.Addr // only where the purchase asks for it
	left      time.Duration
}

// admit finds a purchase and its content, and checks that the request may have
// it: expiry, referrer, address. Its errors are Faults.
func (c *core) admit(r *http.Request, token purchase.Token, referrer bool) (grant, error) {
	if c.deps.Alone != nil && c.deps.Alone() {
		c.deps.Metrics.Lookup(LookupError)
		f := handlers.Faultf(handlers.Unavailable, "This node is cut off from the others and can't tell what was revoked: try again shortly")
		f.Retry = aloneRetry
		return grant{}, f
	}
	p, err := c.deps.Book.Find(r.Context(), token)
	if err != nil {
		return grant{}, c.purchaseFault(r, err)
	}
	g := grant{purchase: p}
	if len(p.IP) > 0 || p.Count > 0 {
		g.client, _ = c.deps.Client(r)
	}
	now := c.deps.Clock.Wall()
	referer := refererOf(r.Header)
	err = p.Allows(now, referer, g.client)
	if !referrer && errors.Is(err, purchase.ErrReferrerMissing) {
		err = nil
	}
	if err != nil {
		return grant{}, c.purchaseFault(r, err)
	}
	g.left = p.Left(now)
	if g.placement, err = c.deps.Index.Find(r.Context(), p.Hash); err == nil && c.worthAsking(g.placement) && g.placement.Removed <= p.Made {
		g.placement, err = c.ask(r.Context(), p.Hash)
	}
	if err != nil {
		c.deps.Metrics.Lookup(LookupError)
		return grant{}, unavailable(err)
	}
	switch {
	case g.placement.Blocked:
		c.deps.Metrics.Lookup(LookupRefused)
		return grant{}, handlers.Refusal(g.placement, handlers.ContentUnknown)
	case g.placement.Removed > p.Made:
		return grant{}, c.purchaseFault(r, purchase.ErrUnknown)
	case len(g.placement.Clones) == 0:
		f := c.nobodyHolds(g.placement, handlers.ContentUnknown)
		if f.Code == handlers.ContentUnknown {
			c.deps.Metrics.Lookup(LookupUnknown)
		} else {
			c.deps.Metrics.Lookup(LookupError)
		}
		return grant{}, f
	}
	if g.ext = p.Ext; g.ext == "" {
		g.ext = g.placement.Clones[0].Ext
	}
	c.deps.Metrics.Lookup(LookupFound)
	return g, nil
}

// refererOf returns the Referer header; some clients spell it right.
func refererOf(h http.Header) string {
	if v := h["Referer"]; len(v) > 0 {
		return v[0]
	}
	if v := h["Referrer"]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// lookupStatic finds what `/static/…` names, if it may be had without a
// purchase: neither the name asked for nor any clone has a denied type.
func (c *core) lookupStatic(r *http.Request, rt route) (*inventory.Placement, error) {
	if c.isDenied(extOf(rt.name)) {
		return nil, typeDenied()
	}
	if rt.hash.IsZero() {
		return nil, c.miss(r, handlers.Faultf(handlers.StaticUnknown, "Content does not exist"))
	}
	p, err := c.deps.Index.Find(r.Context(), rt.hash)
	if err == nil && c.worthAsking(p) {
		if f := c.missesSpent(r); f != nil { // invented hashes cost no question for long
			return nil, f
		}
		p, err = c.ask(r.Context(), rt.hash)
	}
	switch {
	case err != nil:
		return nil, unavailable(err)
	case p.Hidden:
		return nil, c.miss(r, handlers.Refusal(p, handlers.StaticUnknown)) // as what nobody holds, in every way
	case p.Blocked:
		return nil, handlers.Refusal(p, handlers.StaticUnknown)
	case len(p.Clones) == 0:
		f := c.nobodyHolds(p, handlers.StaticUnknown)
		if f.Code == handlers.StaticUnknown {
			return nil, c.miss(r, f)
		}
		return nil, f
	}
	for i := range p.Clones {
		if c.isDenied(p.Clones[i].Ext) {
			return nil, typeDenied()
		}
	}
	return p, nil
}

// isDenied tells whether only a purchase may fetch a type.
func (c *core) isDenied(ext string) bool {
	if c.denied == nil {
		return content.IsAudioVideo(ext)
	}
	return c.denied[strings.ToLower(ext)]
}

// worthAsking tells whether other nodes may know more about a content than p
// says: no record places it anywhere.
func (c *core) worthAsking(p *inventory.Placement) bool {
	return len(p.Clones) == 0 && !p.Blocked && c.deps.Content != nil
}

// ask asks other nodes about a content, and returns what is known then.
func (c *core) ask(ctx context.Context, h content.Hash) (*inventory.Placement, error) {
	if err := c.deps.Content(ctx, h); err != nil {
		return nil, err
	}
	return c.deps.Index.Find(ctx, h)
}

// nobodyHolds is the fault for content that no record places anywhere: unknown,
// or not yet known while a first scan goes on. What was removed is unknown.
func (c *core) nobodyHolds(p *inventory.Placement, code handlers.Code) *handlers.Fault {
	if p.Removed == 0 && c.deps.Stores != nil && c.deps.Stores.Scanning() {
		f := handlers.Faultf(handlers.Unavailable, "A store is still being scanned and may hold this content: try again shortly")
		f.Retry = scanRetry
		return f
	}
	return handlers.Faultf(code, "Content does not exist")
}

// aloneRetry is when a client may ask a node again that is cut off.
const aloneRetry = 5 * time.Second

// scanRetry is when a client may ask again during a first scan.
const scanRetry = 5 * time.Second

// staticCache is the Cache-Control of statics: they never change.
const staticCache = "public, max-age=31536000, immutable, no-transform"

// purchaseCache is the Cache-Control of purchases: for one client, for what is
// left of the life.
func purchaseCache(left time.Duration) string {
	b := append(make([]byte, 0, 64), "private, no-transform, max-age="...)
	return string(strconv.AppendInt(b, int64(left/time.Second), 10))
}
