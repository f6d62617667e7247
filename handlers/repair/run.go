package repair

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/content"
	plan "github.com/ooseio/oose/inventory/repair"
	"github.com/ooseio/oose/record"
)

// Run repairs until ctx ends, and waits for what is under way.
func (a *Agent) Run(ctx context.Context) error {
	stopRecords := a.Engine.Watch(record.Inventory, a.hear)
	defer stopRecords()
	stopWishes := a.Engine.Watch(record.Want, func(records []record.Record) {
		for i := range records {
			if h, err := content.ParseHash(records[i].Key); err == nil {
				a.soon.add(h, 0)
			}
		}
	})
	defer stopWishes()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.lookOften(ctx) })
	g.Go(func() error { return a.walkOften(ctx) })
	g.Go(func() error { return a.attend(ctx) })
	return g.Wait()
}

// hear is told of inventory records: where a clone has gone, or was made a
// moment ago in a store of this process, what is missing is made soon.
func (a *Agent) hear(records []record.Record) {
	for i := range records {
		r := &records[i]
		h, err := content.ParseHash(r.Key)
		if err != nil {
			continue
		}
		if r.Deleted {
			a.soon.add(h, a.settle())
			continue
		}
		var c struct {
			Stored int64 `json:"stored"`
		}
		if _, here := a.Volumes.Volume(r.Member); !here || json.Unmarshal(r.Value, &c) != nil {
			continue
		}
		if time.Since(time.UnixMilli(c.Stored)) < time.Minute {
			a.soon.add(h, a.settle())
		}
	}
}

// settle is how long an upload's other clones are waited for.
func (a *Agent) settle() time.Duration {
	if a.tune.Settle > 0 {
		return a.tune.Settle
	}
	return min(10*time.Second, max(a.Settings().After, time.Millisecond))
}

// retry is from a walk that left something undone to the next.
func (a *Agent) retry() time.Duration {
	if a.tune.Retry > 0 {
		return a.tune.Retry
	}
	return min(max(a.Settings().After/4, time.Second), 5*time.Minute)
}

// lookOften keeps an eye on the stores.
func (a *Agent) lookOften(ctx context.Context) error {
	ticker := time.NewTicker(a.tune.Look)
	defer ticker.Stop()
	for {
		if a.Ready() {
			a.look()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look judges how the stores stand, and has all contents looked at where that
// has changed.
func (a *Agent) look() {
	sights, limits := a.Sights(), a.settings().Limits
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.absences.Judge(time.Now(), sights, limits)
	if v.Held > 0 && a.verdict.Held == 0 {
		a.Log.Warn("too many stores are away at once to take them for lost; if they won't come back, say so: `oose clones repair --now`",
			zap.Int("stores", v.Held), zap.Float64("max_share", limits.MaxShare))
	}
	a.verdict = v
	a.cluster.Store(v.Cluster)
	if now := standings(v.Cluster); now != a.seen {
		a.tell(v.Cluster)
		a.seen = now
		a.Walk()
	}
}

// standings is a text that changes with what plans follow from.
func standings(c *plan.Cluster) string {
	var b strings.Builder
	for _, s := range c.Stores() {
		fmt.Fprintf(&b, "%s %d %t %t\n", s.ID, s.Standing, s.Room, s.Back)
	}
	return b.String()
}

// tell has the log say which stores are lost from now on, and which no more;
// a.mu is held.
func (a *Agent) tell(c *plan.Cluster) {
	before := a.seen
	for _, s := range c.Stores() {
		was := strings.Contains(before, fmt.Sprintf("%s %d ", s.ID, plan.Lost))
		if is := s.Standing == plan.Lost; is && !was {
			a.Log.Warn("store is lost: its clones are made anew elsewhere", zap.String("store", s.ID), zap.String("node", s.Node))
		} else if was && !is {
			a.Log.Info("store is back", zap.String("store", s.ID), zap.String("node", s.Node), zap.Stringer("standing", s.Standing))
		}
	}
}

// walkOften looks at all contents, whenever something calls for it and now and
// then.
func (a *Agent) walkOften(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := a.tune.Every
		if a.Ready() && len(a.cluster.Load().Stores()) > 0 {
			again, err := a.walk(ctx)
			if err != nil && ctx.Err() == nil {
				a.note("looking for what is to be repaired; it is tried again", err)
				again = true
			}
			if again {
				wait = min(wait, a.retry())
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-a.walks:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// followed is how many contents are looked at again between two looks at those
// that were asked for.
const followed = 16

// attend looks at single contents, and again at those that still need something
// of this node then: what one step makes, or another node, calls for the next one.
func (a *Agent) attend(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	follow := newBacklog() // walks don't wait for what is in it
	var again []content.Hash
	var walked time.Time
	for {
		due, next, all := a.soon.due(time.Now())
		if len(again) == 0 {
			var later time.Duration
			var full bool
			if again, later, full = follow.due(time.Now()); full && time.Since(walked) > a.retry() {
				all, walked = true, time.Now()
			}
			next = min(next, later)
		}
		if all {
			a.Walk()
		}
		n := min(len(again), followed)
		due, again = append(due, again[:n]...), again[n:]
		for _, h := range due {
			if ctx.Err() != nil {
				return nil
			}
			needs, err := a.consider(ctx, &tasks, h)
			if err != nil && ctx.Err() == nil {
				a.fault("looking at a content", err)
				a.Log.Debug("looking at a content; it is tried again", zap.Stringer("hash", h), zap.Error(err))
			}
			if needs || err != nil {
				follow.add(h, a.retry())
				next = min(next, a.retry())
			}
		}
		if len(again) > 0 {
			next = 0
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-a.soon.wake:
		case <-timer.C:
		}
	}
}
