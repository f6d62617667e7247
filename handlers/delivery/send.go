package delivery

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
)

// candidate is one clone that may be served.
type candidate struct {
	clone  *inventory.Clone
	volume *inventory.Volume // nil: its store is not in this process

	failing bool // it has just failed a request
}

// candidates returns the clones on available stores of this process, the best
// to serve from first.
func (c *core) candidates(p *inventory.Placement) []candidate {
	list := make([]candidate, 0, len(p.Clones))
	for i := range p.Clones {
		clone := &p.Clones[i]
		v, ok := c.deps.Stores.Volume(clone.Store)
		if !ok || !v.Readable() || c.deps.Registry != nil && !c.deps.Registry.Available(clone.Store) {
			continue
		}
		list = append(list, candidate{clone: clone, volume: v})
	}
	if len(list) > 1 {
		c.order(list)
	}
	return list
}

// order puts the store to serve from first in front.
func (c *core) order(list []candidate) {
	stores := make([]heartbeat.Candidate, len(list))
	for i, cand := range list {
		stores[i] = heartbeat.Candidate{
			ID: cand.clone.Store, Local: true,
			Group: c.deps.Self.Group, Site: c.deps.Self.Site,
			InFlight: cand.volume.InFlight(),
		}
	}
	arrange(list, heartbeat.Order(c.deps.Self, stores))
}

// sendPurchase sends the content of a purchase and counts the use.
func (c *core) sendPurchase(w http.ResponseWriter, r *http.Request, kind Kind, g grant, list []candidate) error {
	info := serve.Info{Ext: g.ext, CacheControl: purchaseCache(g.left)}
	if g.purchase.Count == 0 {
		return c.send(w, r, kind, g.placement, list, info, nil)
	}
	return c.send(w, r, kind, g.placement, list, info, func(isUse bool) (func(), error) { return c.use(r, g, isUse) })
}

// use counts a use of a purchase whose uses are bounded; a request that is none
// is only looked at. Its errors are Faults.
func (c *core) use(r *http.Request, g grant, isUse bool) (done func(), err error) {
	agent := r.Header.Get("User-Agent")
	if isUse {
		done, err = c.deps.Book.Use(r.Context(), g.purchase, g.client, agent)
	} else {
		done, err = func() {}, c.deps.Book.Spent(r.Context(), g.purchase, g.client, agent)
	}
	if err != nil {
		return nil, c.purchaseFault(r, err)
	}
	return done, nil
}

// send answers with a content, from the candidates in their order and then from
// stores elsewhere. use, where it is not nil, is asked before anything is
// written, whether the response may be had; its done is called at the end.
func (c *core) send(w http.ResponseWriter, r *http.Request, kind Kind, p *inventory.Placement, list []candidate, info serve.Info, use func(isUse bool) (done func(), err error)) error {
	info.Refuse = func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error { return f }
	result, err := c.deliver(w, r, p, list, &info, use)
	if errors.Is(err, serve.ErrUnreadable) {
		return noStore(err)
	}
	if err != nil && !errors.Is(err, serve.ErrBroken) {
		return err // the refusal of a range, or of use
	}
	c.deps.Metrics.Request(kind, result.Status, result.Sent)
	return abortBroken(err)
}

// deliver sends a content. Errors, with nothing written: serve.ErrUnreadable,
// those of use and of info.Refuse. Else serve.ErrBroken.
func (c *core) deliver(w http.ResponseWriter, r *http.Request, p *inventory.Placement, list []candidate, info *serve.Info, use func(isUse bool) (done func(), err error)) (serve.Result, error) {
	open := opener{core: c, ctx: r.Context(), placement: p, list: list, size: -1}
	defer open.close()
	if len(list) == 0 && !open.refill() && !open.hasCopy() {
		return serve.Result{}, unreadable(errNoCandidate)
	}
	info.Hash, info.Size = p.Clones[0].Hash, p.Clones[0].Size
	if len(open.list) > 0 {
		info.Size = open.list[0].clone.Size
	}
	info.Loosen, info.Next, info.Failed = c.deps.Loosen, open.reopen, open.failed
	plan := serve.Prepare(r, info)

	var file *os.File
	var body io.ReadCloser
	if plan.HasContent() {
		o, err := open.local()
		if err == nil {
			defer o.Close() // it was only read
			file = o.file
		} else if body, err = open.first(&plan, info, r); err != nil {
			return serve.Result{}, unreadable(err)
		}
		if open.size != info.Size {
			info.Size = open.size
			plan = serve.Prepare(r, info)
		}
	}
	if use != nil {
		done, err := use(plan.HasBody())
		if err != nil {
			if body != nil {
				_ = body.Close() // it was only read
			}
			return serve.Result{}, err
		}
		defer done()
	}
	if plan.HasBody() {
		c.deps.Metrics.Stream(1)
		defer c.deps.Metrics.Stream(-1)
	}
	if body != nil {
		return plan.SendFrom(w, r, body)
	}
	return plan.Send(w, r, file)
}

func unreadable(err error) error { return fmt.Errorf("%w: %w", serve.ErrUnreadable, err) }

// first opens what a response begins with where no store of this process gives
// it. HEAD is content with a store that is available, and an empty content with
// a record.
func (o *opener) first(plan *serve.Plan, info *serve.Info, r *http.Request) (io.ReadCloser, error) {
	if len(o.list) == 0 && !o.refill() && !o.hasCopy() {
		return nil, o.err
	}
	if len(o.list) > 0 && o.list[0].clone.Size != info.Size {
		info.Size = o.list[0].clone.Size
		*plan = serve.Prepare(r, info)
	}
	o.size = info.Size
	start, end := plan.First()
	if !plan.HasBody() || start == end {
		return nil, nil
	}
	body, err := o.next(start, end)
	if err == nil && o.last != nil && o.core.deps.Demand != nil {
		o.core.deps.Demand.Count(o.hash(), !holds(o.placement, o.last.Store))
	}
	return body, err
}
