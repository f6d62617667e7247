package node

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/inventory"
)

// Spec is what one configuration wants of the node.
type Spec struct {
	Config Config      // with its defaults
	Prisms []PrismSpec // that its handlers are
	Stores []StoreSpec // that its handlers declare, beside those of Config

	Core    zapcore.Core     // where logs go while it rules; nil: as before
	Client  delivery.Client  // nil: the connection's address
	Loosen  delivery.Loosen  // nil: the web server bounds no response
	Metrics delivery.Metrics // nil: none
	Version string           // of OOSE, as clients are told

	// Notify is told of every change of a store's state while it rules. It must
	// not wait. nil: nobody is told.
	Notify func(inventory.Status)

	// Denied tells addresses that fetch-by-URL must not reach even where
	// private ones are allowed; nil: none.
	Denied func(netip.AddrPort) bool

	// Late is for a request that outlived its configuration: it must be
	// served, and others go on to rule.
	Late bool
}

// Attachment is one configuration's hold on the node. Its stores stay open
// while it, or a request it was acquired for, holds them.
type Attachment struct {
	node   *Node
	spec   Spec
	held   []*openVolume
	byName map[string]*openVolume

	holders atomic.Int64 // requests, and 1 for the configuration itself
	then    func()
	retire  sync.Once
	retired chan struct{} // closed when it is no longer the one to ask
}

// Node returns what it is attached to.
func (a *Attachment) Node() *Node { return a.node }

