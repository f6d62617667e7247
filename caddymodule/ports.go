package caddymodule

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ooseio/oose/caddymodule/handover"
)

// ports is the handover of a configuration's TCP ports to the one that replaces
// it. Caddy starts the new one, tells that it has "started", tells the old one
// that it is "stopping", stops its apps and cleans it up.
type ports struct {
	silent  sync.Map    // the net.Conn that have not brought a request, each with the time.Time it came
	passing atomic.Bool // another configuration has them

	mu    sync.Mutex // guards begun
	begun *handover.Handover
}

// speaksWithin is the time in which a client is expected to have sent the first
// request on a connection, TLS included; net/http has the same.
const speaksWithin = 5 * time.Second

// note hears what becomes of a connection. A server that is told to stop answers
// the requests that it has begun with. It closes a connection whose first one is
// still on its way, after its handshake or in it, without an answer.
func (p *ports) note(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		p.silent.Store(conn, time.Now())
	} else {
		p.silent.Delete(conn)
	}
}

// awaited counts the connections whose first request is to be expected any moment.
// Some are opened in advance and stay silent: their clients know that such a
// connection may be closed, as any that is idle.
func (p *ports) awaited() (n int) {
	p.silent.Range(func(_, came any) bool {
		if since, ok := came.(time.Time); ok && time.Since(since) < speaksWithin {
			n++
		}
		return true
	})
	return n
}

// lead has a client open a new connection for its next request, while that leads
// to another configuration: the server of this one closes those that are kept.
func (p *ports) lead(w http.ResponseWriter, r *http.Request) {
	if p.passing.Load() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// finish ends a handover that has begun. The servers that listened have been
// stopped by then.
func (p *ports) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun.Finish()
	p.begun = nil
}

// portKeeper hears that a configuration has started.
type portKeeper struct{ app *App }

// Handle has the configuration's ports keep their connections while another one
// is loaded, which may fail when it has already opened them as well. Until this
// one is in force the active one is the one before.
func (h portKeeper) Handle(context.Context, caddy.Event) error {
	handover.Keep(listenersOf(h.app.ctx), listenersOf(caddy.ActiveContext()), h.app.log)
	return nil
}

// portPasser hears that a configuration is about to stop.
type portPasser struct{ app *App }

// Handle hands the configuration's ports over to the one that is in force by
// now, where there is one: before Caddy stops the server that accepts what waits
// at them.
func (h portPasser) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		return nil
	}
	p := &h.app.ports
	p.passing.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = handover.Begin(listenersOf(h.app.ctx), listenersOf(caddy.ActiveContext()), p.awaited, h.app.log)
	return nil
}

// listenersOf returns what the HTTP servers of a configuration listen with.
func listenersOf(ctx caddy.Context) (list []net.Listener) {
	// Nothing is loaded by this: when events are emitted every app is there.
	loaded, err := ctx.AppIfConfigured("http")
	if err != nil {
		return nil // there are no such servers, or no configuration
	}
	app, ok := loaded.(*caddyhttp.App)
	if !ok {
		return nil
	}
	for _, server := range app.Servers {
		list = append(list, server.Listeners()...)
	}
	return list
}

// Interface guards
var (
	_ caddyevents.Handler = portKeeper{}
	_ caddyevents.Handler = portPasser{}
)
