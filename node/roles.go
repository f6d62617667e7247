package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/handlers/store"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// Server answers requests. It returns handlers.ErrNotMine, with nothing
// written, for those that are not its own.
type Server interface {
	Serve(w http.ResponseWriter, r *http.Request) error
}

// Basic is a name and the bcrypt hash of a password for HTTP basic auth.
type Basic struct{ User, Hash string }

// PrismSpec is a prism as a configuration has it.
type PrismSpec struct {
	Name  string // default: the node's
	Basic *Basic // nil: nobody
}

// StoreSpec is a store as a configuration has it.
type StoreSpec struct {
	Store
	Prism      string // it belongs to; default: the prism of this process
	Address    string // where clients reach it, "" where they don't
	Basic      *Basic // nil: nobody
	DenyStatic []string
	CORS       []string
}

// PurchaseSpec is the delivery of purchases as a configuration has it.
type PurchaseSpec struct {
	Redirect   bool
	DenyStatic []string // nil: audio and video
	CORS       []string
	PassErrors bool
}

// Purchase returns what delivers purchases.
func (a *Attachment) Purchase(p PurchaseSpec) (Server, error) {
	return joined{a, delivery.New(a.delivery(), delivery.Settings{
		Redirect:   p.Redirect,
		StoreURL:   a.node.storeURL,
		DenyStatic: p.DenyStatic,
		CORS:       p.CORS,
		PassErrors: p.PassErrors,
		Compat:     a.compat(),
	})}, nil
}

// delivery is what delivery works with.
func (a *Attachment) delivery() delivery.Deps {
	n := a.node
	d := delivery.Deps{
		Book:     n.Book,
		Index:    n.Index,
		Stores:   &n.volumes,
		Registry: n.Registry,
		Self:     n.location(),
		Client:   a.spec.Client,
		Loosen:   a.spec.Loosen,
		Misses:   n.misses,
		Metrics:  a.spec.Metrics,
		Clock:    n.clock,
		Log:      n.log.Named("purchase"),

		Alone:      n.alone,
		Ready:      n.ready,
		FirstBytes: &n.firstBytes,
	}
	if o := n.others; o != nil {
		d.Elsewhere, d.Cache, d.Demand = o.source, &n.volumes.caches, o.demand
		if o.asker != nil {
			d.Content = o.asker.Content
		}
	}
	return d
}

func (a *Attachment) compat() bool { return a.spec.Config.Compat == Compat2 }

// Prism returns what answers the API.
func (a *Attachment) Prism(p PrismSpec) (Server, error) {
	n, cfg := a.node, &a.spec.Config
	or(&p.Name, n.id.Name)
	basic, err := p.Basic.check()
	if err != nil {
		return nil, err
	}
	hashType, err := content.ParseType(cfg.Content.Hash)
	if err != nil {
		return nil, err
	}
	deps := prism.Deps{
		Book:     n.Book,
		Index:    n.Index,
		Users:    n.Users,
		Sessions: n.Sessions,
		Uploader: n.uploader,
		Stores:   &n.volumes,
		Peers:    n.Registry,
		Counters: n.Counters,
		Audit:    n.Audit.Add,
		Clock:    n.clock,
		Log:      n.log.Named("prism"),
		Client:   a.spec.Client,
		Loosen:   a.spec.Loosen,
		Denied:   a.spec.Denied,
		Ready:    n.ready,
		Sender:   delivery.NewSender(a.delivery()),
		Own:      func() []upload.Store { return n.storesOf(p.Name) },
	}
	if o := n.others; o != nil {
		deps.Node, deps.Confirm = o.handler.Node, n.engine.Confirm
		if n.journal != nil {
			deps.Spread = func(ctx context.Context) { n.journal.Spread(ctx, record.Ack{Revision: n.journal.Head()}) }
		}
		if o.asker != nil {
			deps.Content, deps.Contents = o.asker.Content, o.asker.Contents
		}
	}
	return joined{a, prism.New(deps, prism.Settings{
		Name:            peer.Name{Prism: p.Name},
		Version:         a.spec.Version,
		Basic:           basic,
		Compat:          a.compat(),
		SessionHeader:   cfg.Session.Header,
		Copies:          cfg.Content.Copies,
		MaxSize:         int64(cfg.Content.MaxSize),
		HashType:        hashType,
		RetrievePrivate: cfg.Content.RetrievePrivate,
		Life:            cfg.Purchase.Life.Std(),
		URL:             func() string { return cfg.URL },
	})}, nil
}

// check returns what checks these credentials, nil for none.
func (b *Basic) check() (*account.Basic, error) {
	if b == nil {
		return nil, nil
	}
	return account.NewBasic(b.User, b.Hash)
}

// Store returns what serves a store; without a name, the store that the
// request's host names.
func (a *Attachment) Store(s StoreSpec) (Server, error) {
	basic, err := s.Basic.check()
	if err != nil {
		return nil, err
	}
	if s.Name == "" {
		all := byHost{domain: a.spec.Config.Domain, stores: make(map[string]Server)}
		for _, declared := range a.spec.Stores {
			all.stores[declared.Name] = a.store(declared, s, basic)
		}
		return joined{a, all}, nil
	}
	for _, declared := range a.spec.Stores {
		if declared.Name == s.Name {
			return joined{a, a.store(declared, s, basic)}, nil
		}
	}
	return nil, fmt.Errorf("store %s is not declared", s.Name)
}

// store makes the server of a declared store as one handler has it.
func (a *Attachment) store(declared, handler StoreSpec, basic *account.Basic) Server {
	n := a.node
	volume := a.byName[declared.Name].Volume
	deps := store.Deps{
		Volume:   volume,
		Uploader: n.uploader,
		Stores:   &n.volumes,
		Peers:    n.Registry,
		Counters: n.Counters,
		Audit:    n.Audit.Add,
		Clock:    n.clock,
		Log:      n.log.Named("store").With(zap.String("store", declared.Name)),
		Client:   a.spec.Client,
		Loosen:   a.spec.Loosen,
		Public: delivery.NewStoreSide(a.delivery(), volume, delivery.Settings{
			DenyStatic: handler.DenyStatic,
			CORS:       handler.CORS,
			Compat:     a.compat(),
		}),
	}
	if o := n.others; o != nil {
		deps.Node, deps.Remote = o.handler.Node, o.source.Store
	}
	return store.New(deps, store.Settings{
		Name:    peer.Name{Prism: declared.Prism, Store: declared.Name},
		Version: a.spec.Version,
		Basic:   basic,
		MaxSize: int64(a.spec.Config.Content.MaxSize),
		Compat:  a.compat(),
	})
}

// byHost serves the store that the first label of the request's host names.
type byHost struct {
	domain string // where it is set, the host must be in it
	stores map[string]Server
}

// Serve answers a request, as Server says.
func (b byHost) Serve(w http.ResponseWriter, r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	label, domain, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	server, ok := b.stores[label]
	if !ok || b.domain != "" && domain != b.domain {
		return handlers.ErrNotMine
	}
	return server.Serve(w, r)
}
