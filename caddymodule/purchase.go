package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/node"
)

func init() {
	caddy.RegisterModule(new(Purchase))
}

// Purchase delivers what purchases give: it answers `/<token>/<name>`, and
// beside it `/static/<hash>/<name>` and `/crossdomain.xml`. Other requests go
// to the next handler.
type Purchase struct {
	// `stream` sends the content itself; `redirect` sends the client to the
	// host name of a store that holds it, where one can be reached.
	// Default: stream.
	Delivery string `json:"delivery,omitempty"`

	// Extensions of stored content that only a purchase may fetch; an empty
	// list denies none. Default: audio and video.
	DenyStatic []string `json:"deny_static,omitzero"`

	// Origins whose pages may read what is delivered, as
	// `https://player.example`; `*` is all of them. Default: none.
	CORS []string `json:"cors,omitempty"`

	// Whether errors are handed to the server's error routes instead of being
	// answered as JSON, or as a small page for a browser. Default: false.
	PassErrors bool `json:"pass_errors,omitempty"`

	role role
}

// CaddyModule returns the Caddy module information.
func (*Purchase) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.oose_purchase",
		New: func() caddy.Module { return new(Purchase) },
	}
}

// Provision finds the node's app.
func (p *Purchase) Provision(ctx caddy.Context) error {
	if err := replacePlaceholders(p); err != nil {
		return err
	}
	if err := p.check(false); err != nil {
		return err
	}
	p.role.passErrors = p.PassErrors
	return p.role.provision(ctx, func(a *node.Attachment) (node.Server, error) {
		return a.Purchase(node.PurchaseSpec{
			Redirect:   p.Delivery == deliveryRedirect,
			DenyStatic: p.DenyStatic,
			CORS:       p.CORS,
			PassErrors: p.PassErrors,
		})
	})
}

// ServeHTTP delivers, or asks the next handler.
func (p *Purchase) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return p.role.serve(w, r, next)
}

// The ways of delivery.
const (
	deliveryStream   = "stream"
	deliveryRedirect = "redirect"
)

// check tells which setting is wrong; lenient passes over placeholders.
func (p *Purchase) check(lenient bool) error {
	switch {
	case p.Delivery == "", p.Delivery == deliveryStream, p.Delivery == deliveryRedirect:
	case lenient && hasPlaceholder(p.Delivery):
	default:
		return fmt.Errorf("delivery: %.40q is unknown, choose stream or redirect", p.Delivery)
	}
	if err := checkExtensions(p.DenyStatic, lenient); err != nil {
		return err
	}
	return checkOrigins(p.CORS, lenient)
}

// checkExtensions tells which extension in deny_static is none.
func checkExtensions(exts []string, lenient bool) error {
	for _, e := range exts {
		if lenient && hasPlaceholder(e) {
			continue
		}
		if _, err := content.ParseExt(e); err != nil {
			return fmt.Errorf("deny_static: %.40q is no extension, write it like mp4", e)
		}
	}
	return nil
}

// checkOrigins tells which entry in cors is no origin (RFC 6454).
func checkOrigins(origins []string, lenient bool) error {
	for _, o := range origins {
		if o == "*" || o == "null" || lenient && hasPlaceholder(o) {
			continue
		}
		scheme, host, ok := strings.Cut(o, "://")
		if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#@ ") {
			return fmt.Errorf("cors: %.80q is no origin, write it like https://player.example, or * for all", o)
		}
	}
	return nil
}

func hasPlaceholder(s string) bool { return strings.Contains(s, "{") && strings.Contains(s, "}") }

// Interface guards
var (
	_ caddy.Provisioner           = (*Purchase)(nil)
	_ caddyhttp.MiddlewareHandler = (*Purchase)(nil)
)
