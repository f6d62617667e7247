package redisdb

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// DefaultCacheSize is how many keys' records are kept in memory.
const DefaultCacheSize = 1 << 16

// Options says where the records are kept, and as whom this engine writes.
type Options struct {
	URL       string        // see Check
	Prefix    string        // what all keys begin with; "": oose
	Source    string        // the identity under which Update writes: random, kept by the caller
	Clock     *record.Clock // nil: a new one over the wall clock
	Logger    *zap.Logger   // nil: none
	CacheSize int           // keys whose records are kept in memory, 0: DefaultCacheSize

	patience time.Duration // by which tests on a busy machine stretch the bounds of time; 0: 1
}

// Engine keeps records in Redis. It implements record.Engine, record.Importer
// and record.Confirmer.
type Engine struct {
	source  string
	mode    mode
	layout  layout
	scripts scripts
	clock   *record.Clock
	log     *zap.Logger
	began   time.Time
	within  bounds

	data    *link // for those who read
	control *link // for the committer, the follower and upkeep: never waits behind them

	cache    *record.Cache[*group]
	states   [tags]tagState
	locked   atomic.Int64 // since began: when a lock was taken last; see TryLock
	watchers watchers
	commits  committer
	follow   follower
	confirms confirms
	health   health
	recent   recent
	running  run
	counters counters

	window  int                    // records that a walk puts in order at once
	handed  atomic.Bool            // somebody may know something of what was read
	refused atomic.Pointer[string] // why nothing is read or written: a newer format
}

var (
	_ record.Engine    = (*Engine)(nil)
	_ record.Importer  = (*Engine)(nil)
	_ record.Confirmer = (*Engine)(nil)
)

type counters struct {
	updates, conflicts, refused atomic.Uint64
	gets, loads, stale          atomic.Uint64
	resyncs, expired, overtaken atomic.Uint64
}

// Open prepares the engine. It does not wait for Redis: one that is away is a
// state, and every call then ends with record.ErrUnavailable at once. Updates
// wait until Run runs.
func Open(opts Options) (*Engine, error) {
	a, err := parseAddress(opts.URL)
	if err != nil {
		return nil, err
	}
	if opts.Prefix == "" {
		opts.Prefix = "oose"
	}
	if err := CheckPrefix(opts.Prefix); err != nil {
		return nil, err
	}
	if opts.Source == "" || len(opts.Source) > record.MaxKey || strings.IndexByte(opts.Source, 0) >= 0 {
		return nil, errors.New("the engine redis needs a source to write as")
	}
	secure, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	if opts.Clock == nil {
		opts.Clock = record.NewClock(nil)
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.patience == 0 {
		opts.patience = 1
	}
	within := newBounds(opts.patience)
	if opts.CacheSize <= 0 {
		opts.CacheSize = DefaultCacheSize
	}
	e := &Engine{
		source: opts.Source, mode: a.mode, layout: layout{prefix: opts.Prefix}, scripts: newScripts(),
		clock: opts.Clock, log: opts.Logger, began: time.Now(),
		within: within,
		data:   dial(&a, secure, within, dataConns), control: dial(&a, secure, within, controlConns),
		cache:   record.NewCache[*group](opts.CacheSize),
		running: run{stopped: make(chan struct{})},
		window:  walkWindow,
	}
	e.commits.init(e)
	e.follow.init(e)
	e.confirms.init(e)
	e.health.init(e)
	return e, nil
}

var prefixShape = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// CheckPrefix tells whether keys can begin with a prefix.
func CheckPrefix(prefix string) error {
	if !prefixShape.MatchString(prefix) {
		return fmt.Errorf("prefix of redis' keys: %.70q, use 1 to 64 letters, digits and the characters _ . : -", prefix)
	}
	return nil
}

// Source returns the identity under which Update writes.
func (e *Engine) Source() string { return e.source }

// Run writes, follows what others change, and tidies up, until ctx ends; then
// whatever waits is answered with record.ErrUnavailable. It can run once.
func (e *Engine) Run(ctx context.Context) error {
	ctx, ok := e.running.begin(ctx)
	if !ok {
		return errRunning
	}
	defer close(e.running.stopped)
	defer e.running.cancel()
	var parts sync.WaitGroup
	for _, part := range []func(context.Context){e.commits.run, e.follow.run, e.confirms.run, e.health.run, e.sweep} {
		parts.Go(func() { part(ctx) })
	}
	parts.Wait()
	return nil
}

// Close ends Run, waits for it, and closes the connections. Nothing that was
// acknowledged depends on it.
func (e *Engine) Close() error {
	if !e.running.close() {
		return nil
	}
	if err := errors.Join(e.data.close(), e.control.close()); err != nil {
		return fmt.Errorf("closing the connections to redis: %w", err)
	}
	return nil
}

// Watch has f called with what is changed; see record.Engine. f and stop run
// under the eyes of who tells: f must not call the engine, nor stop.
func (e *Engine) Watch(topic record.Topic, f func([]record.Record)) (stop func()) {
	return e.watchers.add(topic, f)
}

// usable tells why nothing can be asked at all.
func (e *Engine) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.running.shut.Load() {
		return errClosed
	}
	if why := e.refused.Load(); why != nil {
		return fmt.Errorf("%w: %s", record.ErrUnavailable, *why)
	}
	return nil
}

var (
	errRunning = errors.New("the engine runs already, or is closed")
	errClosed  = fmt.Errorf("%w: the engine is closed", record.ErrUnavailable)
	errStopped = fmt.Errorf("%w: the engine has stopped", record.ErrUnavailable)
	errAway    = fmt.Errorf("%w: redis is away", record.ErrUnavailable)
)

// run is Run's life.
type run struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // of the Run that runs
	begun   bool
	shut    atomic.Bool
	stopped chan struct{} // closed when Run has answered everything
}

// begin reports false where Run has been called, or never may be.
func (r *run) begin(ctx context.Context) (context.Context, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return ctx, false
	}
	r.begun = true
	ctx, r.cancel = context.WithCancel(ctx)
	return ctx, true
}

// close stops Run and waits for it; false where it had been called before.
func (r *run) close() bool {
	r.mu.Lock()
	if r.shut.Swap(true) {
		r.mu.Unlock()
		return false
	}
	if !r.begun {
		r.begun = true
		close(r.stopped)
	}
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	<-r.stopped
	return true
}
