package journal

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Errors of Open on which callers decide.
var (
	// ErrLocked says that another process has this database open.
	ErrLocked = errors.New("the database is in use by another process")
	// ErrFormat says that a newer OOSE wrote this database.
	ErrFormat = errors.New("the database has a newer format")
)

// formatVersion is what this code reads and writes.
const formatVersion = 2

// Defaults of Options.
const (
	DefaultFloor     = 64 << 20
	DefaultBallast   = 16 << 20
	DefaultCacheSize = 8192
)

// Options says where and how a journal is kept.
type Options struct {
	// Dir is the folder of the database, made when it is missing. It must be
	// on a local file system: the lock does not hold on others.
	Dir string
	// Clock gives the records' times; nil: a new one over the wall clock.
	Clock *record.Clock
	// Logger is the journal's; nil: none.
	Logger *zap.Logger
	// Floor is the free space in bytes below which nothing is written (it
	// grows with the database, up to 1 GiB); 0: DefaultFloor, negative: none.
	Floor int64
	// Ballast is the size in bytes of a file that is given back when the disk
	// is nearly full, so that the node starts; 0: DefaultBallast, negative: none.
	Ballast int64
	// CacheSize is how many keys' records Get keeps in memory; 0: DefaultCacheSize.
	CacheSize int
	// Cluster says that other nodes follow this database, or may have followed
	// it. It is found out where this one has followed others.
	Cluster bool

	every time.Duration // between two rounds of upkeep; 0: upkeepEvery
}

// Journal keeps records in a Badger database. It implements record.Engine.
type Journal struct {
	db      *badger.DB // readers hold readers, who merges holds merging; the committer may replace it
	cramped bool       // it was opened so as to write nothing by itself; the committer's
	merging sync.Mutex
	damaged atomic.Bool // see verify
	clock   *record.Clock
	log     *zap.Logger
	source  atomic.Pointer[string] // the committer replaces it, see Part
	cache   *record.Cache[[]record.Record]
	space   *space
	pending hints
	readers gate

	watchers watchers

	live       chan *request // own updates, and what other sources write now
	background chan *request // catching up, sweeping
	running    run
	every      time.Duration
	sync       func(*badger.Txn) error // commits durably; tests let it fail
	folder     folder                  // the committer's

	committed committed // what the committer alone changes
	// settled is, for each source, up to where everything that is alive is
	// here, without a claim that says so yet: what it lacks must not come
	// back. The committer's, as is fresh: passes through sources of which
	// there is nothing here but what the pass itself brought.
	settled   map[string]uint64
	fresh     map[string]*pass
	branched  map[string]bool // first sources that have branches; the committer's
	followers followers
	resumes   resumes
	counters  counters
}

var _ record.Engine = (*Journal)(nil)

type counters struct {
	commits, updates, conflicts, refused atomic.Uint64
	expired                              atomic.Uint64
	streams, follows                     atomic.Int64
	gets, loads                          atomic.Uint64
}

// Open opens or makes the database. Its errors: ErrLocked, ErrFormat,
// record.ErrUnavailable where the disk is too full to start, and others.
// Updates wait until Run runs.
func Open(opts Options) (*Journal, error) {
	opts = opts.withDefaults()
	if err := makeFolder(opts.Dir); err != nil {
		return nil, fmt.Errorf("making the database's folder: %w", err)
	}
	room := &space{dir: opts.Dir, floor: opts.Floor, ballast: opts.Ballast, log: opts.Logger, free: freeSpace}
	cramped, err := room.prepare()
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db, err := openBadger(badgerOptions(opts.Dir, opts.Logger, cramped))
	if err != nil {
		if locked(err) {
			return nil, fmt.Errorf("opening the database in %s: %w", opts.Dir, ErrLocked)
		}
		return nil, fmt.Errorf("opening the database in %s: %w", opts.Dir, err)
	}
	j := &Journal{
		db:         db,
		cramped:    cramped,
		clock:      opts.Clock,
		log:        opts.Logger,
		cache:      record.NewCache[[]record.Record](opts.CacheSize),
		space:      room,
		live:       make(chan *request, maxChanges),
		background: make(chan *request),
		running:    run{stopped: make(chan struct{})},
		every:      opts.every,
		sync:       (*badger.Txn).Commit,
		folder:     folder{path: opts.Dir, sync: syncFolder},
		settled:    make(map[string]uint64),
		fresh:      make(map[string]*pass),
		branched:   make(map[string]bool),
	}
	if err := j.load(opts.Cluster); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database in %s: %w", opts.Dir, err), db.Close())
	}
	if cramped {
		room.refused.Store(true)
		j.log.Warn("too little free space for the database, it is only read", zap.String("dir", opts.Dir))
	}
	j.measure()
	room.upkeep()
	return j, nil
}

const (
	lockWait  = time.Second // for the database to be let go
	lockRetry = 20 * time.Millisecond
)

// openBadger opens a database. One that was just closed may look as if another
// process had it: whoever is being started at that moment holds all that this
// process had open, the lock as well, until it begins.
func openBadger(opts badger.Options) (*badger.DB, error) {
	for began := time.Now(); ; time.Sleep(lockRetry) {
		db, err := badger.Open(opts)
		if !locked(err) || time.Since(began) > lockWait {
			return db, err
		}
	}
}

func locked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Another process is using this Badger database")
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = record.NewClock(nil)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Floor == 0 {
		o.Floor = DefaultFloor
	}
	if o.Ballast == 0 {
		o.Ballast = DefaultBallast
	}
	if o.every == 0 {
		o.every = upkeepEvery
	}
	if o.CacheSize <= 0 {
		o.CacheSize = DefaultCacheSize
	}
	return o
}

// badgerOptions keeps an idle node small (the default tables in memory are 64
// MiB each, the block cache 256 MiB), and a compaction within the floor. On a
// cramped disk there is no compaction, and nobody waits for one.
func badgerOptions(dir string, log *zap.Logger, cramped bool) badger.Options {
	opts := badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(levelZeroTables).
		WithNumLevelZeroTablesStall(10).
		WithNumCompactors(2).
		WithValueLogFileSize(16 << 20).
		WithValueThreshold(2 * record.MaxValue). // all values are in the tables
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(8 << 20).
		WithChecksumVerificationMode(options.OnBlockRead)
	if cramped {
		opts = opts.WithNumCompactors(0).WithNumLevelZeroTablesStall(1000)
	}
	return opts
}

const (
	memTableSize    = 8 << 20
	levelZeroTables = 3 // tables of the first level from which on they are merged
)

// Source returns the identity under which this database writes, random and
// made with it; Part may change it.
func (j *Journal) Source() string { return *j.source.Load() }

// Head returns the last revision that this source gave.
func (j *Journal) Head() uint64 { return j.committed.head.Load() }

// Close ends Run, waits for what reads, and closes the database. Nothing that
// was acknowledged depends on it. Where the disk is too full for Badger to
// close, the database is left as after a crash, and the error says so.
func (j *Journal) Close() error {
	if !j.readers.close() {
		return nil
	}
	j.running.end()
	j.merging.Lock()
	defer j.merging.Unlock()
	if err := j.space.ready(); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	if err := j.db.Close(); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}
