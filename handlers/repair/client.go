package repair

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Copy makes a clone of a content in a store, wherever the two are: from a
// clone of this process, or by a node that has one. progress is told of the
// bytes that have gone, now and then; it may be nil. A store that holds it
// already is no error. Errors: ErrNoSource, ErrUnknownStore, those of
// upload.Uploader, and those of records.
func (a *Agent) Copy(ctx context.Context, h content.Hash, to string, progress func(done int64)) (inventory.Clone, error) {
	f, err := a.examine(ctx, h)
	if err != nil {
		return inventory.Clone{}, err
	}
	if c, ok := f.clone(to); ok {
		return c, nil
	}
	if f.refuse {
		return inventory.Clone{}, fmt.Errorf("copying %s: %w", h, inventory.ErrBlocked)
	}
	failures := []error{ErrNoSource}
	for _, store := range f.Workers {
		var c inventory.Clone
		if _, here := a.Volumes.Volume(store); here {
			c, err = a.copyWatched(ctx, h, to, progress)
		} else {
			c, err = a.askCopy(ctx, store, h, to, progress)
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || errors.Is(err, inventory.ErrFull) || errors.Is(err, ErrUnknownStore) {
			return inventory.Clone{}, err
		}
		failures = append(failures, err)
	}
	return inventory.Clone{}, fmt.Errorf("copying %s to store %s: %w", h, to, errors.Join(failures...))
}

// copyWatched is copyHere with progress.
func (a *Agent) copyWatched(ctx context.Context, h content.Hash, to string, progress func(done int64)) (inventory.Clone, error) {
	done, ended := new(atomic.Int64), make(chan struct{})
	var watching sync.WaitGroup
	if progress != nil {
		watching.Go(func() {
			ticker := time.NewTicker(a.tune.Tick)
			defer ticker.Stop()
			for {
				select {
				case <-ended:
					return
				case <-ticker.C:
					progress(done.Load())
				}
			}
		})
	}
	defer watching.Wait()
	defer close(ended)
	return a.copyHere(ctx, h, to, done)
}

// copyHere copies a clone of a store in this process to another store, when
// there is a place for that.
func (a *Agent) copyHere(ctx context.Context, h content.Hash, to string, done *atomic.Int64) (inventory.Clone, error) {
	f, err := a.examine(ctx, h)
	if err != nil {
		return inventory.Clone{}, err
	}
	from, turn := a.worker(&f)
	if turn < 0 {
		return inventory.Clone{}, ErrNoSource
	}
	if err := a.slots.take(ctx, func() int { return a.settings().Parallel }); err != nil {
		return inventory.Clone{}, err
	}
	defer a.slots.give()
	c, _ := f.clone(from)
	made, err := a.push(ctx, c, to, done)
	a.remember(h, err)
	return made, err
}

func (a *Agent) askCopy(ctx context.Context, store string, h content.Hash, to string, progress func(done int64)) (inventory.Clone, error) {
	address := a.Address(store)
	if address == "" {
		return inventory.Clone{}, fmt.Errorf("store %s: %w", store, inventory.ErrOffline)
	}
	res, err := a.askCarrier(ctx, store, address, "copy", question{Hash: h.String(), To: to}, progress)
	if err != nil {
		return inventory.Clone{}, fmt.Errorf("store %s: %w", store, err)
	}
	return a.learn(ctx, h, to, res)
}

// Drop has a store drop its clone of a content, by its own rule: only if as many
// others as are wanted have promised to keep theirs. So many are wanted as that
// store's node knows, or as wanted says where that is less: its node may not have
// heard of a wish that was written a moment ago; 0 says nothing. Errors: ErrNeeded,
// ErrUnknownStore, inventory.ErrPromised, inventory.ErrNotExist, and others.
func (a *Agent) Drop(ctx context.Context, h content.Hash, store string, wanted int) error {
	if _, here := a.Volumes.Volume(store); here {
		return a.dropHere(ctx, store, h, wanted)
	}
	address := a.Address(store)
	if address == "" {
		return fmt.Errorf("dropping %s: store %s: %w", h, store, ErrUnknownStore)
	}
	if _, err := a.askCarrier(ctx, store, address, "drop", question{Hash: h.String(), Store: store, Wanted: wanted}, nil); err != nil {
		return fmt.Errorf("dropping %s from store %s: %w", h, store, err)
	}
	return nil
}

// askPromise has a store of another node promise.
func (a *Agent) askPromise(ctx context.Context, store string, seen inventory.Clone, fresh time.Duration) error {
	address := a.Address(store)
	if address == "" {
		return inventory.ErrOffline
	}
	res, err := a.askCarrier(ctx, store, address, "promise", question{Hash: seen.Hash.String(), Store: store, Kept: seen.Kept, Fresh: fresh.Milliseconds()}, nil)
	if err != nil {
		return err
	}
	_, err = a.learn(ctx, seen.Hash, store, res)
	return err
}

// learn has this node know what a store has recorded of its clone.
func (a *Agent) learn(ctx context.Context, h content.Hash, store string, res result) (inventory.Clone, error) {
	if len(res.Records) == 0 || len(res.Records) > maxRecords {
		return inventory.Clone{}, fmt.Errorf("%w: %d versions of a record", errAnswer, len(res.Records))
	}
	for _, v := range res.Records {
		if v.Topic != record.Inventory || v.Key != h.String() || v.Member != store {
			return inventory.Clone{}, fmt.Errorf("%w: a record about something else", errAnswer)
		}
	}
	if a.Importer != nil {
		if err := a.Importer.Import(ctx, res.Records); err != nil {
			return inventory.Clone{}, fmt.Errorf("keeping the store's record: %w", err)
		}
	}
	c := res.Clone
	c.Hash, c.Store = h, store
	return c, nil
}

// askDoing asks the node of a store whether it copies a content. One that does not answer
// does not.
func (a *Agent) askDoing(ctx context.Context, store, address string, h content.Hash) bool {
	res, err := a.askCarrier(ctx, store, address, "doing", question{Hash: h.String()}, nil)
	return err == nil && res.Doing
}

// tellNow bounds how long another node may take to hear an operator's word.
const tellNow = 5 * time.Second

// Now is an operator's word that what is away is lost: what it held is made anew
// at once, however much that is. It holds for the stores that are away now, until
// they are back. The other nodes are told; those that don't answer go by their
// settings. It returns the stores' ids.
func (a *Agent) Now(ctx context.Context) []string {
	var ids []string
	for _, s := range a.Sights() {
		if !s.Up {
			ids = append(ids, s.ID)
		}
	}
	a.giveUp(ids)
	if a.Doer == nil || len(ids) == 0 {
		return ids
	}
	ctx, cancel := context.WithTimeout(ctx, tellNow)
	defer cancel()
	var told sync.WaitGroup
	for _, address := range a.Nodes() {
		told.Go(func() {
			if _, err := a.ask(ctx, address, "now", question{Stores: ids}, nil); err != nil {
				a.Log.Warn("another node was not told to repair at once", zap.String("node", address), zap.Error(err))
			}
		})
	}
	told.Wait()
	return ids
}

// giveUp takes stores for lost that this node can't reach either.
func (a *Agent) giveUp(ids []string) {
	a.look() // who is away
	a.mu.Lock()
	a.absences.GiveUp(ids...)
	a.mu.Unlock()
	a.look()
	a.Walk()
}
