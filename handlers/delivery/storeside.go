package delivery

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
)

// StoreSide serves the public routes of one store, at the store's own host
// name: `/static/<aa/bb/…/zz.ext>`, `/play/<token>/<name>`, and for nginx in
// front of it `/purchase/uri/play/<token>/<name>`. It gives what that store
// holds and nothing else.
type StoreSide struct {
	core
	volume *inventory.Volume
}

// NewStoreSide returns the public routes of a volume's store. Of the settings,
// Redirect and StoreURL mean nothing here; of deps, Stores, Registry, Elsewhere
// and Cache: who comes to this store by its name gets what it can give.
func NewStoreSide(deps Deps, volume *inventory.Volume, settings Settings) *StoreSide {
	deps.Stores, deps.Elsewhere, deps.Cache = oneStore{volume}, nil, nil
	return &StoreSide{core: newCore(deps, settings), volume: volume}
}

// oneStore is the StoreSet of a single volume.
type oneStore struct{ volume *inventory.Volume }

func (s oneStore) Volume(id string) (*inventory.Volume, bool) { return s.volume, id == s.volume.ID() }

func (s oneStore) Scanning() bool {
	status := s.volume.Status()
	return status.State != inventory.Offline && !status.Scanned
}

// Serve answers a request, as Handler.Serve does.
func (s *StoreSide) Serve(w http.ResponseWriter, r *http.Request) error {
	rt, ok := parseStorePath(r.URL.Path)
	if !ok {
		return handlers.ErrNotMine
	}
	return s.answer(w, r, rt.kind, func() error {
		switch rt.kind {
		case kindURI:
			return s.uri(w, r, rt)
		case kindStatic:
			placement, err := s.lookupStatic(r, rt)
			if err != nil {
				return err
			}
			list := s.own(placement)
			if len(list) == 0 {
				return s.notHere(placement, handlers.StaticUnknown)
			}
			return s.send(w, r, kindStatic, placement, list, serve.Info{Ext: placement.Clones[0].Ext, CacheControl: staticCache}, nil)
		}
		g, err := s.admit(r, rt.token, true)
		if err != nil {
			return err
		}
		list := s.own(g.placement)
		if len(list) == 0 {
			return s.notHere(g.placement, handlers.ContentUnknown)
		}
		return s.sendPurchase(w, r, kindPlay, g, list)
	})
}

// own returns this store's clone, if it has one that can be read.
func (s *StoreSide) own(p *inventory.Placement) []candidate {
	for i := range p.Clones {
		if p.Clones[i].Store == s.volume.ID() && s.volume.Readable() {
			return []candidate{{clone: &p.Clones[i], volume: s.volume}}
		}
	}
	return nil
}

// notHere is the fault for content that others hold, or that this store can't
// give now.
func (s *StoreSide) notHere(p *inventory.Placement, code handlers.Code) *handlers.Fault {
	for i := range p.Clones {
		if p.Clones[i].Store == s.volume.ID() {
			return noStore(errNoCandidate)
		}
	}
	if f := s.nobodyHolds(p, code); f.Code != code {
		return f
	}
	return handlers.Faultf(code, "Content does not exist on this store")
}

// uri tells nginx which path to serve for a purchase. A request that does not
// say where it comes from passes: nginx asks in the client's stead and may not
// hand that on.
func (s *StoreSide) uri(w http.ResponseWriter, r *http.Request, rt route) error {
	if rt.token == "" {
		return s.writeURI(w, r, http.StatusInternalServerError, "/500")
	}
	g, err := s.admit(r, rt.token, false)
	var path string
	if err == nil {
		path, err = s.pathOf(r.Context(), g.placement)
	}
	if err == nil {
		err = s.count(r, g) // last: what can't be served is no use
	}
	if err != nil {
		status := uriStatus(err)
		s.report(r, kindURI, status, handlers.AsFault(err))
		return s.writeURI(w, r, status, "/"+strconv.Itoa(status))
	}
	return s.writeURI(w, r, http.StatusOK, path)
}

// pathOf returns where nginx, whose root is the store's folder of contents,
// finds this store's clone: where OOSE 2.x put it, or where it is put now. The
// file is opened as if it were to be sent, since one that is not as recorded
// must not leave through nginx either.
func (s *StoreSide) pathOf(ctx context.Context, p *inventory.Placement) (string, error) {
	list := s.own(p)
	open := opener{core: &s.core, ctx: ctx, list: list, size: -1}
	o, err := open.local()
	if err != nil {
		return "", noStore(err)
	}
	defer o.Close() // nothing was read
	c := list[0].clone
	return "/../" + disk.ClonePath(c.Hash, c.Ext, c.Deep), nil
}

// count counts the use that nginx is about to serve. When that ends is not
// known here, so that it counts as ended.
func (s *StoreSide) count(r *http.Request, g grant) error {
	if g.purchase.Count == 0 {
		return nil
	}
	done, err := s.use(r, g, r.Method == http.MethodGet)
	if err != nil {
		return err
	}
	done()
	return nil
}

// uriStatus is the status that nginx is given for a failure: it knows three.
func uriStatus(err error) int {
	f := handlers.AsFault(err)
	switch f.Code {
	case handlers.PurchaseUnknown, handlers.PurchaseExpired, handlers.PurchaseSpent, handlers.ContentUnknown:
		return http.StatusNotFound
	case handlers.RefererMissing, handlers.RefererRefused, handlers.AddressRefused, handlers.Blocked, handlers.TooMany:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

func (s *StoreSide) writeURI(w http.ResponseWriter, r *http.Request, status int, path string) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(path)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, path) // nginx asks again if it did not get it
	}
	s.deps.Metrics.Request(kindURI, status, 0)
	return nil
}
