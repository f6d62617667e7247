package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/peer"
)

func init() {
	caddy.RegisterModule(new(Store))
}

// Store serves one store: its private API, and content at the store's own host
// name. With a name and a root it declares the store as well; without them it
// serves the store that the first label of the request's host names. Other
// requests go to the next handler.
type Store struct {
	// The store's name, unique in the cluster: the first label of
	// `<name>.<domain>`. Default: the first label of the request's host.
	Name string `json:"name,omitempty"`

	// The folder that holds the store. Required with a name.
	Root string `json:"root,omitempty"`

	// The free space below which the store is not writable. Default: 5GB.
	Reserve node.Size `json:"reserve,omitempty"`

	// Whether the store is offline unless its root is a mount point, so that
	// nothing is written below a medium that is not mounted. Default: false.
	Mount bool `json:"mount,omitempty"`

	// Room for pull-through copies. Default: none.
	Cache node.Size `json:"cache,omitempty"`

	// The prism the store belongs to. Default: the prism of this process,
	// without one the name of the node.
	Prism string `json:"prism,omitempty"`

	// The web address at which clients reach this store. Default: the site
	// that holds this handler, where it has a host name. Without one nobody
	// is redirected to the store.
	Address string `json:"address,omitempty"`

	// Who may use the private routes. Default: nobody.
	BasicAuth *BasicAuth `json:"basic_auth,omitempty"`

	// Extensions of stored content that only a purchase may fetch; an empty
	// list denies none. Default: audio and video.
	DenyStatic []string `json:"deny_static,omitzero"`

	// Origins whose pages may read what is delivered, as
	// `https://player.example`; `*` is all of them. Default: none.
	CORS []string `json:"cors,omitempty"`

	role role
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oose_store",
		New: func() caddy.Module { return new(Store) },
	}
}

// Provision finds the node's app and tells it of this store.
func (s *Store) Provision(ctx caddy.Context) error {
	if err := replacePlaceholders(s); err != nil {
		return err
	}
	if err := s.check(false); err != nil {
		return err
	}
	if err := makeAbsolute(&s.Root); err != nil {
		return err
	}
	spec := s.spec()
	err := s.role.provision(ctx, func(a *node.Attachment) (node.Server, error) { return a.Store(spec) })
	if err != nil || s.Name == "" {
		return err
	}
	return s.role.app.declareStore(spec)
}

func (s *Store) spec() node.StoreSpec {
	return node.StoreSpec{
		Store:      node.Store{Name: s.Name, Root: s.Root, Reserve: s.Reserve, Mount: s.Mount, Cache: s.Cache},
		Prism:      s.Prism,
		Address:    s.Address,
		Basic:      s.BasicAuth.spec(),
		DenyStatic: s.DenyStatic,
		CORS:       s.CORS,
	}
}

// ServeHTTP serves the store, or asks the next handler.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return s.role.serve(w, r, next)
}

// check tells which setting is wrong; lenient passes over placeholders.
func (s *Store) check(lenient bool) error {
	own := s.spec().Store
	switch {
	case s.Name != "" || s.Root != "":
		validate := own.Validate
		if lenient {
			validate = own.ValidateText
		}
		if err := validate(); err != nil {
			return err
		}
	case own != node.Store{}:
		return errors.New("oose_store: reserve, mount and cache belong to a store that is named, write: " + storeForm)
	case s.Prism != "" || s.Address != "":
		return errors.New("oose_store: prism and address belong to a store that is named, write: " + storeForm)
	}
	if s.Prism != "" && !(lenient && hasPlaceholder(s.Prism)) {
		if err := peer.CheckName(s.Prism); err != nil {
			return fmt.Errorf("prism: %w", err)
		}
	}
	if err := node.ValidateAddress("address", s.Address, lenient); err != nil {
		return err
	}
	if err := s.BasicAuth.check(lenient); err != nil {
		return err
	}
	if err := checkExtensions(s.DenyStatic, lenient); err != nil {
		return err
	}
	return checkOrigins(s.CORS, lenient)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Store)(nil)
	_ caddyhttp.MiddlewareHandler = (*Store)(nil)
)
