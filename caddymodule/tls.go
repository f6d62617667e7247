package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

func init() {
	caddy.RegisterModule(Permission{})
}

// Permission lets on-demand TLS get certificates for the names of known peers
// alone, `<peer>.<domain>`: nobody can make this server ask for certificates
// of names that it does not serve. Peers are the prisms and stores of the
// registry. It needs the `domain` of the `oose` app. It has no settings.
type Permission struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (Permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tls.permission.oose",
		New: func() caddy.Module { return new(Permission) },
	}
}

// UnmarshalCaddyfile sets up the permission. Syntax, among the global options:
//
//	on_demand_tls {
//		permission oose
//	}
func (*Permission) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the permission's name
	if d.NextArg() {
		return d.Errf("permission oose takes no arguments, got '%s'", d.Val())
	}
	return nil
}

// Provision gets the app whose registry is asked.
func (p *Permission) Provision(ctx caddy.Context) error {
	app, err := ctx.App("oose")
	if err != nil {
		return err
	}
	var ok bool
	if p.app, ok = app.(*App); !ok {
		return errors.New("the app oose is another module's")
	}
	if p.app.Domain == "" {
		return errors.New("permission oose needs the domain of the oose block: certificates are for <peer>.<domain>")
	}
	return nil
}

// CertificateAllowed returns nil for `<peer>.<domain>` of a known peer. It
// asks nothing but memory.
func (p *Permission) CertificateAllowed(_ context.Context, name string) error {
	n, err := p.app.Node()
	if err != nil {
		return fmt.Errorf("asking for the peers: %w", err)
	}
	if !n.Registry.Known(strings.ToLower(name), p.app.Domain) {
		return fmt.Errorf("%w: %q is not the name of a known peer", caddytls.ErrPermissionDenied, name)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Permission)(nil)
	_ caddyfile.Unmarshaler       = (*Permission)(nil)
	_ caddytls.OnDemandPermission = (*Permission)(nil)
)
