package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// VolumeConfig says what one store is. Zero durations and counts mean the
// defaults.
type VolumeConfig struct {
	Name string // the store's, unique in the cluster; can't change later
	Root string // its folder; relative to the working folder; can't change later

	Reserve     int64         // bytes of free space below which it is not writable; 0: no reserve
	Mount       bool          // offline unless the root is a mount point
	ScanEvery   time.Duration // from the end of a scan to the next; default 1 h
	ScanWorkers int           // folders listed and files hashed at the same time, at most 64; default 4
	VerifyEvery time.Duration // each clone is read again within it; one verified more recently is not read unasked; default 180 d
	ScrubRate   int64         // bytes a second that are read for that; default 20 MB

	// KnownID is the id that the cluster knows under this name, "" where it
	// never saw one. A root without that id is offline until Adopt.
	KnownID string
	// Known is asked for KnownID once more before a root without a marker becomes a
	// new store. Its error, that this is not known yet, keeps the volume offline
	// until a later try, every few seconds. May be nil.
	Known func() (id string, err error)
	// Claim is asked before the volume takes a marker's id; its error keeps the
	// volume offline (another live store has that id), until a later try, every
	// few seconds, is allowed. May be nil.
	Claim func(id string) error
	// Source is under which the engine writes now; it may change while the
	// volume runs. nil: whatever records there are count, and are not written
	// anew.
	Source func() string
	// Owner is what Index.SetOwners is given. While it does not say that Source
	// owns this store completely, every scan writes the records of others anew.
	// May be nil.
	Owner Owners
	// Rewritten is told that the source has written all there is of the store
	// with this id: from now on Owner may say so. Its error has it told again
	// after the next scan. May be nil.
	Rewritten func(ctx context.Context, id, source string) error
	// Bad is told of each content whose clone turned out wrong, unreadable or
	// missing, after its record was taken back. It must be quick and must not
	// call the volume. May be nil.
	Bad func(content.Hash)
	// Notify is told of every change of state, one at a time. It must be quick
	// and must not call the volume. May be nil.
	Notify func(Status)

	tuning *tuning // nil: the defaults
	hook   disk.Hook
}

// tuning is how long the volume waits for its disk, and how often it looks.
type tuning struct {
	open       time.Duration // opening, creating, renaming and removing one file
	list       time.Duration // listing one folder of content
	read       time.Duration // reading one block while verifying
	sync       time.Duration // making a clone durable, besides a second for each syncRate bytes
	readTest   time.Duration
	writeTest  time.Duration
	readEvery  time.Duration // between two tests
	writeEvery time.Duration
	suspectFor time.Duration // since the last failure, before a passed test clears it
	closing    time.Duration // for operations that are still with the disk
	reread     time.Duration // before what could not be read is tried again
}

func defaultTuning() *tuning {
	return &tuning{
		open: 5 * time.Second, list: time.Minute, read: 30 * time.Second, sync: time.Minute,
		readTest: 5 * time.Second, writeTest: time.Minute, readEvery: 3 * time.Second, writeEvery: 10 * time.Second,
		suspectFor: 30 * time.Second, closing: 10 * time.Second, reread: 2 * time.Second,
	}
}

// How many operations of one kind may be with the disk at the same time.
const (
	readPlaces  = 64
	writePlaces = 64
	backPlaces  = maxWorkers + 8
	maxWorkers  = 64
)

// Volume is one store's root on one medium. All methods can be called at the
// same time.
type Volume struct {
	name, root string
	engine     record.Engine
	clock      *record.Clock
	log        *zap.Logger
	tune       *tuning
	hook       disk.Hook
	cfg        atomic.Pointer[VolumeConfig]

	id   atomic.Pointer[string]
	disk atomic.Pointer[disk.Root] // nil while no root is held
	condition

	media atomic.Uint64                          // how often a root was taken
	giver atomic.Pointer[func(bytes int64) bool] // makes room for clones

	// One gate for each kind of work, so that none starves another.
	reads, writes, back, readTests, writeTests *gate
	attaching                                  chan struct{} // a place for who attaches or detaches
	tried                                      chan struct{} // ends with the first try to take the root
	triedOnce                                  sync.Once
	locks                                      *stripes
	handing                                    handing

	untold    atomic.Pointer[tenure] // what Rewritten has not been told yet
	scannedAs atomic.Pointer[string] // the source when the latest scan began

	changed  *backlog // clones that were found changed
	removals *backlog // contents with a new removal
	scans    *scans
	scrub    *scrubber
	kick     chan struct{} // has the disk looked at now

	clones, bytes atomic.Int64 // recorded, about
	writesDone    atomic.Int64 // changes to these since the start

	users     atomic.Int64
	own       atomic.Int64 // users that are the volume's own work
	closing   atomic.Bool
	idle      chan struct{}   // a sign that the last user left while closing
	life      context.Context // ended by Close
	end       context.CancelFunc
	release   func()
	stopWatch func()
}

