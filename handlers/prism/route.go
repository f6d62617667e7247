package prism

import (
	"net/http"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/handlers"
)

// access says who may use a route.
type access uint8

const (
	open    access = iota // everyone
	session               // who has a session, or the prism's own credentials
	private               // who has the prism's own credentials, or is a node of the cluster
)

// caller is who sends a request.
type caller struct {
	session *account.Session // nil for who came with the prism's credentials
}

func (h *Handler) routes() map[string]*handlers.Route {
	get, post := handlers.Methods{http.MethodGet, http.MethodPost}, handlers.Methods{http.MethodPost}
	put := handlers.Methods{http.MethodPut}
	return map[string]*handlers.Route{
		"/":      {Methods: get, Counter: "index", Serve: h.by(open, h.welcome)},
		"/ping":  {Methods: get, Counter: "ping", Serve: h.by(open, h.ping)},
		"/stats": {Methods: get, Counter: "stat", Serve: h.by(open, h.stats)},

		"/user/login":            {Methods: post, Counter: "user.login", Serve: h.by(open, h.login)},
		"/user/logout":           {Methods: post, Counter: "user.logout", Serve: h.by(session, h.logout)},
		"/user/session/validate": {Methods: post, Counter: "user.sessionValidate", Serve: h.by(session, h.validate)},
		"/user/session/update":   {Methods: post, Counter: "user.sessionUpdate", Serve: h.by(session, h.updateSession)},
		"/user/password/reset":   {Methods: post, Counter: "user.passwordReset", Serve: h.by(session, h.resetPassword)},

		"/content/detail":          {Methods: post, Counter: "content.detail", Serve: h.by(session, h.detail)},
		"/content/exists":          {Methods: post, Counter: "content.exists", Serve: h.by(private, h.detail)},
		"/content/upload":          {Methods: post, Counter: "content.upload", Serve: h.by(session, h.upload)},
		"/content/retrieve":        {Methods: post, Counter: "content.retrieve", Headers: true, Serve: h.by(session, h.retrieve)},
		"/content/download":        {Methods: post, Counter: "content.download", Headers: true, Serve: h.by(session, h.download)},
		"/content/remove":          {Methods: post, Counter: "content.remove", Headers: true, Serve: h.by(session, h.removeContent)},
		"/content/purchase":        {Methods: post, Counter: "content.purchase", Headers: true, Objects: true, Serve: h.by(session, h.purchase)},
		"/content/purchase/remove": {Methods: post, Counter: "content.purchaseRemove", Headers: true, Serve: h.by(session, h.removePurchase)},
		"/content/purchase/find":   {Methods: post, Counter: "content.purchaseFind", Headers: true, Serve: h.by(session, h.findPurchase)},
		"/content/purchase/update": {Methods: post, Counter: "content.purchaseUpdate", Headers: true, Serve: h.by(session, h.updatePurchase)},
		handlers.PutRoute:          {Methods: put, Counter: "content.put", Headers: true, Serve: h.by(private, h.putContent)},

		"/cache/flush":  {Methods: post, Counter: "cache.flush", Serve: h.by(private, h.flushCache)},
		"/cache/detail": {Methods: post, Counter: "cache.detail", Serve: h.by(private, h.cacheDetail)},
	}
}

// by lets only those serve a route who may use it, and tells without having
// read the body. A token that is not valid wins over credentials that are.
func (h *Handler) by(a access, serve func(http.ResponseWriter, *http.Request, caller) (any, error)) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		c, err := h.authenticate(a, r)
		if err != nil {
			return nil, err
		}
		return serve(w, r, c)
	}
}

func (h *Handler) authenticate(a access, r *http.Request) (caller, error) {
	if a == open {
		return caller{}, nil
	}
	if a == session {
		if token := r.Header.Get(h.set.SessionHeader); token != "" {
			s, err := h.Sessions.Validate(r.Context(), token)
			return caller{session: s}, err
		}
	}
	if a == private && h.Node != nil && h.Node(r) {
		return caller{}, nil
	}
	client, _ := h.Client(r)
	ok, err := handlers.CheckBasic(r, h.set.Basic, client)
	if err == nil && !ok {
		err = handlers.ErrUnauthorized
	}
	return caller{}, err
}

// needSession returns the caller's session. Who came with the prism's own
// credentials has none.
func (c caller) needSession() (*account.Session, error) {
	if c.session == nil {
		return nil, handlers.Faultf(handlers.SessionNeeded, "This needs a session: log in and send its token")
	}
	return c.session, nil
}
