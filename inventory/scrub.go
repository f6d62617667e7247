package inventory

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/scrub"
	"github.com/ooseio/oose/record"
)

// defaultScrubRate is how many bytes a second a scrub reads of one store.
const defaultScrubRate = 20e6

// errNotScrubbed says that a store can't be scrubbed now.
var errNotScrubbed = errors.New("the store is not scanned yet")

// scrubber is what a volume's scrub knows of itself. How far it has come stands
// in the records alone: when each clone was last verified.
type scrubber struct {
	rearm chan struct{} // the period has changed
	asked atomic.Int32  // verifications of the whole store that somebody waits for

	mu     sync.Mutex
	status ScrubStatus
	meter  scrub.Meter
}

func newScrubber() *scrubber { return &scrubber{rearm: make(chan struct{}, 1)} }

// scrubOften goes over the store's clones again and again, reading those whose
// turn it is, until ctx ends. What was recorded on the operator's word is read
// as soon as it is known.
func (v *Volume) scrubOften(ctx context.Context) error {
	timer := time.NewTimer(scrub.First(v.cfg.Load().VerifyEvery))
	defer timer.Stop()
	for {
		trusted := false
		select {
		case <-ctx.Done():
			return nil
		case <-v.scrub.rearm:
			timer.Reset(scrub.First(v.cfg.Load().VerifyEvery))
			continue
		case <-v.scans.trusted:
			trusted = true
		case <-timer.C:
		}
		err := v.scrubRound(ctx, trusted)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !errors.Is(err, errNotScrubbed) {
				v.log.Warn("store not scrubbed to the end; it goes on from there", zap.Error(err))
			}
			timer.Reset(retryScan)
		case !trusted:
			timer.Reset(scrub.Pause(v.cfg.Load().VerifyEvery))
		}
	}
}

// round is one way of a scrub over a store's records.
type round struct {
	v       *Volume
	pacer   *scrub.Pacer
	trusted bool // only what was recorded on the operator's word
}

func (r *round) wants(c Clone) bool {
	if r.trusted {
		return c.Verified == 0
	}
	return r.v.dueSoon(c, r.v.clock.Wall())
}

// scrubRound reads all clones whose turn comes before the next round, first
// those that were never verified; with trusted only these.
func (v *Volume) scrubRound(ctx context.Context, trusted bool) error {
	if _, scanned, _ := v.scans.status(); !scanned || !v.Readable() {
		return errNotScrubbed
	}
	began := v.clock.Wall()
	if err := v.surveyScrub(ctx, began); err != nil {
		return err
	}
	before := v.scrub.begin(began)
	r := &round{v: v, pacer: &scrub.Pacer{}, trusted: true}
	err := error(nil)
	if before.Unverified > 0 {
		err = r.run(ctx)
	}
	if err == nil && !trusted {
		r.trusted = false
		err = r.run(ctx)
	}
	after := v.scrub.end(v.clock.Wall(), err == nil && !trusted)
	if read := after.Bytes - before.Bytes; read > 0 || after.Bad > before.Bad {
		v.log.Info("store scrubbed", zap.Int64("verified", after.Verified-before.Verified), zap.Int64("bad", after.Bad-before.Bad),
			zap.Int64("missing", after.Missing-before.Missing), zap.Int64("errors", after.Errors-before.Errors),
			zap.Int64("bytes", read), zap.Duration("took", v.clock.Wall().Sub(began)), zap.Bool("whole", err == nil))
	}
	return err
}

// dueSoon tells whether a clone's turn comes before the next round.
func (v *Volume) dueSoon(c Clone, now time.Time) bool {
	every := v.cfg.Load().VerifyEvery
	return scrub.Due(every, c.Store, c.Hash, c.Verified, now).Before(now.Add(scrub.Gap(every)))
}

// surveyScrub finds out how much there is to do. It reads all the store's
// records and no file.
func (v *Volume) surveyScrub(ctx context.Context, now time.Time) error {
	var s ScrubStatus
	for r, err := range members(ctx, v.engine, v.whose(), v.ID(), "") {
		if err != nil {
			return err
		}
		c, err := decodeClone(r)
		if err != nil {
			continue // the next scan writes it anew
		}
		if c.Verified == 0 {
			s.Unverified++
		} else if s.Oldest == 0 || c.Verified < s.Oldest {
			s.Oldest = c.Verified
		}
		if v.dueSoon(c, now) {
			s.Due++
			s.DueBytes += c.Size
		}
	}
	cfg := v.cfg.Load()
	if most := float64(cfg.ScrubRate) * cfg.VerifyEvery.Seconds(); float64(v.bytes.Load()) > most {
		s.Slow = true
	}
	v.scrub.found(s)
	return ctx.Err()
}

// run reads the clones that are wanted, one part of the hash space after the
// other.
func (r *round) run(ctx context.Context) error {
	for _, part := range scrub.Order() {
		prefix := hex.EncodeToString([]byte{byte(part)})
		records := &cursor{v: r.v, prefix: prefix, after: prefix}
		for {
			next, ok, err := records.peek(ctx)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			records.pass()
			if next.clone.Ext == "" || !r.wants(next.clone) {
				continue
			}
			if err := r.trustedFirst(ctx); err != nil {
				return err
			}
			if err := r.one(ctx, next.clone.Hash); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// trustedFirst reads what was recorded on the operator's word since the round
// began.
func (r *round) trustedFirst(ctx context.Context) error {
	select {
	case <-r.v.scans.trusted:
		return (&round{v: r.v, pacer: r.pacer, trusted: true}).run(ctx)
	default:
		return nil
	}
}

// one reads a clone if it is still its turn: what was listed may be old. Its
// error ends the round.
func (r *round) one(ctx context.Context, h content.Hash) error {
	c, have, err := r.v.lookup(ctx, h)
	if err != nil || !have || !r.wants(c) {
		return err
	}
	r.pacer.Begin(time.Now())
	_, f, err := r.v.check(ctx, c, func(n int) { r.pace(ctx, n) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrOffline) || errors.Is(err, record.ErrUnavailable) {
		return err
	}
	r.v.scrub.judged(c, f, err)
	return nil
}

// pace waits after n bytes were read, and while somebody waits for a
// verification of the whole store, which comes to the same.
func (r *round) pace(ctx context.Context, n int) {
	v, now := r.v, time.Now()
	v.scrub.read(now, n)
	busy := v.users.Load() > v.own.Load()
	sleep(ctx, r.pacer.Wait(now, n, v.cfg.Load().ScrubRate, busy))
	for v.scrub.asked.Load() > 0 && ctx.Err() == nil {
		sleep(ctx, time.Second)
	}
	r.pacer.Begin(time.Now())
}

// sleep waits until ctx ends, or for a while.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
