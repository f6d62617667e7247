package delivery

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
)

const (
	// retryAfter is how long a response that has begun waits before the stores
	// that failed it are tried once more: one may be starting anew.
	retryAfter = time.Second
	// progressEnough is how many bytes a body must have given for every store to
	// be one that can be tried again.
	progressEnough = 1 << 20
)

var errNoCandidate = errors.New("no store that holds the content is available")

// opener opens one content, from one candidate after the other: those in this
// process, then those elsewhere. A response that has begun also tries those
// that are not available, and at the end once more those that failed it.
type opener struct {
	core      *core
	ctx       context.Context //nolint:containedctx // of the one request it lives in
	placement *inventory.Placement
	list      []candidate      // not tried yet
	size      int64            // of the content, -1 while no clone has been opened
	last      *inventory.Clone // that was opened last, nil: none, or a cache's copy
	err       error            // why the last candidate could not be opened
	far       *far             // nil while all went well in this process
}

// far is what an opener needs once a content does not come from one file of
// this process.
type far struct {
	racers  racers
	tried   []candidate // and failed, since a body gave enough
	stage   stage
	begun   bool     // a body was opened
	from    int64    // where the last body began
	broken  bool     // it failed
	copy    *os.File // the cache's, until it is used; nil: not looked for, or none
	noCache bool
	wrong   bool // what was sent is not the content
}

// stage tells which candidates the list of an opener has had.
type stage uint8

const (
	stageLocal stage = iota
	stageAway
	stageAnyway
	stageAgain
)

// opened is a file, and the use of its volume.
type opened struct {
	file    *os.File
	release func()
}

func (o *opened) File() *os.File             { return o.file }
func (o *opened) Read(p []byte) (int, error) { return o.file.Read(p) }

func (o *opened) Close() error {
	defer o.release()
	return o.file.Close()
}

// close waits for what the opener has going on.
func (o *opener) close() {
	if o.far == nil {
		return
	}
	o.far.racers.wait()
	if o.far.copy != nil {
		_ = o.far.copy.Close() // nothing was read
	}
}

// local opens the next candidate of this process that can be opened.
func (o *opener) local() (*opened, error) {
	for len(o.list) > 0 && o.list[0].volume != nil {
		if err := o.ctx.Err(); err != nil {
			return nil, err // nobody waits for it, and that says nothing about the stores
		}
		cand := o.list[0]
		o.list = o.list[1:]
		if o.size >= 0 && cand.clone.Size != o.size {
			continue // a record that is wrong about the size: nothing to continue with
		}
		f, err := o.openLocal(cand)
		if err == nil {
			return f, nil
		}
		o.err = err
		if o.far != nil {
			o.far.tried = append(o.far.tried, cand)
		}
	}
	if o.err == nil {
		o.err = errNoCandidate
	}
	return nil, o.err
}

func (o *opener) openLocal(cand candidate) (*opened, error) {
	release, ok := cand.volume.Acquire()
	if !ok {
		return nil, inventory.ErrOffline
	}
	f, err := cand.volume.Open(o.ctx, *cand.clone)
	if err == nil {
		o.size, o.last = cand.clone.Size, cand.clone
		return &opened{f, release}, nil
	}
	release()
	if o.ctx.Err() == nil {
		if e := o.core.deps.Log.Check(zap.WarnLevel, "clone can't be opened"); e != nil {
			e.Write(zap.String("store", cand.volume.Name()), zap.Stringer("hash", cand.clone.Hash), zap.Error(err))
		}
	}
	return nil, err
}

// state returns what is needed beyond one file of this process.
func (o *opener) state() *far {
	if o.far == nil {
		o.far = &far{begun: o.last != nil}
	}
	return o.far
}

// next opens the content from offset up to end, from the candidate that is next.
func (o *opener) next(offset, end int64) (io.ReadCloser, error) {
	f := o.state()
	if f.wrong {
		return nil, pull.ErrCorrupt
	}
	o.resume(offset)
	if body, ok := o.cached(offset, end); ok {
		f.begun, f.from, f.broken, o.last = true, offset, false, nil
		return body, nil
	}
	for {
		if err := o.ctx.Err(); err != nil {
			return nil, err
		}
		if len(o.list) == 0 && !o.refill() {
			if o.err == nil {
				o.err = errNoCandidate
			}
			return nil, o.err
		}
		var body io.ReadCloser
		var err error
		if o.list[0].volume != nil {
			body, err = o.local()
		} else {
			body, err = o.race(offset, end)
		}
		if err == nil {
			f.begun, f.from, f.broken = true, offset, false
			return body, nil
		}
		o.err = err
	}
}

