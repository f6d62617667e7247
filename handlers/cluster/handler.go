package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
)

// Prefix is what all routes between nodes begin with.
const Prefix = "/cluster/"

// timePath answers nothing but the time, in the headers of every answer.
const timePath = Prefix + "time"

// Deps is what a Handler works with.
type Deps struct {
	Keys *Keys
	Self func() string    // the node's name, told in every answer; nil: none
	Now  func() time.Time // nil: time.Now
	Log  *zap.Logger      // nil: no logs
}

// Handler lets nodes in to what is mounted under /cluster/, and nobody else.
// Without a secret it has no routes at all.
type Handler struct {
	deps Deps

	mu     sync.Mutex
	routes atomic.Pointer[[]route] // the longest prefix first; replaced, never changed
}

type route struct {
	prefix string
	next   http.Handler
}

// NewHandler returns a handler without routes.
func NewHandler(deps Deps) *Handler {
	if deps.Keys == nil {
		deps.Keys = NewKeys(nil)
	}
	if deps.Self == nil {
		deps.Self = func() string { return "" }
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	h := &Handler{deps: deps}
	h.routes.Store(new([]route))
	h.Handle(timePath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	return h
}

// Handle has next answer the calls whose path is prefix or lies below it. The
// longest prefix decides; one that was given before is replaced.
func (h *Handler) Handle(prefix string, next http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	prefix = strings.TrimSuffix(prefix, "/")
	routes := slices.DeleteFunc(slices.Clone(*h.routes.Load()), func(r route) bool { return r.prefix == prefix })
	routes = append(routes, route{prefix, next})
	slices.SortStableFunc(routes, func(a, b route) int { return len(b.prefix) - len(a.prefix) })
	h.routes.Store(&routes)
}

// Serve answers a call. It returns handlers.ErrNotMine, with nothing written,
// for other paths, and for all of them where there is no secret.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	if !strings.HasPrefix(r.URL.Path, Prefix) || h.deps.Keys.Empty() {
		return handlers.ErrNotMine
	}
	c, err := h.deps.Keys.check(r, h.deps.Now())
	if err != nil {
		h.refuse(w, r, c, err)
		return nil
	}
	p := h.proving(w, c)
	for _, rt := range *h.routes.Load() {
		if rest, ok := strings.CutPrefix(r.URL.Path, rt.prefix); ok && (rest == "" || rest[0] == '/') {
			rt.next.ServeHTTP(p, r.WithContext(context.WithValue(r.Context(), nodeKey{}, c.node)))
			p.finish() // not where it panics: that is to break the connection
			return nil
		}
	}
	// A client that is gone needs no answer.
	_ = handlers.WriteFault(p, r, handlers.Faultf(handlers.RouteUnknown, "This node has no such route: it may be of another version"), false, false)
	return nil
}

// nodeKey is that of the calling node's name in a request's context.
type nodeKey struct{}

// CallerOf returns the name of the node that made a call, "" where it is none.
func CallerOf(ctx context.Context) string {
	name, _ := ctx.Value(nodeKey{}).(string)
	return name
}

// Node tells whether a request was signed by a node of the cluster, for routes
// elsewhere that let nodes in too. It lets a request in once: who asks twice
// needs Admit.
func (h *Handler) Node(r *http.Request) bool {
	if _, ok := r.Context().Value(nodeKey{}).(string); ok {
		return true
	}
	if h.deps.Keys.Empty() {
		return false
	}
	_, err := h.deps.Keys.Check(r, h.deps.Now())
	return err == nil
}

// Admit looks at a request for other routes than those under /cluster/. Where a
// node signed it, Node is true for the request that Admit returns, and what is
// written to the writer that it returns carries the proof that Client asks for;
// done must be called when the request was answered, unless that ended in a
// panic. Other requests are returned as they are.
func (h *Handler) Admit(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, _ *http.Request, done func()) {
	if len(r.Header[signatureKey]) == 0 || h.deps.Keys.Empty() {
		return w, r, func() {}
	}
	c, err := h.deps.Keys.check(r, h.deps.Now())
	if err != nil {
		return w, r, func() {}
	}
	p := h.proving(w, c)
	return p, r.WithContext(context.WithValue(r.Context(), nodeKey{}, c.node)), p.finish
}

var signatureKey = http.CanonicalHeaderKey(HeaderSignature)

// refuse answers who is not let in: 401, with the time and a proof where it was
// a node whose clock differs.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c signedCall, err error) {
	f := handlers.Faultf(handlers.Unauthenticated, "This is for the nodes of the cluster: sign the call with its secret")
	switch {
	case errors.Is(err, ErrClock):
		w.Header().Set(HeaderRefused, refusedClock)
		f.Message = "The call was signed at another time: compare the nodes' clocks"
	case errors.Is(err, ErrReplay):
		w.Header().Set(HeaderRefused, refusedReplay)
		f.Message = "This call came before"
	case errors.Is(err, ErrSignature):
		w.Header().Set(HeaderRefused, refusedSignature)
		f.Message = "The call is not signed with this node's secret, or was changed on its way"
	}
	if !errors.Is(err, ErrUnsigned) {
		h.deps.Log.Debug("call refused", zap.String("node", strconv.Quote(c.node)), zap.String("from", r.RemoteAddr), zap.Error(err))
	}
	if c.key != nil {
		w = h.proving(w, c)
	}
	_ = handlers.WriteFault(w, r, f, false, false) // a client that is gone needs no answer
}
