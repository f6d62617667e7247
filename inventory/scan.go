package inventory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/inventory/disk"
)

// ScanOptions says how a scan goes about files without a record.
type ScanOptions struct {
	// Trust records them at once, unread, on the operator's word, and has them
	// verified in the background afterwards.
	Trust bool

	rewrite bool // write records of others anew whatever Owner says
}

// ScanProgress is how far a scan or a verification has come.
type ScanProgress struct {
	Folders int   `json:"folders"`         // of 256, finished
	Files   int64 `json:"files"`           // seen
	Hashed  int64 `json:"hashed"`          // read in full
	Bytes   int64 `json:"bytes"`           // read
	Total   int64 `json:"total,omitempty"` // files there are, about; 0: not known
}

// ScanResult is what a scan has found and done.
type ScanResult struct {
	Started    int64 `json:"started"`    // milliseconds since 1970
	Finished   int64 `json:"finished"`   // milliseconds since 1970
	Files      int64 `json:"files"`      // content files seen
	Bytes      int64 `json:"bytes"`      // their size
	Appeared   int64 `json:"appeared"`   // files without a record, now recorded
	Vanished   int64 `json:"vanished"`   // records without a file, taken back
	Changed    int64 `json:"changed"`    // files not as recorded, found sound
	Failed     int64 `json:"failed"`     // files with another digest than their name, quarantined
	Dropped    int64 `json:"dropped"`    // files that a removal concerns, removed
	Duplicates int64 `json:"duplicates"` // second files of one content, left alone
	Rewritten  int64 `json:"rewritten"`  // records of others that were written anew
	Foreign    int64 `json:"foreign"`    // files and folders that are none of ours, left alone
	Errors     int64 `json:"errors"`     // files and folders that could not be judged, left alone
}

// How a scan goes about its work.
const (
	pageLen       = 1024 // records read at once
	updateLen     = 256  // records written at the same time, for one commit to take them together
	progressEvery = 200 * time.Millisecond
)

// scan is one run over a store.
type scan struct {
	v       *Volume
	root    *disk.Root
	opts    ScanOptions
	source  string          // under which records of others are written anew, "": they are not
	updates *errgroup.Group // tombstones and trusted files
	report  func(ScanProgress)

	folders                                               atomic.Int64
	files, size, hashed, read                             atomic.Int64
	appeared, vanished, changed, failed, dropped, doubles atomic.Int64
	foreign, errors, rewritten                            atomic.Int64
	unwritten                                             atomic.Int64 // records, or folders of them, that were not
	unread                                                atomic.Bool  // some clones were recorded on the operator's word and not read since

	mu       sync.Mutex
	reported time.Time
}

// Scan compares the disk with the records, both ways: files without a record
// are read and recorded, records without a file taken back, files that are not
// as recorded read again. It takes over from a scan that Run has begun. What
// was recorded stays when ctx ends it, so that the next one goes on from there.
func (v *Volume) Scan(ctx context.Context, opts ScanOptions, progress func(ScanProgress)) (ScanResult, error) {
	return v.scan(ctx, opts, progress, false)
}

func (v *Volume) scan(ctx context.Context, opts ScanOptions, progress func(ScanProgress), background bool) (ScanResult, error) {
	release, ok := v.acquireOwn()
	if !ok {
		return ScanResult{}, v.fail("scanning", ErrOffline)
	}
	defer release()
	ctx, cancel := v.untilClosed(ctx)
	defer cancel()
	turn, done, err := v.scans.turn(ctx, background)
	if err != nil {
		return ScanResult{}, v.fail("scanning", err)
	}
	root, err := v.taken()
	if err != nil {
		done(nil)
		return ScanResult{}, v.fail("scanning", err)
	}
	s := &scan{v: v, root: root, opts: opts, source: v.rewriting(opts), report: progress}
	source := v.source()
	v.scannedAs.Store(&source)
	result, err := s.run(turn)
	if err != nil {
		done(nil)
		return result, v.fail("scanning", err)
	}
	done(&result)
	v.log.Info("store scanned", zap.Any("result", result))
	if s.unread.Load() {
		v.scans.wantVerified()
	}
	if s.source != "" {
		err = v.told(ctx, s)
	}
	if err != nil && opts.rewrite {
		return result, v.fail("writing the inventory anew", err)
	}
	if err != nil && ctx.Err() == nil {
		v.log.Warn("inventory not written anew; it is tried again", zap.Error(err))
	}
	return result, nil
}

func (s *scan) run(ctx context.Context) (ScanResult, error) {
	started := s.v.clock.Wall().UnixMilli()
	changes := s.v.writesDone.Load()
	if err := s.v.sweepRemovals(ctx); err != nil {
		return ScanResult{}, err
	}
	_, foreign, err := s.pairs(ctx, "")
	if err != nil {
		return ScanResult{}, err
	}
	s.foreign.Add(int64(foreign))
	// Not errgroup.WithContext, whose context ends with the workers: what they
	// have left to the updates goes on.
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := &errgroup.Group{}
	workers.SetLimit(s.v.cfg.Load().ScanWorkers)
	s.updates = &errgroup.Group{}
	s.updates.SetLimit(updateLen)
	for i := range 256 {
		workers.Go(func() error {
			if err := working.Err(); err != nil {
				return err
			}
			err := s.folder(working, hex.EncodeToString([]byte{byte(i)}))
			if err != nil {
				cancel(err)
			}
			s.folders.Add(1)
			s.progress(false)
			return err
		})
	}
	err = errors.Join(workers.Wait(), s.updates.Wait())
	if cause := context.Cause(working); cause != nil {
		err = cause // the first error, not those that followed from it
	}
	s.progress(true)
	result := ScanResult{
		Started: started, Finished: s.v.clock.Wall().UnixMilli(), Files: s.files.Load(), Bytes: s.size.Load(),
		Appeared: s.appeared.Load(), Vanished: s.vanished.Load(), Changed: s.changed.Load(), Failed: s.failed.Load(),
		Dropped: s.dropped.Load(), Duplicates: s.doubles.Load(), Rewritten: s.rewritten.Load(), Foreign: s.foreign.Load(), Errors: s.errors.Load(),
	}
	if err == nil && (changes != s.v.writesDone.Load() || s.v.clones.Load() != result.Files-result.Duplicates) {
		err = s.v.recount(ctx)
	}
	return result, err
}

// pairs lists the folders of one level, with the disk's deadline.
func (s *scan) pairs(ctx context.Context, pair string) ([]string, int, error) {
	type level struct {
		names   []string
		foreign int
	}
	l, err := through(ctx, s.v.back, s.v.tune.list, func() (level, error) {
		names, foreign, err := s.root.Pairs(pair)
		return level{names, foreign}, err
	}, nil)
	return l.names, l.foreign, s.v.judge(err)
}

// progress reports, now and then or at once.
func (s *scan) progress(now bool) {
	if s.report == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now && time.Since(s.reported) < progressEvery {
		return
	}
	s.reported = time.Now()
	s.report(ScanProgress{
		Folders: int(s.folders.Load()), Files: s.files.Load(), Hashed: s.hashed.Load(), Bytes: s.read.Load(), Total: s.v.clones.Load(),
	})
}

// recount sets the volume's totals by its records.
func (v *Volume) recount(ctx context.Context) error {
	if v.ID() == "" {
		return nil // no root was ever held
	}
	totals, err := count(ctx, v.engine, v.whose(), v.ID())
	if err != nil {
		return fmt.Errorf("counting clones: %w", err)
	}
	v.clones.Store(totals.Clones)
	v.bytes.Store(totals.Bytes)
	return nil
}
