package delivery

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
)

// candidate is one clone that may be served.
type candidate struct {
	clone  *inventory.Clone
	volume *inventory.Volume
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
		list = append(list, candidate{clone, v})
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
	for to, store := range heartbeat.Order(c.deps.Self, stores) {
		for from := to; from < len(list); from++ {
			if list[from].clone.Store == store.ID {
				list[to], list[from] = list[from], list[to]
			}
		}
	}
}

// opener opens one content, from one candidate after the other.
type opener struct {
	core *core
	ctx  context.Context // of the one request it lives in
	list []candidate     // not tried yet
	size int64           // of the content, -1 while no clone has been opened
	last string          // the store that was opened last
	err  error           // why the last candidate could not be opened
}

// opened is a clone's file, and the use of its volume.
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

// open opens the next candidate that can be opened.
func (o *opener) open() (*opened, error) {
	for len(o.list) > 0 {
		if err := o.ctx.Err(); err != nil {
			return nil, err // nobody waits for it, and that says nothing about the stores
		}
		cand := o.list[0]
		o.list = o.list[1:]
		if o.size >= 0 && cand.clone.Size != o.size {
			continue // a record that is wrong about the size: nothing to continue with
		}
		release, ok := cand.volume.Acquire()
		if !ok {
			o.err = inventory.ErrOffline
			continue
		}
		f, err := cand.volume.Open(o.ctx, *cand.clone)
		if err == nil {
			o.size, o.last = cand.clone.Size, cand.clone.Store
			return &opened{f, release}, nil
		}
		release()
		o.err = err
		if o.ctx.Err() != nil {
			continue
		}
		if e := o.core.deps.Log.Check(zap.WarnLevel, "clone can't be opened"); e != nil {
			e.Write(zap.String("store", cand.volume.Name()), zap.Stringer("hash", cand.clone.Hash), zap.Error(err))
		}
	}
	if o.err == nil {
		o.err = errNoCandidate
	}
	return nil, o.err
}

var errNoCandidate = errors.New("no store that holds the content is available")

// reopen is serve.Info's Next: the content from offset on, from another clone.
func (o *opener) reopen(int64) (io.ReadCloser, error) {
	f, err := o.open()
	if err != nil {
		return nil, err
	}
	o.core.deps.Metrics.Failover()
	return f, nil
}

// failed is serve.Info's Failed.
func (o *opener) failed(err error) {
	if e := o.core.deps.Log.Check(zap.WarnLevel, "clone failed while it was sent"); e != nil {
		e.Write(zap.String("store", o.last), zap.Error(err))
	}
}

// sendPurchase sends the content of a purchase and counts the use.
func (c *core) sendPurchase(w http.ResponseWriter, r *http.Request, kind Kind, g grant, list []candidate) error {
	info := serve.Info{Ext: g.ext, CacheControl: purchaseCache(g.left)}
	if g.purchase.Count == 0 {
		return c.send(w, r, kind, list, info, nil)
	}
	return c.send(w, r, kind, list, info, func(isUse bool) (func(), error) { return c.use(r, g, isUse) })
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

// send answers with a content, from the candidates in their order. use, where
// it is not nil, is asked before anything is written, whether the response may
// be had; its done is called at the end.
func (c *core) send(w http.ResponseWriter, r *http.Request, kind Kind, list []candidate, info serve.Info, use func(isUse bool) (done func(), err error)) error {
	if len(list) == 0 {
		return noStore(errNoCandidate)
	}
	open := opener{core: c, ctx: r.Context(), list: list, size: -1}
	info.Hash, info.Size = list[0].clone.Hash, list[0].clone.Size
	info.Loosen, info.Next, info.Failed = c.deps.Loosen, open.reopen, open.failed
	info.Refuse = func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error { return f }
	plan := serve.Prepare(r, &info)

	var file *os.File
	if plan.HasContent() {
		o, err := open.open()
		if err != nil {
			return noStore(err)
		}
		defer o.Close() // it was only read
		file = o.file
		if open.size != info.Size {
			info.Size = open.size
			plan = serve.Prepare(r, &info)
		}
	}
	if use != nil {
		done, err := use(plan.HasBody())
		if err != nil {
			return err
		}
		defer done()
	}
	if plan.HasBody() {
		c.deps.Metrics.Stream(1)
		defer c.deps.Metrics.Stream(-1)
	}
	result, err := plan.Send(w, r, file)
	if errors.Is(err, serve.ErrUnreadable) {
		return noStore(err)
	}
	if err != nil && !errors.Is(err, serve.ErrBroken) {
		return err // the refusal of a range
	}
	c.deps.Metrics.Request(kind, result.Status, result.Sent)
	return abortBroken(err)
}
