package repair

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

// work is what there is to be done, in the order in which it is: what is nearly
// lost comes before what is only short, and making before dropping.
type work uint8

const (
	urgent  work = 1 << iota // copies of what has one good clone left, or none
	short                    // other copies
	surplus                  // clones to be dropped
)

// finding is what a content needs.
type finding struct {
	plan.Plan
	clones []inventory.Clone
	wanted int
	refuse bool // the operator has blocked it: it is left as it is
}

// examine tells what a content needs, as this node sees it now.
func (a *Agent) examine(ctx context.Context, h content.Hash) (finding, error) {
	p, err := a.Index.Find(ctx, h)
	if err != nil {
		return finding{}, err
	}
	f := finding{clones: p.Clones, refuse: p.Blocked}
	if f.wanted, err = a.Index.Wanted(ctx, h); err != nil {
		return finding{}, err
	}
	if f.wanted == 0 {
		f.wanted = a.settings().Copies
	}
	k, now := plan.Content{Hash: h, Wanted: f.wanted}, a.Clock.Wall().UnixMilli()
	for _, c := range p.Clones {
		k.Size = max(k.Size, c.Size)
		k.Holders = append(k.Holders, c.Store)
		if c.Promised > now {
			k.Bound = append(k.Bound, c.Store)
		}
	}
	f.Plan = plan.Of(a.cluster.Load(), k)
	return f, nil
}

// work is what a finding asks for.
func (f *finding) work() (w work) {
	switch {
	case f.refuse:
		return 0
	case f.Missing > 0 && f.Good <= 1:
		w = urgent
	case f.Missing > 0:
		w = short
	}
	if len(f.Drops) > 0 {
		w |= surplus
	}
	return w
}

// clone is the clone in a store.
func (f *finding) clone(store string) (inventory.Clone, bool) {
	for _, c := range f.clones {
		if c.Store == store {
			return c, true
		}
	}
	return inventory.Clone{}, false
}

// worker is the store of this process that comes first among those that could
// make what is missing, and its turn; -1 where none could.
func (a *Agent) worker(f *finding) (store string, turn int) {
	for i, id := range f.Workers {
		if v, ok := a.Volumes.Volume(id); ok && v.Readable() {
			return id, i
		}
	}
	return "", -1
}

// survey is what a walk has found, of what this node is to do.
type survey struct {
	At      time.Time
	Walking bool
	Clones  int64 // looked at
	Missing int64 // clones to be made by this node
	Urgent  int64 // of these: of contents that have one good clone left, or none
	Waiting int64 // contents whose missing clones another node is to make
	Surplus int64 // clones of this node's stores that are not needed
	Blocked int64 // clones of contents that are blocked, which are left as they are
}

// pageLen is how many clones are listed at once: an engine is not kept listing
// while clones are copied.
const pageLen = 512