// Acquire counts a request, which Release ends. It reports false where nothing
// is held any more.
func (a *Attachment) Acquire() bool {
	for {
		n := a.holders.Load()
		if n == 0 {
			return false
		}
		if a.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends what Acquire began. The last one lets go of the stores.
func (a *Attachment) Release() {
	if a.holders.Add(-1) > 0 {
		return
	}
	for _, v := range a.held {
		a.node.volumes.release(v)
	}
	a.then()
}

// Retire ends the streams of journals that other nodes read through this
// configuration: they ask the next one. Everything else goes on.
func (a *Attachment) Retire() { a.retire.Do(func() { close(a.retired) }) }

// Detach ends the configuration's hold: its rules are no longer in force, and
// those of the one below are again. When no request holds it any more, its
// stores are let go, and then is called. It must be called once.
func (a *Attachment) Detach(then func()) {
	a.then = then
	a.Retire()
	a.node.retire(a)
	a.Release()
}

// Attach has the node serve a configuration too, which from now on rules.
func (n *Node) Attach(spec Spec) (*Attachment, error) {
	stores, err := allStores(&spec, n.id.Name)
	if err != nil {
		return nil, err
	}
	spec.Stores = stores
	a := &Attachment{node: n, spec: spec, byName: make(map[string]*openVolume), then: func() {}, retired: make(chan struct{})}
	for _, s := range stores {
		v, err := n.volumes.hold(s.Store, spec.Config)
		if err != nil {
			for _, v := range a.held {
				n.volumes.release(v)
			}
			return nil, fmt.Errorf("opening store %s: %w", s.Name, err)
		}
		a.held = append(a.held, v)
		a.byName[s.Name] = v
	}
	a.holders.Store(1)
	n.enthrone(a)
	if !spec.Late {
		n.settle(a)
	}
	return a, nil
}

// allStores joins the stores of the configuration and of its handlers, each
// once, with their defaults.
func allStores(spec *Spec, nodeName string) ([]StoreSpec, error) {
	byName := make(map[string]StoreSpec)
	for _, s := range spec.Config.Stores {
		byName[s.Name] = StoreSpec{Store: s}
	}
	for _, s := range spec.Stores {
		byName[s.Name] = s
	}
	prism := nodeName
	if len(spec.Prisms) > 0 {
		names := make([]string, 0, len(spec.Prisms))
		for _, p := range spec.Prisms {
			or(&p.Name, nodeName)
			names = append(names, p.Name)
		}
		prism = slices.Min(names)
	}
	roots := make(map[string]string)
	var all []StoreSpec
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		if other, ok := roots[s.Root]; ok {
			return nil, fmt.Errorf("store %s: %s is the root of store %s already, give each store a root of its own", name, s.Root, other)
		}
		roots[s.Root] = name
		s.Store.SetDefaults()
		or(&s.Prism, prism)
		all = append(all, s)
	}
	return all, nil
}

// enthrone puts a configuration on the stack; a late one goes below.
func (n *Node) enthrone(a *Attachment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.spec.Late && len(n.stack) > 0 {
		n.stack = slices.Insert(n.stack, 0, a)
		return
	}
	n.stack = append(n.stack, a)
	n.rule(a)
	n.meet.Do(func() {
		swarms := n.others != nil && n.others.swarm != nil
		if swarms || n.redis != nil {
			n.stopDomains = append(n.stopDomains, n.spawn("alone", n.runAlone))
		}
		if swarms {
			n.stopDomains = append(n.stopDomains, n.spawn("swarm", n.others.swarm.Run))
		}
		if n.others != nil {
			n.stopDomains = append(n.stopDomains, n.spawn("heartbeat", n.others.pulse.monitor.Run))
		}
	})
}

// retire takes a configuration from the stack.
func (n *Node) retire(a *Attachment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ruled := n.stack[len(n.stack)-1] == a
	n.stack = slices.DeleteFunc(n.stack, func(other *Attachment) bool { return other == a })
	if ruled && len(n.stack) > 0 {
		n.rule(n.stack[len(n.stack)-1])
	}
}

// rule puts a configuration's rules in force; n.mu is held.
func (n *Node) rule(a *Attachment) {
	n.top.Store(a)
	n.core.swap(a.spec.Core)
	n.Users.SetDeclared(a.spec.Config.Users)
	n.Sessions.SetKeys(sessionKeys(a.spec.Config.Session.Keys))
	for _, s := range a.spec.Stores {
		v := a.byName[s.Name]
		if err := v.Configure(n.volumes.config(s.Store, a.spec.Config)); err != nil {
			n.log.Error("store does not take its settings", zap.String("store", s.Name), zap.Error(err))
		}
		n.volumes.setCache(v, int64(s.Cache))
	}
	if n.others != nil && n.others.swarm != nil {
		n.others.swarm.SetJoin(a.spec.Config.Cluster.Join)
	}
	n.useSecrets(a.spec.Config.Cluster.Secret)
	n.register()
}

// sessionKeys turns keys by user into users by key.
func sessionKeys(keys map[string]string) map[string]string {
	byKey := make(map[string]string, len(keys))
	for user, key := range keys {
		byKey[key] = user
	}
	return byKey
}

// CheckReload refuses settings that an open node can't take over.
func (n *Node) CheckReload(c *Config) error {
	own := &n.cfg
	name := c.Name
	or(&name, n.id.Name)
	for _, s := range []struct {
		setting string
		same    bool
	}{
		{"data", c.Data == own.Data},
		{"engine", c.Engine == own.Engine},
		{"name", name == n.id.Name},
		{"domain", c.Domain == own.Domain},
		{"cluster secret, the first or none", (len(c.Cluster.Secret) == 0) == (len(own.Cluster.Secret) == 0)},
		{"cluster trust", c.Cluster.Trust == own.Cluster.Trust},
		{"cluster client_auth", c.Cluster.ClientAuth == own.Cluster.ClientAuth},
		{"purchase zone", c.Purchase.Zone == own.Purchase.Zone},
	} {
		if !s.same {
			return fmt.Errorf("%s: changing it needs a restart: %w", s.setting, ErrRestart)
		}
	}
	return nil
}

// ErrRestart says that a setting can't change while the node is open.
var ErrRestart = errors.New("the running node keeps what it began with")

// register has the registry told of this node's peers, soon.
func (n *Node) register() {
	select {
	case n.changed <- struct{}{}:
	default: // it will be told anyway
	}
}