// OpenVolume takes a store's root. A disk that is missing, foreign or broken
// gives a volume that is offline and says why; an error means that the
// configuration is invalid. Run keeps the volume alive, Close ends it.
func OpenVolume(cfg VolumeConfig, e record.Engine, clock *record.Clock, log *zap.Logger) (*Volume, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	v := &Volume{
		name: cfg.Name, root: cfg.Root, engine: e, clock: clock, log: log.With(zap.String("store", cfg.Name)),
		tune: cfg.tuning, hook: cfg.hook,
		reads: newGate(readPlaces), writes: newGate(writePlaces), back: newGate(backPlaces), readTests: newGate(1), writeTests: newGate(1),
		attaching: make(chan struct{}, 1), tried: make(chan struct{}), locks: newStripes(),
		changed: newBacklog(), removals: newBacklog(), scans: newScans(), scrub: newScrubber(), kick: make(chan struct{}, 1),
		idle: make(chan struct{}, 1),
	}
	v.life, v.end = context.WithCancel(context.Background())
	v.release = v.leave
	v.cfg.Store(&cfg)
	v.id.Store(&cfg.KnownID)
	v.condition.reserve = cfg.Reserve
	v.condition.offline = "not opened yet"
	v.condition.notify = v.tell
	removals, clones := e.Watch(record.Removal, v.removals.addRecords), e.Watch(record.Inventory, v.heedLoss)
	v.stopWatch = func() { removals(); clones() }
	if err := v.attach(context.Background(), false); err != nil {
		v.log.Warn("store is offline", zap.Error(err))
	}
	return v, nil
}

// fill checks a configuration and puts the defaults in.
func (c *VolumeConfig) fill() error {
	if err := peer.CheckName(c.Name); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if c.Root == "" {
		return fmt.Errorf("store %s: it has no root", c.Name)
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return fmt.Errorf("store %s: %w", c.Name, err)
	}
	if c.Reserve < 0 || c.ScanEvery < 0 || c.VerifyEvery < 0 || c.ScrubRate < 0 || c.ScanWorkers < 0 || c.ScanWorkers > maxWorkers {
		return fmt.Errorf("store %s: reserve, scan, verify and scrub settings must not be negative, and workers at most %d", c.Name, maxWorkers)
	}
	c.Root = root
	c.ScanEvery = cmp.Or(c.ScanEvery, time.Hour)
	c.ScanWorkers = cmp.Or(c.ScanWorkers, 4)
	c.VerifyEvery = cmp.Or(c.VerifyEvery, 180*24*time.Hour)
	c.ScrubRate = cmp.Or(c.ScrubRate, defaultScrubRate)
	if c.tuning == nil {
		c.tuning = defaultTuning()
	}
	return nil
}

// Configure takes changed settings over; callbacks that are nil keep what
// there was. Name and root must be the same.
func (v *Volume) Configure(cfg VolumeConfig) error {
	old := v.cfg.Load()
	cfg.tuning, cfg.hook = old.tuning, old.hook
	if cfg.Claim == nil {
		cfg.Claim = old.Claim
	}
	if cfg.Known == nil {
		cfg.Known = old.Known
	}
	if cfg.Notify == nil {
		cfg.Notify = old.Notify
	}
	if cfg.Source == nil {
		cfg.Source = old.Source
	}
	if cfg.Owner == nil {
		cfg.Owner = old.Owner
	}
	if cfg.Rewritten == nil {
		cfg.Rewritten = old.Rewritten
	}
	if cfg.Bad == nil {
		cfg.Bad = old.Bad
	}
	if err := cfg.fill(); err != nil {
		return err
	}
	if cfg.Name != v.name || cfg.Root != v.root {
		return fmt.Errorf("store %s at %s: can't become %s at %s", v.name, v.root, cfg.Name, cfg.Root)
	}
	v.cfg.Store(&cfg)
	v.know(cfg.KnownID)
	v.condition.change(func(f *facts) { f.reserve = cfg.Reserve })
	v.scans.changeEvery()
	if cfg.VerifyEvery != old.VerifyEvery {
		sign(v.scrub.rearm)
	}
	v.look()
	return nil
}

// Name returns the store's name.
func (v *Volume) Name() string { return v.name }

// ID returns the store's id, "" while none is known.
func (v *Volume) ID() string { return *v.id.Load() }