// each calls f with the hashes that this process' stores hold.
func (a *Agent) each(ctx context.Context, f func(store string, h content.Hash) error) error {
	for _, v := range a.Volumes.Volumes() {
		if id := v.ID(); id != "" && v.Readable() {
			if err := a.eachIn(ctx, id, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Agent) eachIn(ctx context.Context, store string, f func(store string, h content.Hash) error) error {
	var after content.Hash
	for {
		page := make([]content.Hash, 0, pageLen)
		for c, err := range a.Index.List(ctx, store, after) {
			if err != nil {
				return err
			}
			if page = append(page, c.Hash); len(page) == pageLen {
				break
			}
		}
		for _, h := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(store, h); err != nil {
				return err
			}
		}
		if len(page) < pageLen {
			return nil
		}
		after = page[len(page)-1]
	}
}

// walk looks at all clones of this process' stores, and then does what there is
// to be done. It tells whether something was left undone.
func (a *Agent) walk(ctx context.Context) (again bool, err error) {
	a.mu.Lock()
	s := a.survey // what the last walk has found is told until this one has
	a.mu.Unlock()
	s.Walking = true
	a.publish(s)
	defer func() {
		s.Walking, s.At = false, time.Now()
		a.publish(s)
	}()
	todo, err := a.recount(ctx, &s)
	if err != nil || todo == 0 {
		return err != nil, err
	}
	var left atomic.Bool
	for _, w := range []work{urgent, short, surplus} {
		if todo&w == 0 {
			continue
		}
		if err := a.pass(ctx, w, &left); err != nil {
			return true, err
		}
	}
	// What has been done is told of no more; what others have done meanwhile may
	// call for more.
	todo, err = a.recount(ctx, &s)
	return left.Load() || todo != 0, err
}

// recount counts what there is to be done, and tells it.
func (a *Agent) recount(ctx context.Context, s *survey) (todo work, err error) {
	now := survey{Walking: true, At: s.At}
	if todo, err = a.count(ctx, &now); err == nil {
		*s = now
		a.publish(now)
	}
	return todo, err
}

func (a *Agent) publish(s survey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.survey = s
}

// count counts what there is to be done, and notes since when others are
// waited for.
func (a *Agent) count(ctx context.Context, s *survey) (todo work, err error) {
	waiting := map[content.Hash]time.Time{}
	err = a.each(ctx, func(store string, h content.Hash) error {
		f, err := a.examine(ctx, h)
		if err != nil {
			return err
		}
		s.Clones++
		w := f.work()
		if a.soon.waits(h, time.Now()) {
			w &^= urgent | short
		}
		if f.refuse {
			s.Blocked++
		}
		if worker, turn := a.worker(&f); w&(urgent|short) != 0 && worker == store {
			if turn > 0 {
				s.Waiting++
				a.await(h, waiting)
			} else {
				s.Missing += int64(f.Missing)
				if w&urgent != 0 {
					s.Urgent += int64(f.Missing)
				}
			}
			todo |= w &^ surplus
		}
		for _, id := range f.Drops {
			if w != 0 && id == store {
				s.Surplus++
				todo |= surplus
			}
		}
		return nil
	})
	if err == nil {
		a.mu.Lock()
		a.waiting = waiting
		a.mu.Unlock()
	}
	return todo, err
}

// maxWaiting bounds how many contents are remembered as another node's turn;
// what is beyond that waits for longer.
const maxWaiting = 1 << 17

// await notes since when a content waits for another node.
func (a *Agent) await(h content.Hash, waiting map[content.Hash]time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, ok := a.waiting[h]
	if !ok {
		since = time.Now()
	}
	if len(waiting) < maxWaiting {
		waiting[h] = since
	}
}

// pass does one kind of work for all contents, and waits until it is done.
func (a *Agent) pass(ctx context.Context, w work, left *atomic.Bool) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	return a.each(ctx, func(store string, h content.Hash) error {
		f, err := a.examine(ctx, h)
		if err != nil {
			return err
		}
		if f.work()&w == 0 || w != surplus && a.soon.waits(h, time.Now()) {
			return nil
		}
		return a.start(ctx, &tasks, store, h, &f, w, left)
	})
}

// start has done, by a goroutine of tasks, what a store of this process is to do
// about a content.
func (a *Agent) start(ctx context.Context, tasks *sync.WaitGroup, store string, h content.Hash, f *finding, w work, left *atomic.Bool) error {
	var task func(context.Context) error
	if worker, turn := a.worker(f); w&(urgent|short) != 0 && f.Missing > 0 && worker == store {
		if !a.isTurn(ctx, h, f, turn) {
			return nil
		}
		task = func(ctx context.Context) error { return a.restore(ctx, h) }
	} else if w&surplus != 0 {
		for _, id := range f.Drops {
			if id == store {
				task = func(ctx context.Context) error { return a.dropSurplus(ctx, store, h) }
			}
		}
	}
	if task == nil || !a.claim(h) {
		return nil
	}
	if err := a.slots.take(ctx, func() int { return a.settings().Parallel }); err != nil {
		a.unclaim(h)
		return err
	}
	tasks.Go(func() {
		defer a.slots.give()
		defer a.unclaim(h)
		if err := task(ctx); err != nil && ctx.Err() == nil {
			left.Store(true)
			if errors.Is(err, ErrNeeded) || errors.Is(err, inventory.ErrPromised) {
				a.Log.Debug("clone is not dropped yet", zap.Stringer("hash", h), zap.Error(err))
				return
			}
			if errors.Is(err, upload.ErrNoStore) { // that is so for many at once, and again and again
				a.fault("repairing contents", err)
				a.Log.Debug("no store takes a clone", zap.Stringer("hash", h), zap.Error(err))
				return
			}
			a.note("repairing a content; it is tried again", err, zap.Stringer("hash", h))
		}
	})
	return nil
}

// consider does, by goroutines of tasks, what there is to be done about one
// content by this process' stores, and tells whether one of them has something to
// do, now or when others have not done it.
func (a *Agent) consider(ctx context.Context, tasks *sync.WaitGroup, h content.Hash) (needs bool, err error) {
	f, err := a.examine(ctx, h)
	if err != nil || f.work() == 0 {
		return false, err
	}
	var left atomic.Bool
	for _, c := range f.clones {
		if _, here := a.Volumes.Volume(c.Store); !here {
			continue
		}
		_, turn := a.worker(&f)
		needs = needs || f.Missing > 0 && turn >= 0 && len(f.Targets) > 0 || slices.Contains(f.Drops, c.Store)
		if err := a.start(ctx, tasks, c.Store, h, &f, f.work(), &left); err != nil {
			return needs, err
		}
	}
	return needs, nil
}

// claim says that this node works on a content now; it reports false where it
// does already.
func (a *Agent) claim(h content.Hash) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, busy := a.running[h]; busy {
		return false
	}
	a.running[h] = struct{}{}
	return true
}

func (a *Agent) unclaim(h content.Hash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.running, h)
}
