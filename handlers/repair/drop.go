package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

const (
	// promisesCount is for how long promises are counted on. It is less than
	// PromiseLife by what clocks may differ and messages take.
	promisesCount = inventory.PromiseLife / 2
	// askedAgain is when promises are asked for again before they are used:
	// reading large contents takes long.
	askedAgain = inventory.PromiseLife / 12
)

// dropHere drops the clone of a store in this process on the operator's word, if
// as many others as are wanted promise to keep theirs. What the store has promised
// itself they promise in its place. wanted is as for Drop.
func (a *Agent) dropHere(ctx context.Context, store string, h content.Hash, wanted int) error {
	if v, ok := a.Volumes.Volume(store); ok {
		defer v.HandOn(h)()
	}
	return a.drop(ctx, store, h, true, func(f *finding) []string {
		if wanted > 0 {
			f.wanted = min(f.wanted, wanted)
		}
		return a.others(f, store)
	})
}

// dropSurplus is dropHere for a clone that the plan takes for one too many. Only
// those are asked that it keeps: who promises can't drop for an hour.
func (a *Agent) dropSurplus(ctx context.Context, store string, h content.Hash) error {
	return a.drop(ctx, store, h, false, func(f *finding) []string {
		if f.refuse || !slices.Contains(f.Drops, store) {
			return nil
		}
		return f.Keep
	})
}

// drop drops a clone once enough of those have promised whom a finding names;
// handsOn says that this store's own promises pass on to them.
func (a *Agent) drop(ctx context.Context, store string, h content.Hash, handsOn bool, whom func(*finding) []string) error {
	v, ok := a.Volumes.Volume(store)
	if !ok {
		return fmt.Errorf("dropping %s: store %s: %w", h, store, ErrUnknownStore)
	}
	seen, ok, err := v.Has(ctx, h)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("dropping %s: %w", h, inventory.ErrNotExist)
	case v.Promising(seen) && !handsOn:
		return fmt.Errorf("dropping %s: %w", h, inventory.ErrPromised)
	}
	// Who holds it is looked up after that: see inventory.Volume.Surrender.
	f, err := a.examine(ctx, h)
	if err != nil {
		return err
	}
	begun := time.Now()
	promised, asked, err := a.promises(ctx, &f, seen, whom(&f), begun)
	if err == nil && time.Since(asked) > askedAgain {
		promised, asked, err = a.promises(ctx, &f, seen, promised, begun)
	}
	if err != nil {
		return fmt.Errorf("dropping %s from store %s: %w", h, store, err)
	}
	ctx, cancel := context.WithDeadline(ctx, asked.Add(promisesCount))
	defer cancel()
	if err := v.Surrender(ctx, seen); err != nil {
		return err
	}
	a.counts.dropped.Add(1)
	a.counts.progress()
	a.Log.Info("clone dropped", zap.Stringer("hash", h), zap.String("store", store), zap.Strings("kept by", promised))
	return nil
}

// others are the stores that can be asked to stay, those first that the plan
// keeps.
func (a *Agent) others(f *finding, store string) []string {
	c := a.cluster.Load()
	var ids []string
	for _, k := range f.clones {
		if s, ok := c.Store(k.Store); ok && s.Standing == plan.Good && k.Store != store {
			ids = append(ids, k.Store)
		}
	}
	slices.SortStableFunc(ids, func(x, y string) int {
		kept := func(id string) int {
			if slices.Contains(f.Keep, id) {
				return 0
			}
			return 1
		}
		return kept(x) - kept(y)
	})
	return ids
}

// promises has as many of these stores as are wanted promise to keep a content,
// and returns which they are and when the first one was asked.
func (a *Agent) promises(ctx context.Context, f *finding, seen inventory.Clone, stores []string, begun time.Time) (promised []string, asked time.Time, err error) {
	if len(stores) < f.wanted {
		return nil, time.Time{}, fmt.Errorf("%w: %d others hold it, %d are wanted", ErrNeeded, len(stores), f.wanted)
	}
	asked = time.Now()
	var failures []error
	for len(promised) < f.wanted && len(stores) > 0 {
		batch := stores[:min(f.wanted-len(promised), len(stores))]
		stores = stores[len(batch):]
		errs := make([]error, len(batch))
		done := make(chan struct{})
		for i, id := range batch {
			go func() {
				defer func() { done <- struct{}{} }()
				errs[i] = a.promiseAt(ctx, id, seen, a.tune.Fresh+time.Since(begun))
			}()
		}
		for range batch {
			<-done
		}
		for i, err := range errs {
			if err != nil {
				failures = append(failures, fmt.Errorf("store %s: %w", batch[i], err))
				continue
			}
			promised = append(promised, batch[i])
		}
	}
	if len(promised) < f.wanted {
		return nil, asked, fmt.Errorf("%w: %w", ErrNeeded, errors.Join(failures...))
	}
	return promised, asked, nil
}

// promiseAt has one store promise to keep its clone.
func (a *Agent) promiseAt(ctx context.Context, store string, seen inventory.Clone, fresh time.Duration) error {
	if v, ok := a.Volumes.Volume(store); ok {
		_, err := a.promiseHere(ctx, v, seen.Hash, inventory.PromiseOptions{Kept: seen.Kept, Fresh: fresh})
		return err
	}
	return a.askPromise(ctx, store, seen, fresh)
}

// maxFresh bounds how old a verification may be that another node counts on.
const maxFresh = 24 * time.Hour

// promiseHere has a store of this process promise, and reads no faster than is
// allowed.
func (a *Agent) promiseHere(ctx context.Context, v *inventory.Volume, h content.Hash, o inventory.PromiseOptions) (inventory.Clone, error) {
	o.Fresh = min(o.Fresh, maxFresh)
	o.OnRead = func(n int) {
		_ = a.reading.wait(ctx, n, a.settings().Bandwidth) // its end ends the reading as well
	}
	return v.Promise(ctx, h, o)
}
