package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ooseio/oose/node"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("oose_purchase", parsePurchase)
	httpcaddyfile.RegisterHandlerDirective("oose_prism", parsePrism)
	httpcaddyfile.RegisterDirective("oose_store", parseStore)
	// Each comes right before respond, so the order of these lines is theirs.
	httpcaddyfile.RegisterDirectiveOrder("oose_purchase", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("oose_prism", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("oose_store", httpcaddyfile.Before, "respond")
}

func parsePurchase(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Purchase)
	return p, p.UnmarshalCaddyfile(h.Dispenser)
}

func parsePrism(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Prism)
	return p, p.UnmarshalCaddyfile(h.Dispenser)
}

// storeForm is how the directive oose_store is written.
const storeForm = "oose_store <name> <root>"

// parseStore reads the directive oose_store. A lone path would be taken for a
// matcher, and the store's name and root for missing; it is refused instead.
func parseStore(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	if args := h.RemainingArgs(); len(args) == 1 && strings.HasPrefix(args[0], "/") {
		return nil, h.Errf("oose_store %s: its name is missing, write: oose_store <name> %s; or oose_store alone, which serves the store that the request's host names", args[0], args[0])
	}
	h.Reset()
	h.Next()
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	s := new(Store)
	if err := s.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matchers, s), nil
}

// UnmarshalCaddyfile reads the handler of purchases:
//
//	oose_purchase [<matcher>] {
//		delivery    stream|redirect
//		deny_static <extension...>|none
//		cors        <origin...>|*
//		pass_errors
//	}
func (p *Purchase) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.Errf("oose_purchase has %q too much, write its settings in a block: oose_purchase { ... }", d.Val())
	}
	return block{
		"delivery":    text(&p.Delivery, "delivery stream, or: delivery redirect"),
		"deny_static": denyOption(&p.DenyStatic),
		"cors":        texts(&p.CORS, "cors <origin...>, or: cors *"),
		"pass_errors": toggle(&p.PassErrors, "pass_errors"),
	}.parse(d, func() error { return p.check(true) })
}

// UnmarshalCaddyfile reads the handler of a prism. Its name is the node's by
// default:
//
//	oose_prism [<matcher>] [<name>] {
//		basic_auth <user> <bcrypt hash>
//	}
func (p *Prism) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		p.Name = d.Val()
	}
	if d.NextArg() {
		return d.Errf("oose_prism has %q too much, write: oose_prism [<name>]", d.Val())
	}
	check := func() error { return p.check(true) }
	if err := check(); err != nil {
		return d.WrapErr(err)
	}
	return block{"basic_auth": basicOption(&p.BasicAuth)}.parse(d, check)
}

// UnmarshalCaddyfile reads the handler of a store. Without a name it serves
// the store that the first label of the request's host names:
//
//	oose_store [<matcher>] [<name> <root>] {
//		reserve     <size>
//		mount
//		cache       <size>
//		prism       <name>
//		address     <web address>
//		basic_auth  <user> <bcrypt hash>
//		deny_static <extension...>|none
//		cors        <origin...>|*
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	args := d.RemainingArgs()
	switch len(args) {
	case 0:
	case 1:
		return d.Errf("oose_store %s: its root is missing, write: oose_store %s <root>", args[0], args[0])
	case 2:
		s.Name, s.Root = args[0], args[1]
	default:
		return d.Errf("oose_store has %q too much, write: %s", args[2], storeForm)
	}
	check := func() error { return s.check(true) }
	if err := check(); err != nil {
		return d.WrapErr(err)
	}
	var own node.Store
	b := storeBlock(&own)
	b["prism"] = text(&s.Prism, "prism <name>")
	b["address"] = text(&s.Address, "address <web address>")
	b["basic_auth"] = basicOption(&s.BasicAuth)
	b["deny_static"] = denyOption(&s.DenyStatic)
	b["cors"] = texts(&s.CORS, "cors <origin...>, or: cors *")
	return b.parse(d, func() error {
		s.Reserve, s.Mount, s.Cache = own.Reserve, own.Mount, own.Cache
		return check()
	})
}

func basicOption(to **BasicAuth) option {
	const form = "basic_auth <user> <bcrypt hash>"
	return option{form: form, parse: func(d *caddyfile.Dispenser) error {
		user, err := argument(d, form)
		if err != nil {
			return err
		}
		if !d.NextArg() {
			return d.Errf("basic_auth %s has no hash, write: %s", user, form)
		}
		*to = &BasicAuth{User: user, Hash: d.Val()}
		return nil
	}}
}

// denyOption reads extensions; none stands for an empty list, which is another
// thing than the default.
func denyOption(to *[]string) option {
	o := texts(to, "deny_static <extension...>, or: deny_static none")
	o.many = false
	inner := o.parse
	o.parse = func(d *caddyfile.Dispenser) error {
		if err := inner(d); err != nil {
			return err
		}
		if len(*to) == 1 && (*to)[0] == "none" {
			*to = []string{}
		}
		return nil
	}
	return o
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Purchase)(nil)
	_ caddyfile.Unmarshaler = (*Prism)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
)