// resume decides who is asked next, now that a body has ended or failed.
func (o *opener) resume(offset int64) {
	f := o.far
	if o.last == nil || !f.begun {
		return
	}
	last := candidate{clone: o.last}
	last.volume, _ = o.core.deps.Stores.Volume(o.last.Store)
	if !f.broken {
		o.list = slices.Insert(slices.Clone(o.list), 0, last) // another part of the same body
		return
	}
	if offset-f.from >= progressEnough {
		f.tried, f.stage = nil, stageLocal
		o.list = slices.DeleteFunc(o.core.candidates(o.placement), last.same)
	}
	f.tried = append(f.tried, last)
}

func (c candidate) same(other candidate) bool { return c.clone.Store == other.clone.Store }

// refill gives the list the candidates that come next, and reports false where
// there are none.
func (o *opener) refill() bool {
	f := o.state()
	for f.stage < stageAgain && o.core.deps.Elsewhere != nil {
		switch f.stage++; {
		case f.stage == stageAway:
			o.list = o.untried(o.core.away(o.placement, false))
		case !f.begun:
			return false // a client that has nothing yet can come back
		case f.stage == stageAnyway:
			o.list = o.untried(o.core.away(o.placement, true))
		default:
			o.list, f.tried = f.tried, nil
			return len(o.list) > 0 && o.pause()
		}
		if len(o.list) > 0 {
			return true
		}
	}
	return false
}

// untried leaves the candidates that have not failed, and have the right size.
func (o *opener) untried(list []candidate) []candidate {
	return slices.DeleteFunc(list, func(c candidate) bool {
		return slices.ContainsFunc(o.far.tried, c.same) || o.size >= 0 && c.clone.Size != o.size
	})
}

// pause waits before stores are tried again, and reports false where nobody
// waits for them any more.
func (o *opener) pause() bool {
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.ctx.Done():
		return false
	}
}

// hasCopy tells whether the cache has a whole copy.
func (o *opener) hasCopy() bool {
	f, cache := o.state(), o.core.deps.Cache
	if cache == nil || f.noCache || o.placement == nil {
		return false
	}
	if f.copy == nil {
		f.copy, _ = cache.File(o.hash())
	}
	return f.copy != nil
}

// cached opens the content's copy in the cache, where no store of this process
// holds it.
func (o *opener) cached(offset, end int64) (io.ReadCloser, bool) {
	cache, f := o.core.deps.Cache, o.far
	if cache == nil || f.noCache || o.size < 0 || o.placement == nil {
		return nil, false
	}
	if o.hasCopy() {
		file := f.copy
		f.copy = nil
		return &opened{file, func() {}}, true
	}
	if len(o.list) == 0 && !o.refill() || o.list[0].volume != nil {
		return nil, false
	}
	body, err := cache.Join(o.ctx, o.hash(), o.size, offset, end, o.core.fetch(o.placement, o.size))
	if _, whole := body.(serve.Filer); err == nil && !whole {
		body, err = prime(body, end-offset, func() {}) // so that a source that fails is no broken response
	}
	if err != nil {
		f.noCache = true // not again in this response
		return nil, false
	}
	return body, true
}

func (o *opener) hash() content.Hash { return o.placement.Clones[0].Hash }

// reopen is serve.Info's Next.
func (o *opener) reopen(offset, end int64) (io.ReadCloser, error) {
	failover := o.far == nil || o.far.broken
	body, err := o.next(offset, end)
	if err == nil && failover {
		o.core.deps.Metrics.Failover()
	}
	return body, err
}

// failed is serve.Info's Failed.
func (o *opener) failed(err error) {
	f := o.state()
	f.broken = true
	if o.ctx.Err() != nil {
		return
	}
	if o.last == nil {
		f.noCache, f.wrong = true, errors.Is(err, pull.ErrCorrupt)
		o.core.deps.Log.Debug("copy in the cache failed while it was sent", zap.Error(err))
		return
	}
	if e := o.core.deps.Log.Check(zap.WarnLevel, "clone failed while it was sent"); e != nil {
		e.Write(zap.String("store", o.last.Store), zap.Error(err))
	}
	if v, here := o.core.deps.Stores.Volume(o.last.Store); here {
		v.Failed(o.last.Hash, err)
	} else if o.core.deps.Elsewhere != nil {
		o.core.deps.Elsewhere.Failed(o.last.Store, err)
	}
}
