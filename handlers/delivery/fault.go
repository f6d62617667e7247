package delivery

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/purchase"
)

// purchaseFault tells why a purchase can't be used, and counts it.
func (c *core) purchaseFault(r *http.Request, err error) *handlers.Fault {
	m := c.deps.Metrics
	switch {
	case errors.Is(err, purchase.ErrUnknown):
		m.Lookup(LookupUnknown)
		return c.miss(r, handlers.Faultf(handlers.PurchaseUnknown, "Purchase not found"))
	case errors.Is(err, purchase.ErrExpired):
		m.Lookup(LookupExpired)
		return handlers.Faultf(handlers.PurchaseExpired, "Purchase has expired")
	case errors.Is(err, purchase.ErrSpent):
		m.Lookup(LookupSpent)
		return handlers.Faultf(handlers.PurchaseSpent, "All uses of this purchase are spent")
	case errors.Is(err, purchase.ErrReferrerMissing):
		m.Lookup(LookupRefused)
		return handlers.Faultf(handlers.RefererMissing, "Invalid request (no referrer)")
	case errors.Is(err, purchase.ErrReferrerRefused):
		m.Lookup(LookupRefused)
		return handlers.Faultf(handlers.RefererRefused, "Invalid request (referrer fail)")
	case errors.Is(err, purchase.ErrAddressRefused):
		m.Lookup(LookupRefused)
		return handlers.Faultf(handlers.AddressRefused, "This purchase is for another address")
	}
	m.Lookup(LookupError)
	return unavailable(err)
}

// miss is the fault for what is not there, or, beyond the client's misses a
// minute, that there were too many.
func (c *core) miss(r *http.Request, f *handlers.Fault) *handlers.Fault {
	if c.deps.Misses == nil {
		return f
	}
	addr, _ := c.deps.Client(r)
	if wait, ok := c.deps.Misses.Allow(addr); !ok {
		return tooManyMisses(wait)
	}
	return f
}

// missesSpent is the fault for a client that has no misses left, nil for others.
func (c *core) missesSpent(r *http.Request) *handlers.Fault {
	if c.deps.Misses == nil {
		return nil
	}
	addr, _ := c.deps.Client(r)
	if wait, ok := c.deps.Misses.Left(addr); !ok {
		return tooManyMisses(wait)
	}
	return nil
}

func tooManyMisses(wait time.Duration) *handlers.Fault {
	f := handlers.Faultf(handlers.TooMany, "Too many requests for what does not exist: try again later")
	f.Retry = wait
	return f
}

func typeDenied() *handlers.Fault {
	return handlers.Faultf(handlers.TypeDenied, "Invalid static file type")
}

// unavailable is the fault for what can't be told now. What asking other nodes
// came to says by itself how that is told.
func unavailable(err error) *handlers.Fault {
	var f *handlers.Fault
	if errors.As(err, &f) {
		return f
	}
	f = handlers.Faultf(handlers.Unavailable, "What is known of this content can't be read now: try again shortly").Because(err)
	f.Retry = time.Second
	return f
}

// noStore is the fault for content whose stores are all away.
func noStore(err error) *handlers.Fault {
	f := handlers.Faultf(handlers.NoStore, "No store that holds this content is available: try again shortly").Because(err)
	f.Retry = time.Second
	return f
}

// abortBroken ends the connection of a response that can't be finished.
func abortBroken(err error) error {
	if errors.Is(err, serve.ErrBroken) {
		panic(http.ErrAbortHandler)
	}
	return err
}

// fail answers a failure, or returns it to be passed on.
func (c *core) fail(w http.ResponseWriter, r *http.Request, kind Kind, err error) error {
	f := handlers.AsFault(err)
	status := f.Code.Status(c.compat)
	c.deps.Metrics.Request(kind, status, 0)
	c.report(r, kind, status, f)
	if c.passErrors {
		handlers.SetFaultHeaders(w.Header(), f, c.compat, true)
		return f
	}
	c.writeFault(w, r, f)
	return nil
}

// report writes a failure into the log. What is ours to see to is a warning,
// unless the client's leaving caused it.
func (c *core) report(r *http.Request, kind Kind, status int, f *handlers.Fault) {
	level := zap.DebugLevel
	if f.Cause != nil && status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level = zap.WarnLevel
	}
	if e := c.deps.Log.Check(level, "request failed"); e != nil {
		e.Write(zap.String("kind", string(kind)), zap.Int("status", status), zap.Error(f))
	}
}

// writeFault answers a failure as a page where the client is a browser that
// shows it, else as JSON. A client that is gone needs neither, and no second
// answer.
func (c *core) writeFault(w http.ResponseWriter, r *http.Request, f *handlers.Fault) {
	w.Header().Add("Vary", "Accept")
	if !prefersHTML(r.Header["Accept"]) {
		_ = handlers.WriteFault(w, r, f, c.compat, true)
		return
	}
	handlers.SetFaultHeaders(w.Header(), f, c.compat, true)
	writePage(w, r, f.Code.Status(c.compat), f)
}
