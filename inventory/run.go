package inventory

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/record"
)

// retryScan is how long after a scan that failed the next one begins, where
// the store has had no whole one yet.
const retryScan = time.Minute

// Run looks after the disk until ctx ends or the volume is closed: it takes the
// root when that appears, scans it, tests its health, verifies what was found
// changed, obeys removals, and reads every clone again when its turn comes.
func (v *Volume) Run(ctx context.Context) error {
	release, ok := v.acquireOwn()
	if !ok {
		return v.fail("running", ErrOffline)
	}
	defer release()
	ctx, cancel := v.untilClosed(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.every(ctx, v.tune.readEvery, v.kick, v.testRead) })
	g.Go(func() error { return v.every(ctx, v.tune.writeEvery, nil, v.testWrite) })
	g.Go(func() error { return v.every(ctx, v.tune.readEvery, nil, v.keepTenure) })
	g.Go(func() error { return v.obeyRemovals(ctx) })
	g.Go(func() error { return v.verifyChanged(ctx) })
	g.Go(func() error { return v.scanOften(ctx) })
	g.Go(func() error { return v.scrubOften(ctx) })
	return g.Wait()
}

// every calls f now, then after each period and at each sign, until ctx ends.
func (v *Volume) every(ctx context.Context, period time.Duration, sign <-chan struct{}, f func(context.Context)) error {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		f(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-sign:
		}
	}
}

// scanOften scans when the root was taken and then every configured while.
func (v *Volume) scanOften(ctx context.Context) error {
	if err := v.recount(ctx); err != nil && ctx.Err() == nil {
		v.log.Warn("counting clones", zap.Error(err))
	}
	for {
		wait := v.cfg.Load().ScanEvery
		if _, scanned, _ := v.scans.status(); !scanned {
			wait = min(wait, retryScan)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-v.scans.rearm:
			timer.Stop()
			continue
		case <-v.scans.wanted:
		case <-timer.C:
		}
		timer.Stop()
		if v.disk.Load() == nil {
			continue
		}
		if _, err := v.scan(ctx, ScanOptions{}, nil, true); err != nil && ctx.Err() == nil {
			v.log.Warn("store not scanned to the end", zap.Error(err))
		}
	}
}

// scans keeps who scans a volume and what came of it.
type scans struct {
	place   chan struct{} // held by the one scan there is
	wanted  chan struct{}
	rearm   chan struct{}
	trusted chan struct{}

	mu       sync.Mutex
	yield    context.CancelFunc // ends the scan there is, nil where it is not to yield
	era      int                // how often begin was called
	scanning bool
	scanned  bool
	last     *ScanResult
}

func newScans() *scans {
	return &scans{place: make(chan struct{}, 1), wanted: make(chan struct{}, 1), rearm: make(chan struct{}, 1), trusted: make(chan struct{}, 1)}
}

// turn waits for the scan there is and has a background one end. The scan that
// follows uses the context that is returned and calls done with its result, nil
// where it did not come to its end.
func (s *scans) turn(ctx context.Context, background bool) (_ context.Context, done func(*ScanResult), err error) {
	if !background {
		s.mu.Lock()
		if s.yield != nil {
			s.yield()
		}
		s.mu.Unlock()
	}
	select {
	case s.place <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scanning = true
	if background {
		s.yield = cancel
	}
	era := s.era
	return ctx, func(result *ScanResult) {
		cancel()
		s.mu.Lock()
		s.scanning, s.yield = false, nil
		if result != nil {
			s.scanned, s.last = s.scanned || era == s.era, result
		}
		s.mu.Unlock()
		<-s.place
	}, nil
}

func (s *scans) status() (scanning, scanned bool, last *ScanResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scanning, s.scanned, s.last
}

// begin says that the root was taken anew, or let go of, or that records are
// gone: what was scanned, also by the scan there is, says nothing of what is there
// now.
func (s *scans) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scanned = false
	s.era++
}

func (s *scans) want()         { sign(s.wanted) }
func (s *scans) wantVerified() { sign(s.trusted) }
func (s *scans) changeEvery()  { sign(s.rearm) }

// sign leaves a sign where none is waiting.
func sign(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// heedLoss has the disk scanned where the engine can't tell what became of the
// records: Redis was flushed, or has forgotten what it had not written. Until
// then this store may hold what no record says.
func (v *Volume) heedLoss(records []record.Record) {
	if !slices.ContainsFunc(records, func(r record.Record) bool { return r.Key == "" }) {
		return
	}
	v.ScanAnew()
}

// ScanAnew has the disk scanned as if the root had just been taken, because
// records of it are gone: until that is done the store may hold what no record
// says. A scan that is under way does not count. It returns at once.
func (v *Volume) ScanAnew() {
	v.scans.begin()
	v.untold.Store(nil)
	v.scans.want()
}
