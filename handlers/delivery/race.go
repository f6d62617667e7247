package delivery

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory"
)

const (
	// maxRacers is how many stores are asked for one first byte at the same time.
	maxRacers = 3
	// primedBytes is how much of a body is read before its store has answered.
	primedBytes = 4 << 10
)

// racers are the goroutines that ask stores for a first byte. Those that lose
// end by themselves soon after, and are waited for at the end.
type racers struct{ group sync.WaitGroup }

func (r *racers) wait() { r.group.Wait() }

// racer asks one store.
type racer struct {
	cand   candidate
	began  time.Time
	cancel context.CancelFunc
	body   io.ReadCloser
	err    error
}

var errLost = errors.New("another store has answered first")

// race asks the next candidate, which is elsewhere, for the content's bytes. One
// that does not give the first of them in good time gets company: whoever
// answers first is used, the others are let go.
func (o *opener) race(offset, end int64) (io.ReadCloser, error) {
	c := o.core
	patience := c.deps.FirstBytes.Patience()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var won atomic.Bool
	results := make(chan *racer, maxRacers)
	running := make(map[*racer]bool, maxRacers)
	start := func() bool {
		if len(o.list) == 0 && !o.hasMoreAway() || o.list[0].volume != nil || len(running) == maxRacers {
			return false
		}
		r := &racer{cand: o.list[0], began: time.Now()}
		o.list = o.list[1:]
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(o.ctx)
		running[r] = true
		o.far.racers.group.Go(func() {
			r.run(ctx, c.deps.Elsewhere, &won, offset, end)
			results <- r
		})
		return true
	}
	start()
	for len(running) > 0 {
		select {
		case r := <-results:
			delete(running, r)
			switch {
			case r.err == nil:
				o.settle(r, running)
				return r.body, nil
			case r.err == errLost: //nolint:errorlint // it is never wrapped
				o.list = append(o.list, r.cand) // the winner is about to tell
				continue
			}
			o.lost(r)
			if start() {
				timer.Reset(patience)
			}
		case <-timer.C:
			if start() {
				c.hedged()
				timer.Reset(patience)
			}
		}
	}
	return nil, o.err
}

// hasMoreAway refills the list with stores elsewhere that were not asked yet.
func (o *opener) hasMoreAway() bool {
	return o.far.stage == stageLocal && o.refill() && o.far.stage == stageAway
}

// run asks for the bytes and waits for the first of them.
func (r *racer) run(ctx context.Context, from Elsewhere, won *atomic.Bool, offset, end int64) {
	body, err := from.Open(ctx, r.cand.clone.Store, r.cand.clone.Hash, offset, end)
	if err == nil {
		r.body, err = prime(body, end-offset, r.cancel)
	}
	if err == nil && won.Swap(true) {
		_ = r.body.Close() // nobody wants it any more
		err = errLost
	}
	if r.err = err; err != nil {
		r.cancel()
	}
}

// settle notes who has answered and lets the others go.
func (o *opener) settle(r *racer, others map[*racer]bool) {
	deps := &o.core.deps
	now := time.Now()
	deps.FirstBytes.Add(now.Sub(r.began))
	deps.Elsewhere.Answered(r.cand.clone.Store)
	for other := range others {
		other.cancel()
		deps.FirstBytes.Add(now.Sub(other.began))
		o.list = append(o.list, other.cand) // it was slow, which is no failure
		if other.began.Before(r.began) {
			deps.Elsewhere.Overtaken(other.cand.clone.Store, other.cand.clone.Hash)
		}
	}
	o.size, o.last = r.cand.clone.Size, r.cand.clone
}

// lost notes that a store gave no first byte.
func (o *opener) lost(r *racer) {
	o.err = r.err
	if o.ctx.Err() != nil {
		return
	}
	o.far.tried = append(o.far.tried, r.cand)
	if errors.Is(r.err, inventory.ErrNotExist) && !holds(o.placement, r.cand.clone.Store) {
		o.core.deps.Demand.Lost(r.cand.clone.Hash, r.cand.clone.Store) // a copy may go at any time
		return
	}
	if e := o.core.deps.Log.Check(zap.WarnLevel, "store does not give its clone"); e != nil {
		e.Write(zap.String("store", r.cand.clone.Store), zap.Stringer("hash", r.cand.clone.Hash), zap.Error(r.err))
	}
	o.core.deps.Elsewhere.Failed(r.cand.clone.Store, r.err)
}

// hedged counts a first byte that was asked of a further store.
func (c *core) hedged() {
	if m, ok := c.deps.Metrics.(Hedger); ok {
		m.Hedge()
	}
}

// primed is a body whose first bytes were read already.
type primed struct {
	first  []byte
	body   io.ReadCloser
	cancel context.CancelFunc
}

// prime waits for a body's first bytes, of length that there are.
func prime(body io.ReadCloser, length int64, cancel context.CancelFunc) (io.ReadCloser, error) {
	first := make([]byte, min(length, primedBytes))
	n, err := io.ReadAtLeast(body, first, 1)
	if err != nil {
		_ = body.Close() // the error is worth more
		return nil, err
	}
	return &primed{first[:n], body, cancel}, nil
}

func (p *primed) Read(b []byte) (int, error) {
	if len(p.first) == 0 {
		return p.body.Read(b)
	}
	n := copy(b, p.first)
	p.first = p.first[n:]
	return n, nil
}

func (p *primed) Close() error {
	defer p.cancel()
	return p.body.Close()
}
