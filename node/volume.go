package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
)

// openVolume is a store of this process while somebody holds it.
type openVolume struct {
	*inventory.Volume
	holders int    // configurations; guarded by volumes.mu
	stop    func() // ends its Run and waits for it
	cache   atomic.Pointer[pull.Cache]
	log     *zap.Logger

	mu     sync.Mutex // guards what follows
	id     string     // under which the registry knows it
	detach func()     // takes it back from there
}

// volumes is the stores of this process. It is what the handlers ask for them.
type volumes struct {
	node   *Node
	caches pull.Set // of pull-through copies

	mu   sync.Mutex
	list atomic.Pointer[[]*openVolume] // replaced under mu, read without
}

func (vs *volumes) all() []*openVolume {
	if list := vs.list.Load(); list != nil {
		return *list
	}
	return nil
}

// Volume returns the volume of the store with this id, if it is open here. A
// root that was refused because another node has its store is not that store.
func (vs *volumes) Volume(id string) (*inventory.Volume, bool) {
	for _, v := range vs.all() {
		if id != "" && v.ID() == id && !vs.node.refused(v) {
			return v.Volume, true
		}
	}
	return nil, false
}

// Volumes returns the stores of this process in the order of their names.
func (vs *volumes) Volumes() []*inventory.Volume {
	var list []*inventory.Volume
	for _, v := range vs.all() {
		list = append(list, v.Volume)
	}
	slices.SortFunc(list, func(a, b *inventory.Volume) int { return strings.Compare(a.Name(), b.Name()) })
	return list
}

// Scanning tells whether a store here has not finished its first scan.
func (vs *volumes) Scanning() bool {
	for _, v := range vs.all() {
		if v.Readable() && !v.Status().Scanned {
			return true
		}
	}
	return false
}

// config is what a volume is told of its settings.
func (vs *volumes) config(s Store, c Config) inventory.VolumeConfig {
	return inventory.VolumeConfig{
		Name: s.Name, Root: s.Root,
		Reserve: int64(s.Reserve), Mount: s.Mount,
		ScanEvery: c.Scan.Every.Std(), ScanWorkers: c.Scan.Workers, VerifyEvery: c.Scrub.Every.Std(), ScrubRate: int64(c.Scrub.Bandwidth),
		KnownID: vs.node.knownStore(s.Name),
		Known:   func() (string, error) { return vs.node.known(s.Name) },
		Claim:   func(id string) error { return vs.claim(s, id) },
		Source:  vs.node.engine.Source, Owner: vs.node.owner, Rewritten: vs.node.wrote,
		Bad: func(h content.Hash) { vs.node.repair.Soon(h) },
		Notify: func(s inventory.Status) {
			vs.node.register()
			if a := vs.node.top.Load(); a != nil && a.spec.Notify != nil {
				a.spec.Notify(s)
			}
		},
	}
}

// claim refuses an id that another store of this process has: a root was
// copied, or is mounted twice.
func (vs *volumes) claim(s Store, id string) error {
	for _, v := range vs.all() {
		if v.ID() == id && (v.Root() != s.Root || v.Name() != s.Name) {
			return fmt.Errorf("%s has the same identity as %s, the root of store %s: one is a copy of the other, or is mounted twice", s.Root, v.Root(), v.Name())
		}
	}
	return vs.node.claim(id)
}

// hold opens a store, or counts one more holder of an open one.
func (vs *volumes) hold(s Store, c Config) (*openVolume, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for _, v := range vs.all() {
		if v.Name() == s.Name && v.Root() == s.Root {
			v.holders++
			return v, nil
		}
	}
	n := vs.node
	volume, err := inventory.OpenVolume(vs.config(s, c), n.engine, n.clock, n.log.Named("store"))
	if err != nil {
		return nil, err
	}
	v := &openVolume{Volume: volume, holders: 1, log: n.log.Named("store")}
	v.stop = n.spawn("store "+s.Name, func(ctx context.Context) error {
		if !n.Registry.Loaded() { // whether the store is known decides what may be done to its root
			if err := n.Registry.Await(ctx); err != nil {
				return err
			}
			if err := volume.Configure(vs.config(s, c)); err != nil {
				return err
			}
		}
		return volume.Run(ctx)
	})
	vs.set(append(slices.Clone(vs.all()), v))
	vs.setCache(v, int64(s.Cache))
	return v, nil
}

// release gives a hold back; the last one closes the store.
func (vs *volumes) release(v *openVolume) {
	if !vs.letGo(v) {
		return
	}
	v.takeBack()
	if o := vs.node.others; o != nil && o.server != nil {
		o.server.LetGo(v.ID())
	}
	v.closeCache()
	vs.useCaches()
	v.stop()
	if err := v.Close(); err != nil {
		vs.node.log.Error("closing a store", zap.String("store", v.Name()), zap.Error(err))
	}
}

// letGo takes one holder off a store and reports whether it was the last.
func (vs *volumes) letGo(v *openVolume) bool {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.holders--
	if v.holders > 0 {
		return false
	}
	vs.set(slices.DeleteFunc(slices.Clone(vs.all()), func(other *openVolume) bool { return other == v }))
	return true
}

func (vs *volumes) set(list []*openVolume) { vs.list.Store(&list) }

// takeBack has the registry no longer take the store for one of this process.
func (v *openVolume) takeBack() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.detach != nil {
		v.detach()
	}
	v.id, v.detach = "", nil
}
