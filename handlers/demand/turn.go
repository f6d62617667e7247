package demand

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Run looks every second at what is hot, and asks stores. It returns when ctx
// ends, and all it began has.
func (a *Agent) Run(ctx context.Context) error {
	defer a.calls.Wait()
	ticker := time.NewTicker(turnEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now := time.Now()
		a.turn(ctx, now, now.Sub(last))
		last = now
	}
}

// turn looks at all contents once.
func (a *Agent) turn(ctx context.Context, now time.Time, period time.Duration) {
	set := a.Settings()
	rates := make(map[content.Hash]float64)
	for _, r := range a.counter.Turn(period, set.Above, set.Above/16) {
		rates[r.Hash] = r.PerSecond
	}
	for h := range a.listHot() {
		if _, ok := rates[h]; !ok {
			rates[h] = 0
		}
	}
	caching := a.Peers.Caching()
	for h, rate := range rates {
		var p *inventory.Placement
		if set.Above > 0 {
			var err error
			if p, err = a.Index.Find(ctx, h); err != nil {
				continue // it stays as it is, while what stores said holds
			}
		}
		a.look(ctx, h, rate, p, set, caching, now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.publish()
}

func (a *Agent) listHot() map[content.Hash]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make(map[content.Hash]bool, len(a.hot))
	for h := range a.hot {
		list[h] = true
	}
	return list
}

// look decides how many copies of a content there are to be, and where, and asks
// those stores whose turn it is.
func (a *Agent) look(ctx context.Context, h content.Hash, rate float64, p *inventory.Placement, set Settings, caching []Place, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.hot[h]
	if p == nil || p.Blocked || len(p.Clones) == 0 || p.Clones[0].Size == 0 {
		a.cooled(h, c, "it is gone or blocked, or nothing is to be asked for")
		return
	}
	holders := a.holders(p)
	had := 0
	if c != nil {
		had = c.want
	}
	want := wanted(rate, set.Above, inReach(set.Self, holders, caching), had, set.Most)
	if want == 0 {
		a.cooled(h, c, "it is asked for less often")
		return
	}
	if c == nil && len(caching) == 0 {
		return // nobody can be asked
	}
	var able []Place
	for _, place := range caching {
		if c == nil || c.stores[place.ID] == nil || !now.Before(c.stores[place.ID].refused) {
			able = append(able, place)
		}
	}
	if c == nil {
		c = &hot{stores: make(map[string]*copyAt)}
		a.hot[h] = c
	}
	c.want = want
	chosen := choose(h, set.Self, able, holders, want)
	if had == 0 {
		a.Log.Info("content is hot", zap.Stringer("hash", h), zap.Float64("rate", math.Round(rate)),
			zap.Int("clones", len(holders)), zap.Int("copies", want), zap.Int("stores", len(chosen)))
	}
	a.askAll(ctx, h, c, chosen, p.Clones[0], now)
}

// holders returns where the clones are that can be read now.
func (a *Agent) holders(p *inventory.Placement) []Place {
	var list []Place
	for i := range p.Clones {
		if place, ok := a.Peers.Place(p.Clones[i].Store); ok {
			list = append(list, place)
		}
	}
	return list
}

// cooled forgets a content; a.mu is held.
func (a *Agent) cooled(h content.Hash, c *hot, why string) {
	if c == nil {
		return
	}
	delete(a.hot, h)
	a.Log.Info("content has cooled", zap.Stringer("hash", h), zap.String("reason", why))
}

// askAll asks the chosen stores whose turn it is; a.mu is held.
func (a *Agent) askAll(ctx context.Context, h content.Hash, c *hot, places []Place, clone inventory.Clone, now time.Time) {
	chosen := make(map[string]bool, len(places))
	for _, place := range places {
		chosen[place.ID] = true
		at := c.stores[place.ID]
		if at == nil {
			at = &copyAt{clone: inventory.Clone{Hash: h, Store: place.ID, Ext: clone.Ext, Size: clone.Size}}
			c.stores[place.ID] = at
		}
		if !at.asking && !now.Before(at.next) {
			a.ask(ctx, h, place, at)
		}
	}
	for id, at := range c.stores {
		if !chosen[id] && !at.asking && !now.Before(at.refused) && !now.Before(at.whole) {
			delete(c.stores, id)
		}
	}
}

// ask asks a store in the background, unless too many are asked already; a.mu is
// held.
func (a *Agent) ask(ctx context.Context, h content.Hash, place Place, at *copyAt) {
	select {
	case a.asks <- struct{}{}:
	default:
		return // the next turn does
	}
	at.asking = true
	a.calls.Go(func() {
		defer func() { <-a.asks }()
		ctx, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		whole, err := a.call(ctx, place, h)
		a.heard(h, place, at, whole, err)
	})
}

// heard notes what a store answered.
func (a *Agent) heard(h content.Hash, place Place, at *copyAt, whole bool, err error) {
	a.counts.asked.Add(1)
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	at.asking = false
	switch {
	case err != nil:
		a.counts.refused.Add(1)
		at.refuse(now)
		a.Log.Debug("store takes no copy", zap.String("store", place.ID), zap.Stringer("hash", h), zap.Error(err))
	case whole:
		at.whole, at.next, at.fails = now.Add(life), now.Add(renewEvery), 0
	default:
		at.whole, at.next = time.Time{}, now.Add(comingEvery)
	}
	a.publish()
}

// publish tells delivery of the copies that there are, at stores that are not
// asked any more too, as long as what they said holds; a.mu is held.
func (a *Agent) publish() {
	now := time.Now()
	known := make(map[content.Hash][]inventory.Clone)
	for h, c := range a.hot {
		for _, at := range c.stores {
			if now.Before(at.whole) {
				known[h] = append(known[h], at.clone)
			}
		}
	}
	a.known.Store(&known)
}
