package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/purchase"
)

// What our own responses and uploads have instead of Caddy's defaults of one
// minute and 64 KiB: a paused player takes nothing for minutes, and small
// writes cost several times the CPU.
const (
	idleTimeout = 10 * time.Minute
	writeChunk  = 2 << 20
)

// role is what the three handlers share: how a request gets to the node.
type role struct {
	app        *App
	make       func(*node.Attachment) (node.Server, error)
	passErrors bool

	built atomic.Pointer[built]
}

// built is a role's server and what it was built for.
type built struct {
	on     *node.Attachment
	server node.Server
}

// provision gets the app, which is there with its defaults where no settings
// are given.
func (h *role) provision(ctx caddy.Context, make func(*node.Attachment) (node.Server, error)) error {
	loaded, err := ctx.App("oose")
	if err != nil {
		return err
	}
	app, ok := loaded.(*App)
	if !ok {
		return errors.New("the app oose is another module's")
	}
	h.app, h.make = app, make
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		app.knowConnections(server)
	}
	return nil
}

// serve answers a request that is the role's own, and asks the next handler
// for others. Where nobody answers, it answers 404.
func (h *role) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := h.own(w, r)
	if !errors.Is(err, handlers.ErrNotMine) {
		return h.handlerError(w, err)
	}
	if err := next.ServeHTTP(w, r); err != nil {
		return err
	}
	if unhandled, _ := caddyhttp.GetVar(r.Context(), "unhandled").(bool); !unhandled {
		return nil
	}
	caddyhttp.SetVar(r.Context(), "unhandled", false)
	fault := handlers.Faultf(handlers.RouteUnknown, "There is nothing at this path")
	if h.passErrors {
		return h.handlerError(w, fault)
	}
	return handlers.WriteFault(w, r, fault, h.compat(), false)
}

// own hands the request to the role's server, with the node held open.
func (h *role) own(w http.ResponseWriter, r *http.Request) error {
	a, err := h.app.acquire()
	if err != nil {
		h.app.log.Error("request can't be served: the node is not open", zap.Error(err))
		fault := handlers.Faultf(handlers.Unavailable, "This node is not available now; try again in a moment").Because(err)
		return handlers.WriteFault(w, r, fault, h.compat(), false)
	}
	defer a.Release()
	server, err := h.server(a.Attachment)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	h.app.ports.lead(w, r)
	s := a.pool.streams.begin(w, r)
	defer s.end()
	defer loosen(r)()
	logToken(r)
	return server.Serve(w, r)
}

func (h *role) server(a *node.Attachment) (node.Server, error) {
	if b := h.built.Load(); b != nil && b.on == a {
		return b.server, nil
	}
	s, err := h.make(a)
	if err != nil {
		return nil, err
	}
	h.built.Store(&built{on: a, server: s})
	return s, nil
}

func (h *role) compat() bool { return h.app.Compat == node.Compat2 }

// handlerError makes a role's error one of Caddy's.
func (h *role) handlerError(w http.ResponseWriter, err error) error {
	var fault *handlers.Fault
	if !errors.As(err, &fault) {
		return err
	}
	handlers.SetFaultHeaders(w.Header(), fault, h.compat(), true)
	return caddyhttp.Error(fault.Code.Status(h.compat()), fault)
}

// loosen gives the request our own idle timeouts until undo is called.
func loosen(r *http.Request) (undo func()) {
	reader, writer := caddyhttp.IdleTimeoutsFromContext(r.Context())
	switch {
	case writer != nil && reader != nil:
		undoWriter := writer.Override(idleTimeout, 0, writeChunk)
		undoReader := reader.Override(idleTimeout, 0)
		return func() { undoReader(); undoWriter() }
	case writer != nil:
		return writer.Override(idleTimeout, 0, writeChunk)
	case reader != nil:
		return reader.Override(idleTimeout, 0)
	}
	return func() {}
}

// chunkOf tells in pieces of how many bytes the web server hands on what the
// response's ReadFrom is given, 0 where it does not. The idle timeouts are loose
// by then: own has them so for the whole request.
func chunkOf(r *http.Request) (chunk int64, undo func()) {
	if _, writer := caddyhttp.IdleTimeoutsFromContext(r.Context()); writer != nil {
		return writeChunk, func() {}
	}
	return 0, func() {}
}

// clientOf returns the client's address and the scheme it used, as the web
// server knows them: what proxies say counts only where they are trusted.
func clientOf(r *http.Request) (netip.Addr, string) {
	ctx := r.Context()
	text, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	text, _, _ = strings.Cut(text, "%") // an IPv6 zone is this machine's own
	addr, _ := netip.ParseAddr(text)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if s := strings.ToLower(r.Header.Get("X-Forwarded-Proto")); s == "http" || s == "https" {
			scheme = s
		}
	}
	return addr.Unmap(), scheme
}

// logToken adds the short form of the purchase's token to the access log.
func logToken(r *http.Request) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Logs == nil {
		return
	}
	path, _ := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, "/purchase/uri"), "/play")
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	token, err := purchase.ParseToken(segment)
	if err != nil {
		return
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("oose_token", token.Short()))
	}
}
