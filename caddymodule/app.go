// Package caddymodule is all of OOSE that is Caddy's: the app `oose`, which
// holds the node, and the handlers `oose_prism`, `oose_store` and
// `oose_purchase`, which hand requests to it. What lives as long as the process
// does is in package node and survives the reload of a configuration.
package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ooseio/oose/node"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the settings of the node, of which a process has one. It is there
// with the defaults where a handler needs it and no settings are given. It
// opens nothing before it starts.
type App struct {
	node.Config

	ctx caddy.Context
	log *zap.Logger

	held   atomic.Pointer[holding] // set while requests may use it
	events storeEvents
	ports  ports

	tidying sync.WaitGroup // after the start

	mu      sync.Mutex // guards what follows
	stores  []node.StoreSpec
	prisms  []node.PrismSpec
	servers []*caddyhttp.Server // that our handlers stand in
	err     error               // why the node could not be opened
	closed  bool                // Cleanup was called
}

// holding is the node and what a configuration has of it.
type holding struct {
	*node.Attachment
	pool    *pooled
	unshare func() // takes the engine back from `storage oose`; nil where it was not given
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oose",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision replaces placeholders, fills in the defaults and compares the
// settings with those of the node that may be running.
func (app *App) Provision(ctx caddy.Context) error {
	app.ctx = ctx
	app.log = ctx.Logger()
	if err := replacePlaceholders(&app.Config); err != nil {
		return err
	}
	for _, name := range app.Pending() {
		app.log.Warn("setting is not yet in effect", zap.String("setting", name))
	}
	app.warnOfSessionHeader()
	if app.Data == "" {
		app.Data = filepath.Join(caddy.AppDataDir(), "oose")
	}
	for _, path := range []*string{&app.Data, &app.Engine.Folder} {
		if err := makeAbsolute(path); err != nil {
			return err
		}
	}
	for i := range app.Stores {
		if err := makeAbsolute(&app.Stores[i].Root); err != nil {
			return err
		}
	}
	app.Config.SetDefaults()
	if err := app.Config.Validate(); err != nil {
		return err
	}
	if err := checkRestart(&app.Config); err != nil {
		return err
	}
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	return app.subscribe()
}

// warnOfSessionHeader tells what a header of another name needs: access logs
// have all headers, and the filters of the samples take out the usual one.
func (app *App) warnOfSessionHeader() {
	name := http.CanonicalHeaderKey(app.Session.Header)
	if name == "" || name == http.CanonicalHeaderKey(node.SessionHeader) {
		return
	}
	app.log.Warn("access logs would have session tokens: have their filters delete this field", zap.String("field", "request>headers>"+name))
}

// warnOfCluster tells what keeps a node of a cluster from being reached, or
// lets others listen.
func (app *App) warnOfCluster(c *node.Config) {
	if len(c.Cluster.Secret) == 0 {
		if len(c.Cluster.Join) > 0 {
			app.log.Warn("without a secret this node is alone, whatever it is told to join: give all nodes the same one, `cluster { secret ... }`")
		}
		return
	}
	u, err := url.Parse(c.Cluster.Address)
	if err != nil || u.Host == "" {
		app.log.Warn("other nodes can't reach this one: name its address, `cluster { address https://... }`")
		return
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && !ip.IsLoopback() && u.Hostname() != "localhost" {
		app.log.Warn("nodes talk without TLS: that is for networks which nobody else can listen to", zap.String("address", c.Cluster.Address))
	}
}

// makeAbsolute makes a path one from the root; an empty one stays empty.
func makeAbsolute(path *string) error {
	if *path == "" {
		return nil
	}
	abs, err := filepath.Abs(*path)
	if err != nil {
		return fmt.Errorf("finding the folder %s: %w", *path, err)
	}
	*path = abs
	return nil
}

// Validate tells which setting is wrong and what would be right.
func (app *App) Validate() error { return app.Config.Validate() }

// Start opens the node, or joins the one that is open, with the settings of
// this configuration as its newest.
func (app *App) Start() error {
	_, err := app.attach()
	return err
}

// Stop does nothing: requests of this configuration may still be running. What
// it holds is let go in Cleanup.
func (app *App) Stop() error { return nil }

// Cleanup lets go of the node. It is closed when the last configuration and
// the last request have let go.
func (app *App) Cleanup() error {
	app.mu.Lock()
	app.closed = true
	held := app.held.Swap(nil)
	app.mu.Unlock()
	if held != nil {
		held.unshare()
		held.Detach(releaseNode)
	}
	app.ports.finish()
	app.events.end()
	app.tidying.Wait()
	return nil
}

// errDetached says that a configuration has let go of the node.
var errDetached = errors.New("this configuration is no longer in use")

// attach joins the node, once. Apps start in any order, so the first request
// may come before Start; they share what this does.
func (app *App) attach() (*holding, error) {
	if a := app.held.Load(); a != nil {
		return a, nil
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	if a := app.held.Load(); a != nil {
		return a, nil
	}
	if app.closed {
		return nil, errDetached
	}
	if app.err != nil {
		return nil, app.err
	}
	a, err := app.join(false)
	if err != nil {
		app.err = err
		return nil, err
	}
	a.unshare = shareCertificates(a.Node())
	app.held.Store(a)
	for _, v := range a.Node().Volumes() {
		app.events.seed(v.Status())
	}
	return a, nil
}

// join opens the node or takes the one that is open, and attaches to it. late
// is for a request that outlived its configuration: others rule.
func (app *App) join(late bool) (*holding, error) {
	n, err := openNode(&app.Config, app.log)
	if err != nil {
		return nil, err
	}
	a, err := n.Attach(app.spec(late))
	if err != nil {
		releaseNode()
		return nil, fmt.Errorf("attaching to the node: %w", err)
	}
	return &holding{Attachment: a, pool: n}, nil
}

// spec is what this configuration wants of the node.
func (app *App) spec(late bool) node.Spec {
	found := app.discover()
	s := node.Spec{
		Config:  app.Config,
		Prisms:  app.prisms,
		Stores:  app.stores,
		Core:    app.log.Core(),
		Client:  clientOf,
		Loosen:  chunkOf,
		Metrics: meter,
		Notify:  app.events.notify,
		Version: Version(),
		Denied:  adminEndpoint(),
		Late:    late,
	}
	if s.Config.URL == "" {
		s.Config.URL = found.url
	}
	if s.Config.Cluster.Address == "" {
		s.Config.Cluster.Address = found.node
	}
	app.warnOfCluster(&s.Config)
	for i := range s.Stores {
		if s.Stores[i].Address == "" {
			s.Stores[i].Address = found.stores[s.Stores[i].Name]
		}
	}
	return s
}

// Node returns the node that this configuration holds. It is open at least
// until the configuration is cleaned up.
func (app *App) Node() (*node.Node, error) {
	a, err := app.attach()
	if err != nil {
		return nil, err
	}
	return a.Node(), nil
}

// Acquire returns the node and keeps it open until release is called.
func (app *App) Acquire() (n *node.Node, release func(), err error) {
	a, err := app.acquire()
	if err != nil {
		return nil, nil, err
	}
	return a.Node(), a.Release, nil
}

// acquire returns what this configuration holds, with a request counted on it
// that the caller must release.
func (app *App) acquire() (*holding, error) {
	a, err := app.attach()
	if err == nil && a.Acquire() {
		return a, nil
	}
	if err != nil && !errors.Is(err, errDetached) {
		return nil, err
	}
	// The request was read under a configuration that is gone meanwhile. It is
	// served all the same, unless the process is on its way out.
	if caddy.Exiting() {
		return nil, errDetached
	}
	app.mu.Lock()
	a, err = app.join(true)
	app.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a.Acquire()
	a.Detach(releaseNode)
	return a, nil
}

// subscribe has the app hear when its configuration has started and when it is
// about to stop.
func (app *App) subscribe() error {
	loaded, err := app.ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	events, ok := loaded.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("getting the events app: it is a %T", loaded)
	}
	return errors.Join(
		events.On("started", onStarted(app.returnMemory)),
		events.On("started", portKeeper{app}),
		events.On("stopping", portPasser{app}),
		events.On("stopping", exitHandler{app}),
		app.events.subscribe(app.ctx, events),
	)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
