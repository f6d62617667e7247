// Package node is what lives as long as the process does and survives the
// reload of a configuration: the engine of records, the volumes of the stores,
// the registry of peers, and every goroutine.
//
// A node is opened once. Each configuration attaches to it when it starts and
// detaches when it is gone; of those attached at the same time the newest
// rules. A store stays open while a configuration or a request holds it.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb"
)

// Node is one process' part of a cluster. Its methods can be called at the
// same time.
type Node struct {
	cfg     Config // that it was opened with
	id      identity
	started time.Time
	clock   *record.Clock
	core    *swapCore
	log     *zap.Logger

	// What the handlers, commands and metrics work with.
	Index    *inventory.Index
	Book     *purchase.Book
	Users    *account.Users
	Sessions *account.Sessions
	Registry *heartbeat.Registry
	Counters *handlers.Counters
	Audit    *audit.Log

	engine    engine
	journal   *journal.Journal // nil with the engine redis
	redis     *redisdb.Engine  // nil with the engine badger
	others    *others          // nil where it is alone
	claims    claims
	forgotten forgotten
	uploader  *upload.Uploader
	repair    *repair.Agent
	misses    *delivery.Limiter
	minter    *purchase.Minter
	volumes   volumes

	parts        parts
	stopEngine   func()
	stopDomains  []func()
	closeDomains []func()
	changed      chan struct{}      // the registry has to be told
	asked        chan chan struct{} // ... and who asks waits for it
	top          atomic.Pointer[Attachment]

	meet sync.Once   // the swarm runs from the first configuration on
	left atomic.Bool // the process is about to end

	aloneSince atomic.Int64 // nanoseconds since 1970, 0: it is not cut off

	firstBytes delivery.FirstBytes

	mu     sync.Mutex    // guards what follows
	stack  []*Attachment // the last one rules
	failed []string      // parts that ended
}

// Sizes of what is kept in memory.
const (
	placements    = 1 << 16 // contents whose placement is in memory
	missesAMinute = 60      // for each client address
)

// Open opens the node whose data folder the configuration names, or makes it.
// The configuration has its defaults. Errors: those of
// journal.Open, and others.
func Open(ctx context.Context, cfg Config, log *zap.Logger) (*Node, error) {
	n := &Node{
		cfg:     cfg,
		started: time.Now(),
		clock:   record.NewClock(nil),
		core:    newSwapCore(log.Core()),
		changed: make(chan struct{}, 1),
		asked:   make(chan chan struct{}),

		Counters: new(handlers.Counters),
	}
	n.log = log.WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core { return n.core }))
	n.volumes.node = n
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.start()
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	// The engine comes first: its lock keeps a second process out.
	if err := n.openEngine(); err != nil {
		return err
	}
	var err error
	if n.id, err = loadIdentity(n.cfg.Data, n.cfg.Name); err != nil {
		return err
	}
	n.Audit = audit.New(n.cfg.Data, n.id.Name, n.log.Named("audit"))
	keys, err := tokenKeys(n.cfg.Data, n.cfg.Cluster.Secret)
	if err != nil {
		return err
	}
	minter, err := purchase.NewMinter(n.cfg.Purchase.Zone[0], keys[0], n.clock, keys[1:]...)
	if err != nil {
		return fmt.Errorf("preparing tokens: %w", err)
	}
	n.minter = minter
	if err := n.openOthers(); err != nil {
		return err
	}
	if err := n.openDomains(ctx, minter); err != nil {
		return err
	}
	n.openDemand()
	n.openClones()
	n.openHealth()
	n.openRepair()
	return nil
}

func (n *Node) openDomains(ctx context.Context, minter *purchase.Minter) error {
	j, asking := n.engine, purchase.Engine(n.engine)
	if n.others != nil && n.others.asker != nil {
		asking = n.others.asker.Engine()
	}
	n.Index = inventory.NewIndex(j, n.clock, placements)
	n.Book = purchase.NewBook(asking, minter, n.clock, purchase.Options{Logger: n.log.Named("purchase")})
	n.Users = account.NewUsers(asking, n.clock, n.cfg.Users, n.log.Named("prism"))
	n.Sessions = account.NewSessions(asking, n.Users, n.sessionLife, n.clock, sessionKeys(n.cfg.Session.Keys))
	n.Registry = heartbeat.NewRegistry(j, n.log.Named("heartbeat"))
	n.closeDomains = []func(){n.followForgotten(), n.Registry.Close, n.Sessions.Close, n.Users.Close, n.Book.Close, n.Index.Close}
	n.uploader = upload.New(n.Index, n.uploadStores, n.log.Named("prism"))
	n.misses = delivery.NewLimiter(missesAMinute, nil)
	n.Index.SetOwners(n.owner)
	n.followOwners()
	// A volume asks the registry whether its store is known.
	err := n.Registry.Load(ctx)
	if n.redis != nil && errors.Is(err, record.ErrUnavailable) {
		n.log.Warn("redis is away: nothing is known until it answers", zap.Error(err))
		return nil
	}
	return err
}

// sessionLife is how long new sessions live.
func (n *Node) sessionLife() time.Duration { return n.rules().Session.Life.Std() }

// rules is the configuration in force.
func (n *Node) rules() *Config {
	if a := n.top.Load(); a != nil {
		return &a.spec.Config
	}
	return &n.cfg
}

// Config returns the configuration in force, with its defaults. It must not be
// changed.
func (n *Node) Config() *Config { return n.rules() }

// Name is the node's name.
func (n *Node) Name() string { return n.id.Name }

// URL is what links begin with, "" where nothing tells.
func (n *Node) URL() string { return n.rules().URL }

// Engine keeps the records of this node.
func (n *Node) Engine() record.Engine { return n.engine }

// Journal is the engine of records, nil where that is Redis.
func (n *Node) Journal() *journal.Journal { return n.journal }

// Redis is the engine of records, nil where that is the journal.
func (n *Node) Redis() *redisdb.Engine { return n.redis }

// Clock gives hybrid times.
func (n *Node) Clock() *record.Clock { return n.clock }

// Uploader takes content in.
func (n *Node) Uploader() *upload.Uploader { return n.uploader }

// Volumes returns the stores of this process in the order of their names.
func (n *Node) Volumes() []*inventory.Volume { return n.volumes.Volumes() }

// Volume returns the store of this process with that name; of two, the one of
// the configuration in force.
func (n *Node) Volume(name string) (*inventory.Volume, bool) {
	if a := n.top.Load(); a != nil {
		if v, ok := a.byName[name]; ok {
			return v.Volume, true
		}
	}
	for _, v := range n.volumes.all() {
		if v.Name() == name {
			return v.Volume, true
		}
	}
	return nil, false
}
