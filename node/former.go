package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// What former owners wrote about a store is passed over from the moment in which
// its present one has written all of it. It is dropped a while after that; at once
// where the store is forgotten, for nobody has anything to write.
const (
	formerLook  = time.Minute
	formerWait  = 5 * time.Minute  // since a store's owner is seen to be this one
	formerAgain = 24 * time.Hour   // one who comes back after long may bring some
	formerSoon  = 10 * time.Minute // where some had to stay
	formerPage  = 200              // versions dropped in one go
	formerRest  = 4                // times as long as a page took: nobody waits for it
)

// former is when what was written of which store is looked at.
type former struct{ stores map[string]*tenure }

// tenure is one owner's time with a store.
type tenure struct {
	source string // "": nobody's
	since  record.Time
	due    time.Time
}

// due returns the stores whose records are to be looked at now, of the registered
// ones and of the forgotten.
func (f *former) due(peers, forgotten []heartbeat.Peer, now time.Time) []heartbeat.Peer {
	var due []heartbeat.Peer
	there := make(map[string]*tenure, len(f.stores))
	look := func(p heartbeat.Peer, fresh tenure) {
		t := f.stores[p.ID]
		if t == nil || t.source != fresh.source || t.since != fresh.since {
			t = &fresh
		}
		there[p.ID] = t
		if !t.due.After(now) {
			due = append(due, p)
		}
	}
	for _, p := range forgotten {
		look(p, tenure{since: p.Claimed, due: now})
	}
	for _, p := range peers {
		if p.Kind == peer.Store && p.Complete && p.Source != "" && there[p.ID] == nil {
			look(p, tenure{source: p.Source, due: now.Add(formerWait)})
		}
	}
	f.stores = there
	return due
}

// done says when to look at a store again.
func (f *former) done(store string, now time.Time, left bool) {
	wait := formerAgain
	if left {
		wait = formerSoon
	}
	f.stores[store].due = now.Add(wait)
}

// runFormer drops what former owners wrote about stores, until ctx ends.
func (n *Node) runFormer(ctx context.Context) error {
	var f former
	ticker := time.NewTicker(formerLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case <-n.forgotten.drop:
			n.recalled(&f)
		}
		for _, p := range f.due(n.Registry.Peers(), n.forgotten.owners(), time.Now()) {
			dropped, left, err := n.dropFormer(ctx, p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				n.log.Debug("dropping what former owners wrote; it is tried again", zap.String("store", p.Name.Store), zap.Error(err))
			}
			if dropped > 0 {
				n.log.Info("dropped what former owners wrote about a store", zap.String("store", p.Name.Store), zap.Int("records", dropped))
			}
			f.done(p.ID, time.Now(), left || err != nil)
			if _, here := n.volumes.Volume(p.ID); here && p.Source == "" && !left && err == nil {
				n.register() // nothing stands in the way of its return
			}
		}
	}
}

// recalled has the forgotten stores of this process looked at at once: they wait
// for it, and may have heard late that they are forgotten.
func (n *Node) recalled(f *former) {
	for id, t := range f.stores {
		if _, here := n.volumes.Volume(id); here && t.source == "" {
			t.due = time.Time{}
		}
	}
}

// errOwner says that a store may have got another owner: the next look tells.
var errOwner = errors.New("the store's owner has changed")

// dropFormer drops what others than a store's owner wrote about it before that
// took it; left tells whether some of it is still there.
func (n *Node) dropFormer(ctx context.Context, p heartbeat.Peer) (dropped int, left bool, err error) {
	var page []record.Record
	began := time.Now()
	drop := func() error {
		if len(page) == 0 {
			return nil
		}
		if !n.stillOwns(p) {
			return errOwner
		}
		gone, err := n.engine.Drop(ctx, page)
		dropped, left = dropped+gone, left || gone < len(page)
		page = page[:0]
		return err
	}
	seen := 0
	for r, err := range n.engine.List(ctx, record.Inventory, record.ByMember, p.ID, "") {
		if err != nil {
			return dropped, true, err
		}
		// Later ones may be the next owner's, of whose claim this node has not heard.
		if r.Source != p.Source && r.Time < p.Claimed {
			page = append(page, r)
		}
		if seen++; len(page) < formerPage && seen%(10*formerPage) != 0 {
			continue
		}
		err := drop()
		if err == nil {
			err = rest(ctx, formerRest*time.Since(began))
		}
		if err != nil {
			return dropped, true, err
		}
		began = time.Now()
	}
	return dropped, left, drop()
}

// stillOwns tells whether a store has the owner that it had, and this node has
// not just taken it.
func (n *Node) stillOwns(p heartbeat.Peer) bool {
	if p.Source == "" {
		return n.forgotten.at(p.ID) == p.Claimed
	}
	now, ok := n.Registry.Lookup(p.ID)
	return ok && now.Complete && now.Source == p.Source && n.claims.at(p.ID) <= now.Claimed
}

// rest waits, or returns ctx's error.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
