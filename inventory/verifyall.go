package inventory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/record"
)

// VerifyResult is what verifying a whole store has found.
type VerifyResult struct {
	Verified int64    `json:"verified"`         // read and found right
	Skipped  int64    `json:"skipped"`          // verified recently enough
	Failed   int64    `json:"failed"`           // quarantined
	Missing  int64    `json:"missing"`          // had a record but no file
	Errors   int64    `json:"errors"`           // could not be judged
	Bytes    int64    `json:"bytes"`            // read
	Hashes   []string `json:"hashes,omitempty"` // what failed, is missing or could not be judged, the first 1,000
}

// maxNamed is how many hashes a VerifyResult names.
const maxNamed = 1000

// VerifyAll verifies every clone of the store as Verify does. Progress may be
// nil. Its error is that of the store or the engine; single clones don't end it.
func (v *Volume) VerifyAll(ctx context.Context, force bool, progress func(ScanProgress)) (VerifyResult, error) {
	release, ok := v.acquireOwn()
	if !ok {
		return VerifyResult{}, v.fail("verifying", ErrOffline)
	}
	defer release()
	ctx, cancel := v.untilClosed(ctx)
	defer cancel()
	v.scrub.asked.Add(1) // the scrub waits: this comes to the same
	defer v.scrub.asked.Add(-1)
	result, err := v.verifyAll(ctx, force, progress)
	if err != nil {
		return result, v.fail("verifying", err)
	}
	return result, nil
}

// tally adds up the verifications of a store.
type tally struct {
	total, bytes atomic.Int64
	report       func(ScanProgress)

	mu       sync.Mutex
	result   VerifyResult
	reported time.Time
}

func (v *Volume) verifyAll(ctx context.Context, force bool, progress func(ScanProgress)) (VerifyResult, error) {
	t := &tally{report: progress}
	t.total.Store(v.clones.Load())
	records := &cursor{v: v}
	caller := ctx
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(v.cfg.Load().ScanWorkers)
	var err error
	for ctx.Err() == nil {
		r, ok, listErr := records.peek(ctx)
		if err = listErr; err != nil || !ok {
			break
		}
		records.pass()
		workers.Go(func() error {
			one, err := v.verify(ctx, r.clone.Hash, force, func(n int) {
				t.bytes.Add(int64(n))
				t.progress(false)
			})
			return t.add(ctx, r.key, one, err)
		})
	}
	err = errors.Join(err, workers.Wait())
	if err == nil {
		err = caller.Err() // it ended between two clones
	}
	t.progress(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Bytes = t.bytes.Load()
	return t.result, err
}

// add counts one verification; its error ends the run.
func (t *tally) add(ctx context.Context, key string, one Verification, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrOffline) || errors.Is(err, record.ErrUnavailable) {
		return err
	}
	defer t.progress(false)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(err, ErrNotExist):
		t.result.Missing++
	case err != nil:
		t.result.Errors++
	case one.Skipped:
		t.result.Skipped++
		return nil
	case one.OK:
		t.result.Verified++
		return nil
	default:
		t.result.Failed++
	}
	if len(t.result.Hashes) < maxNamed {
		t.result.Hashes = append(t.result.Hashes, key)
	}
	return nil
}

func (t *tally) progress(now bool) {
	if t.report == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now && time.Since(t.reported) < progressEvery {
		return
	}
	t.reported = time.Now()
	r := t.result
	done := r.Verified + r.Skipped + r.Failed + r.Missing + r.Errors
	t.report(ScanProgress{Files: done, Hashed: r.Verified + r.Failed, Bytes: t.bytes.Load(), Total: t.total.Load()})
}
