// Package adminapi is OOSE's part of Caddy's admin API, which the commands use:
// its routes, and what is said on them. It asks the configuration that is
// active when a request comes.
package adminapi

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/record"
)

func init() {
	caddy.RegisterModule(api{})
}

// api is the part of Caddy's admin API that the commands use. It is made
// anew with each configuration, before the apps are; it asks the configuration
// that is active when a request comes, and so follows every reload.
type api struct {
	log  *zap.Logger
	open func() (*parts, error)
}

// CaddyModule returns the Caddy module information.
func (api) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.oose",
		New: func() caddy.Module { return new(api) },
	}
}

// Provision sets up the routes.
func (a *api) Provision(caddy.Context) error {
	a.log = caddy.Log().Named("admin.api.oose")
	a.open = activeParts
	return nil
}

// call is one request to the admin API, with the node it is about.
type call struct {
	*parts
	w   http.ResponseWriter
	r   *http.Request
	log *zap.Logger

	stream *lineStream // nil: the answer is no stream
}

// verbs are what a route does, by method.
type verbs map[string]func(*call) error

// Routes returns the routes. Those of later parts are not among them: a
// command that does not work yet must not look as if it did.
func (a *api) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{{Pattern: "/oose/", Handler: caddy.AdminHandlerFunc(a.unknown)}}
	for pattern, does := range map[string]verbs{
		"/oose/status":            {http.MethodGet: (*call).status},
		"/oose/peers":             {http.MethodGet: (*call).peers},
		"/oose/inventory/{store}": {http.MethodGet: (*call).inventory},
		"/oose/put":               {http.MethodPost: (*call).put},
		"/oose/content/{hash}":    {http.MethodGet: (*call).content},
		"/oose/purchase":          {http.MethodPost: (*call).purchase},
		"/oose/purchase/remove":   {http.MethodPost: (*call).purchaseRemove},
		"/oose/scan":              {http.MethodPost: (*call).scan},
		"/oose/verify":            {http.MethodPost: (*call).verify},
		"/oose/adopt":             {http.MethodPost: (*call).adopt},
		"/oose/block":             {http.MethodPost: (*call).block},
		"/oose/unblock":           {http.MethodPost: (*call).unblock},
		"/oose/blocks":            {http.MethodGet: (*call).blocks},
		"/oose/audit":             {http.MethodGet: (*call).auditLog},
		"/oose/drain":             {http.MethodPost: (*call).drainStore},
		"/oose/undrain":           {http.MethodPost: (*call).undrain},
		"/oose/forget":            {http.MethodPost: (*call).forget},
		"/oose/switch":            {http.MethodPost: (*call).switchPeer},
		"/oose/clones":            {http.MethodPost: (*call).clones},
		"/oose/export":            {http.MethodGet: (*call).export},
		"/oose/import":            {http.MethodPost: (*call).importRecords},
		"/oose/users":             {http.MethodGet: (*call).users},
		"/oose/users/{name}": {
			http.MethodGet: (*call).user, http.MethodPut: (*call).userSet, http.MethodDelete: (*call).userRemove,
		},
	} {
		routes = append(routes, caddy.AdminRoute{Pattern: pattern, Handler: a.handler(does)})
	}
	return routes
}

// handler answers the requests of one route.
func (a *api) handler(does verbs) caddy.AdminHandler {
	var methods handlers.Methods
	for method := range does {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if ok, err := methods.Check(w, r); !ok || err != nil {
			return a.answer(w, r, err)
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		// The admin server gives a request 10 s to be read, and ends its context
		// with it. Uploads and scans take longer.
		control := http.NewResponseController(w)
		if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
			a.log.Debug("lifting the deadlines of an admin request", zap.Error(err))
		}
		node, err := a.open()
		if err != nil {
			return a.answer(w, r, err)
		}
		defer node.release()
		return a.answer(w, r, does[method](&call{parts: node, w: w, r: r, log: a.log}))
	})
}

func (a *api) unknown(w http.ResponseWriter, r *http.Request) error {
	return a.answer(w, r, handlers.Faultf(handlers.RouteUnknown, "There is no such admin route"))
}

// answer tells an error, as JSON. What Caddy's admin server is to log and
// count goes back to it.
func (a *api) answer(w http.ResponseWriter, r *http.Request, err error) error {
	if err == nil {
		return nil
	}
	if errors.As(err, new(caddy.APIError)) {
		return err
	}
	fault := asFault(err)
	if fault.Cause != nil {
		a.log.Warn("admin request failed", zap.String("path", r.URL.Path), zap.Error(fault))
	}
	return handlers.WriteFault(w, r, fault, false, false)
}

// asFault is handlers.AsFault for what fails because the engine is away as well.
func asFault(err error) *handlers.Fault {
	if !errors.As(err, new(*handlers.Fault)) && errors.Is(err, record.ErrUnavailable) {
		return handlers.Faultf(handlers.Unavailable, "The node's records are not available now; its log has the cause").Because(err)
	}
	return handlers.AsFault(err)
}

// conflict refuses what does not fit with what is there.
func conflict(message string) error {
	return caddy.APIError{HTTPStatus: http.StatusConflict, Err: errors.New(message)}
}

// Interface guards
var (
	_ caddy.AdminRouter = (*api)(nil)
	_ caddy.Provisioner = (*api)(nil)
)