// know takes the store's id, where none is known.
func (v *Volume) know(id string) {
	if old := v.id.Load(); *old == "" {
		v.id.CompareAndSwap(old, &id)
	}
}

// Root returns the absolute path of the store's root.
func (v *Volume) Root() string { return v.root }

// Readable tells whether clones can be opened. It is cheap.
func (v *Volume) Readable() bool { return v.condition.readable.Load() }

// Writable tells whether a new clone would be taken. It is cheap.
func (v *Volume) Writable() bool { return v.condition.writable.Load() }

// InFlight returns how many users the volume has right now. It is cheap.
func (v *Volume) InFlight() int64 { return v.users.Load() }

// Status returns the volume's state.
func (v *Volume) Status() Status {
	verdict, space := v.condition.now()
	return v.status(verdict, space)
}

func (v *Volume) status(verdict verdict, space disk.Space) Status {
	s := Status{
		Name: v.name, ID: v.ID(), Root: v.root,
		State: verdict.state, Writable: verdict.writable, Reason: verdict.reason,
		Free: space.Free, Total: space.Total, Used: v.bytes.Load(), Clones: v.clones.Load(),
		InFlight: max(0, v.users.Load()-v.own.Load()),
	}
	s.Scanning, s.Scanned, s.LastScan = v.scans.status()
	s.Scrub = v.scrubStatus()
	return s
}

// tell passes a new verdict on; the condition calls it, holding its lock.
func (v *Volume) tell() {
	verdict := v.condition.verdict()
	v.log.Info("store's state changed", zap.String("state", string(verdict.state)), zap.Bool("writable", verdict.writable), zap.String("reason", verdict.reason))
	if notify := v.cfg.Load().Notify; notify != nil {
		notify(v.status(verdict, v.condition.space))
	}
}

// Acquire counts a user of the volume, for whom Close waits; release must be
// called once. It reports false where the volume is closing.
func (v *Volume) Acquire() (release func(), ok bool) {
	v.users.Add(1)
	if v.closing.Load() {
		v.leave()
		return nil, false
	}
	return v.release, true
}

// acquireOwn is Acquire for work that is no request.
func (v *Volume) acquireOwn() (release func(), ok bool) {
	if _, ok := v.Acquire(); !ok {
		return nil, false
	}
	v.own.Add(1)
	return func() {
		v.own.Add(-1)
		v.leave()
	}, true
}

func (v *Volume) leave() {
	if v.users.Add(-1) == 0 && v.closing.Load() {
		sign(v.idle)
	}
}

// Close refuses new users, has Run and scans end, waits for the users there
// are, and lets go of the root. It leaves behind what a disk that hangs does
// not let go of.
func (v *Volume) Close() error {
	if v.closing.Swap(true) {
		return nil
	}
	v.end()
	left := v.awaitUsers()
	v.stopWatch()
	stuck, until := 0, time.Now().Add(v.tune.closing)
	for _, g := range []*gate{v.reads, v.writes, v.back, v.readTests, v.writeTests} {
		stuck += g.drain(time.Until(until))
	}
	var err error
	if left > 0 || stuck > 0 {
		err = fmt.Errorf("closing store %s: %w: %d users and %d operations are still with it", v.name, errNoAnswer, left, stuck)
	}
	if root := v.disk.Swap(nil); root != nil {
		err = errors.Join(err, root.Close())
	}
	v.condition.change(func(f *facts) { f.offline = "closed" })
	return err
}

// awaitUsers waits for the users there are as long as the disk answers. Those
// of a disk that hangs may hang as well: it returns how many it left behind.
func (v *Volume) awaitUsers() int64 {
	ticker := time.NewTicker(v.tune.readEvery)
	defer ticker.Stop()
	answered := time.Now()
	for {
		users := v.users.Load()
		if users <= 0 {
			return 0
		}
		select {
		case <-v.idle:
		case <-ticker.C:
			if v.answers() {
				answered = time.Now()
			} else if time.Since(answered) >= v.tune.closing {
				return users
			}
		}
	}
}

// answers tells whether the disk answers, be it with an error.
func (v *Volume) answers() bool {
	root := v.disk.Load()
	if root == nil {
		return true // operations on what was let go of end by themselves
	}
	err := do(context.Background(), v.readTests, v.tune.readTest, func() error { return root.Present(false) }, nil)
	return !errors.Is(err, errNoAnswer) && !errors.Is(err, errBusy)
}

// untilClosed returns a context that also ends when the volume is closed.
func (v *Volume) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(v.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// look has Run test the disk now.
func (v *Volume) look() { sign(v.kick) }
