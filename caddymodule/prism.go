package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/peer"
)

func init() {
	caddy.RegisterModule(new(Prism))
}

// Prism answers the HTTP API: users and their sessions, uploads, purchases and
// what is known of contents. Other requests go to the next handler.
type Prism struct {
	// The prism's name, the first label of `<name>.<domain>`. Default: the
	// name of the node.
	Name string `json:"name,omitempty"`

	// Who may use the private routes, and all others instead of a session.
	// Default: nobody.
	BasicAuth *BasicAuth `json:"basic_auth,omitempty"`

	role role
}

// BasicAuth is a name and a password for HTTP basic auth.
type BasicAuth struct {
	// The user's name. Required.
	User string `json:"user"`

	// The bcrypt hash of the password. Required.
	Hash string `json:"hash"`
}

// CaddyModule returns the Caddy module information.
func (*Prism) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oose_prism",
		New: func() caddy.Module { return new(Prism) },
	}
}

// Provision finds the node's app and tells it of this prism.
func (p *Prism) Provision(ctx caddy.Context) error {
	if err := replacePlaceholders(p); err != nil {
		return err
	}
	if err := p.check(false); err != nil {
		return err
	}
	spec := node.PrismSpec{Name: p.Name, Basic: p.BasicAuth.spec()}
	err := p.role.provision(ctx, func(a *node.Attachment) (node.Server, error) { return a.Prism(spec) })
	if err != nil {
		return err
	}
	p.role.app.declarePrism(spec)
	return nil
}

// ServeHTTP answers the API, or asks the next handler.
func (p *Prism) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return p.role.serve(w, r, next)
}

// check tells which setting is wrong; lenient passes over placeholders.
func (p *Prism) check(lenient bool) error {
	if p.Name != "" && !(lenient && hasPlaceholder(p.Name)) {
		if err := peer.CheckName(p.Name); err != nil {
			return fmt.Errorf("oose_prism: %w", err)
		}
	}
	return p.BasicAuth.check(lenient)
}

func (b *BasicAuth) check(lenient bool) error {
	if b == nil {
		return nil
	}
	return node.ValidateBasic(b.User, b.Hash, lenient)
}

func (b *BasicAuth) spec() *node.Basic {
	if b == nil {
		return nil
	}
	return &node.Basic{User: b.User, Hash: b.Hash}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Prism)(nil)
	_ caddyhttp.MiddlewareHandler = (*Prism)(nil)
)
