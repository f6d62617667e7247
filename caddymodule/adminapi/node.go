package adminapi

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// parts is what of a node the admin API works with, kept open until release.
type parts struct {
	engine   record.Engine
	patience time.Duration // with an engine that is away, while records are moved
	book     *purchase.Book
	index    *inventory.Index
	accounts *account.Users
	registry *heartbeat.Registry
	uploader *upload.Uploader
	volumes  []*inventory.Volume
	counters *handlers.Counters
	audit    *audit.Log // nil: nothing is written down
	keeper   keeper
	repair   repairer
	every    time.Duration // from one look at a draining store to the next
	report   func() any    // what GET /oose/status answers

	// connections are those with other nodes, and a conflict over the name.
	connections func() ([]swarm.Connection, error)

	hash    content.Type  // of uploads that ask for none
	copies  int           // clones wanted
	maxSize int64         // bytes of one content
	life    time.Duration // of purchases that ask for none
	url     string        // what links begin with

	release func()
}

// App is the app `oose`, as the admin API needs it.
type App interface {
	// Acquire opens the node, and keeps it open until release is called.
	Acquire() (n *node.Node, release func(), err error)
	// Version is the version of OOSE.
	Version() string
}

// activeApp returns the app of the configuration that is active now.
func activeApp() (App, error) {
	loaded, err := caddy.ActiveContext().AppIfConfigured("oose")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, handlers.Faultf(handlers.Unavailable, "The configuration of this server has no OOSE in it, or is not in effect yet").Because(err)
	}
	if err != nil {
		return nil, err
	}
	app, ok := loaded.(App)
	if !ok {
		return nil, errors.New("the app oose is another module's")
	}
	return app, nil
}

// partsOf opens the node of a configuration.
func partsOf(app App) (*parts, error) {
	n, release, err := app.Acquire()
	if err != nil {
		return nil, handlers.Faultf(handlers.Unavailable, "The node is not open: %s", err).Because(err)
	}
	cfg := n.Config()
	hash, err := content.ParseType(cfg.Content.Hash)
	if err != nil {
		release()
		return nil, err
	}
	return &parts{
		engine: n.Engine(), patience: awayFor, book: n.Book, index: n.Index, accounts: n.Users, registry: n.Registry,
		uploader: n.Uploader(), volumes: n.Volumes(), counters: n.Counters, audit: n.Audit,
		keeper: n, repair: n.Repair(), every: drainEvery,
		report: func() any { return reportOf(app, n) }, connections: n.Connections,
		hash: hash, copies: cfg.Content.Copies, maxSize: int64(cfg.Content.MaxSize),
		life: cfg.Purchase.Life.Std(), url: n.URL(),
		release: release,
	}, nil
}

func reportOf(app App, n *node.Node) StatusAnswer {
	caddyVersion, _ := caddy.Version()
	status := n.Status()
	status.Requests = max(0, status.Requests-1) // the one that asks
	return StatusAnswer{Version: app.Version(), Caddy: caddyVersion, Status: status}
}

// activeParts opens the node of the configuration that is active now.
func activeParts() (*parts, error) {
	app, err := activeApp()
	if err != nil {
		return nil, err
	}
	return partsOf(app)
}
