package clonetool

import (
	"context"
	"errors"
	"slices"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

// worker does what is to be done about one content.
type worker struct {
	*run
	h   content.Hash
	o   *Outcome
	now repair.Content // how it stands, as far as is known
}

// work does one kind of thing after the other: clones are made before others
// are dropped.
func (w *worker) work(ctx context.Context) {
	act := w.act
	if len(w.now.Clones) == 0 {
		if act.Acts() {
			w.step(Step{Did: Failed, Error: "no store holds it"})
		}
		return
	}
	if act.Verify {
		w.verify(ctx)
	}
	for try := 1; ; try++ {
		if act.CloneTo != "" {
			w.cloneTo(ctx)
		}
		if act.Desired > 0 {
			w.desire(ctx)
		}
		if act.DropFrom == "" || ctx.Err() != nil {
			return
		}
		made, before := w.holds(act.CloneTo) || slices.Contains(w.o.Steps, Step{Did: Copied, Store: act.CloneTo}), len(w.o.Steps)
		w.dropFrom(ctx)
		if act.CloneTo == "" || !made || try == moveTries || !w.keptSince(before) || !w.look(ctx) || w.holds(act.CloneTo) {
			return
		}
		// Repair has taken the new clone for the one too many.
		w.o.Steps = w.o.Steps[:before]
	}
}

// moveTries is how often a clone is made that is to take another one's place.
const moveTries = 3

// keptSince tells whether a clone that was to go is kept, by the steps from one on.
func (w *worker) keptSince(first int) bool {
	return !w.act.Pretend && slices.ContainsFunc(w.o.Steps[first:], func(s Step) bool { return s.Did == Kept })
}

func (w *worker) step(s Step) { w.o.Steps = append(w.o.Steps, s) }

// fails notes what was not done; not where the run was broken off.
func (w *worker) fails(ctx context.Context, store string, err error) {
	if ctx.Err() == nil {
		w.step(Step{Did: Failed, Store: store, Error: err.Error()})
	}
}

// look looks again how the content stands. It reports false where that can't be told.
func (w *worker) look(ctx context.Context) bool {
	c, err := w.Agent.Content(ctx, w.h)
	if err != nil {
		w.fails(ctx, "", err)
		return false
	}
	w.now = c
	return true
}

func (w *worker) holds(store string) bool {
	return slices.ContainsFunc(w.now.Clones, func(c inventory.Clone) bool { return c.Store == store })
}

// verify reads every clone.
func (w *worker) verify(ctx context.Context) {
	for _, c := range w.now.Clones {
		if ctx.Err() != nil {
			return
		}
		if w.act.Pretend {
			w.step(Step{Did: Verified, Store: c.Store})
			continue
		}
		v, err := w.Agent.Verify(ctx, w.h, c.Store, w.act.Force)
		switch {
		case err != nil:
			w.fails(ctx, c.Store, err)
		case v.Skipped:
			w.step(Step{Did: Skipped, Store: c.Store})
		case v.OK:
			w.step(Step{Did: Verified, Store: c.Store})
		default:
			w.step(Step{Did: Damaged, Store: c.Store})
		}
	}
	w.look(ctx)
}

// copy makes one clone.
func (w *worker) copy(ctx context.Context, to string) bool {
	if w.act.Pretend {
		w.step(Step{Did: Copied, Store: to})
		w.now.Clones = append(slices.Clone(w.now.Clones), inventory.Clone{Hash: w.h, Store: to})
		w.now.Good++
		return true
	}
	_, err := w.Agent.Copy(ctx, w.h, to, func(done int64) { w.moving(w.h, done) })
	if err != nil {
		w.fails(ctx, to, err)
		return false
	}
	w.step(Step{Did: Copied, Store: to})
	return w.look(ctx)
}

// cloneTo makes a clone in one store. It is to stay: where that makes more than
// are wanted, so many are wanted from now on, unless the same run says
// otherwise or drops another one.
func (w *worker) cloneTo(ctx context.Context) {
	to := w.act.CloneTo
	if w.holds(to) || !w.copy(ctx, to) {
		return
	}
	moves := w.act.DropFrom != "" && w.holds(w.act.DropFrom)
	if w.act.Desired == 0 && !moves && w.now.Count() > w.now.Wanted {
		w.want(ctx, w.now.Count())
	}
}

// want writes down how many clones there are to be; nothing where the settings
// say the same.
func (w *worker) want(ctx context.Context, copies int) bool {
	copies = min(copies, inventory.MaxWant)
	if w.now.Wanted == copies {
		return true
	}
	w.o.Want, w.now.Wanted = copies, copies
	w.step(Step{Did: Wanted})
	if w.act.Pretend {
		return true
	}
	wish := copies
	if copies == w.Copies {
		wish = 0 // as the settings have it, whatever they say one day
	}
	if err := w.Index.Want(ctx, w.h, wish); err != nil {
		w.fails(ctx, "", err)
		return false
	}
	return w.look(ctx)
}

// desire reaches a number of clones. Those that are too many are dropped where
// they are too many by repair's own judgement, which spreads the others well.
func (w *worker) desire(ctx context.Context) {
	lowers := w.act.Desired < w.now.Wanted || w.now.Good > w.act.Desired
	if lowers && w.act.Keep[w.h] {
		w.step(Step{Did: Kept, Error: "it is protected"})
		return
	}
	if !w.want(ctx, w.act.Desired) {
		return
	}
	tried := map[string]bool{}
	for w.now.Count() < w.act.Desired && ctx.Err() == nil {
		to := ""
		for _, id := range w.targets() {
			if !tried[id] && id != w.act.DropFrom {
				to = id
				break
			}
		}
		switch {
		case to != "":
			tried[to] = true
			w.copy(ctx, to)
		case w.act.Pretend && w.act.Desired > w.o.Content.Wanted:
			w.step(Step{Did: Copied}) // where to, the plan says only then
			w.now.Good++
		default:
			w.fails(ctx, "", errNoTarget)
			return
		}
	}
	if w.now.Good > w.act.Desired && ctx.Err() == nil {
		w.dropSurplus(ctx)
	}
}

var errNoTarget = errors.New("no other store takes a clone of it")

// targets are the stores that could take a clone. A pretended wish does not make
// the agent name any.
func (w *worker) targets() []string {
	return slices.DeleteFunc(slices.Clone(w.now.Targets), w.holds)
}

func (w *worker) dropSurplus(ctx context.Context) {
	if w.act.Pretend {
		for range w.now.Good - w.act.Desired {
			w.step(Step{Did: Dropped}) // which ones, the plan says only then
		}
		return
	}
	for _, store := range w.now.Drops {
		if w.act.KeepStores[store] {
			w.step(Step{Did: Kept, Store: store, Error: "the store is protected"})
			continue
		}
		w.drop(ctx, store)
		if ctx.Err() != nil || !w.look(ctx) || w.now.Good <= w.act.Desired {
			return
		}
	}
}

// dropFrom drops the clone of one store. With force also where fewer are left
// than are wanted, but never the last one that is good.
func (w *worker) dropFrom(ctx context.Context) {
	from := w.act.DropFrom
	switch {
	case !w.holds(from):
		return
	case w.act.Keep[w.h]:
		w.step(Step{Did: Kept, Store: from, Error: "it is protected"})
		return
	}
	left := w.goodBut(from)
	if left < w.now.Wanted && w.act.Force && left > 0 && !w.want(ctx, left) {
		return
	}
	if left < w.now.Wanted {
		w.step(Step{Did: Kept, Store: from, Error: repair.ErrNeeded.Error()})
		return
	}
	w.drop(ctx, from)
}

// goodBut counts the clones on stores that are well, but for one store's.
func (w *worker) goodBut(store string) (n int) {
	for _, c := range w.now.Clones {
		if s, ok := w.Agent.Standing(c.Store); ok && s.Standing == plan.Good && c.Store != store {
			n++
		}
	}
	return n
}

func (w *worker) drop(ctx context.Context, store string) {
	if w.act.Pretend {
		w.step(Step{Did: Dropped, Store: store})
		return
	}
	err := w.Agent.Drop(ctx, w.h, store, w.o.Want)
	switch {
	case err == nil:
		w.step(Step{Did: Dropped, Store: store})
	case errors.Is(err, repair.ErrNeeded), errors.Is(err, inventory.ErrPromised):
		w.step(Step{Did: Kept, Store: store, Error: err.Error()})
	case !errors.Is(err, inventory.ErrNotExist): // repair was faster
		w.fails(ctx, store, err)
	}
}
