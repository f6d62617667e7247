package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/ooseio/oose/node"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oose", parseGlobal)
}

// parseGlobal reads the global option `oose`.
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("there is an oose block already, one process is one node: keep one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "oose", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the settings of the node. Everything is optional:
//
//	oose {
//		name       <name>
//		domain     <DNS domain>
//		site       <name>
//		group      <name>
//		data       <folder>
//		url        <web address>
//		engine     badger [<folder>]
//		engine     redis <address> {
//			prefix <text>
//		}
//		store <name> <root> {
//			reserve <size>
//			mount
//			cache   <size>
//		}
//		cluster {
//			secret      <new> [<old>]
//			address     <web address>
//			join        <address...>
//			trust       <PEM file>
//			client_auth <certificate file> <key file>
//		}
//		content {
//			hash     md5|sha1|sha224|sha256|sha384|sha512
//			copies   <number>
//			max_size <size>
//			retrieve_private
//		}
//		demand off
//		demand {
//			above  <requests a second>
//			stores <number>
//		}
//		purchase {
//			life  <duration>
//			zone  <character>
//			alone <duration>
//		}
//		session {
//			life   <duration>
//			header <name>
//			key    <user> <token>
//		}
//		heartbeat off
//		heartbeat {
//			interval    <duration>
//			timeout     <duration>
//			retries     <number>
//			vote_life   <duration>
//			start_delay <duration>
//		}
//		scan {
//			every   <duration>
//			workers <number>
//		}
//		repair {
//			after     <duration>
//			bandwidth <size>
//			parallel  <number>
//			max_share <per cent>
//		}
//		scrub {
//			every     <duration>
//			bandwidth <size>
//		}
//		user       <name> <bcrypt hash>
//		compat     2.x
//		exit_after <duration>
//	}
//
// `store`, `user`, `join` and `key` may be given more than once.
func (app *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("oose has %q too much, write its settings in a block: oose { ... }", d.Val())
	}
	return app.block().parse(d, app.ValidateText)
}

func (app *App) block() block {
	c, check := &app.Config, app.ValidateText
	return block{
		"name":       text(&c.Name, "name <name>"),
		"domain":     text(&c.Domain, "domain <DNS domain>"),
		"site":       text(&c.Site, "site <name>"),
		"group":      text(&c.Group, "group <name>"),
		"data":       text(&c.Data, "data <folder>"),
		"url":        text(&c.URL, "url <web address>"),
		"compat":     text(&c.Compat, "compat 2.x"),
		"exit_after": duration(&c.ExitAfter, "exit_after 30s"),
		"engine":     engineOption(&c.Engine, check),
		"store":      storeOption(c, check),
		"user":       pairOption(&c.Users, "user <name> <bcrypt hash>"),
		"cluster":    clusterOption(&c.Cluster, check),
		"content": section("content", block{
			"hash":             text(&c.Content.Hash, "hash sha1"),
			"copies":           whole(&c.Content.Copies, "copies 2"),
			"max_size":         size(&c.Content.MaxSize, "max_size 2TB"),
			"retrieve_private": toggle(&c.Content.RetrievePrivate, "retrieve_private"),
		}, check),
		"demand": offOption(&c.Demand.Off, "demand", block{
			"above":  whole(&c.Demand.Above, "above 20"),
			"stores": whole(&c.Demand.Stores, "stores 4"),
		}, check),
		"purchase": section("purchase", block{
			"life":  duration(&c.Purchase.Life, "life 2h"),
			"zone":  text(&c.Purchase.Zone, "zone a"),
			"alone": duration(&c.Purchase.Alone, "alone 30s"),
		}, check),
		"session": section("session", block{
			"life":   duration(&c.Session.Life, "life 24h"),
			"header": text(&c.Session.Header, "header X-OOSE-Token"),
			"key":    pairOption(&c.Session.Keys, "key <user> <token>"),
		}, check),
		"heartbeat": offOption(&c.Heartbeat.Off, "heartbeat", block{
			"interval":    duration(&c.Heartbeat.Interval, "interval 1s"),
			"timeout":     duration(&c.Heartbeat.Timeout, "timeout 1s"),
			"retries":     whole(&c.Heartbeat.Retries, "retries 3"),
			"vote_life":   duration(&c.Heartbeat.VoteLife, "vote_life 60s"),
			"start_delay": duration(&c.Heartbeat.StartDelay, "start_delay 5s"),
		}, check),
		"scan": section("scan", block{
			"every":   duration(&c.Scan.Every, "every 1h"),
			"workers": whole(&c.Scan.Workers, "workers 4"),
		}, check),
		"repair": section("repair", block{
			"after":     duration(&c.Repair.After, "after 15m"),
			"bandwidth": size(&c.Repair.Bandwidth, "bandwidth 50MB"),
			"parallel":  whole(&c.Repair.Parallel, "parallel 2"),
			"max_share": share(&c.Repair.MaxShare, "max_share 30%"),
		}, check),
		"scrub": section("scrub", block{
			"every":     duration(&c.Scrub.Every, "every 180d"),
			"bandwidth": size(&c.Scrub.Bandwidth, "bandwidth 20MB"),
		}, check),
	}
}

func engineOption(e *node.Engine, check func() error) option {
	const form = "engine badger [<folder>], or: engine redis <address>"
	return option{form: form, parse: func(d *caddyfile.Dispenser) error {
		kind, err := argument(d, form)
		if err != nil {
			return err
		}
		e.Kind = kind
		switch kind {
		case node.EngineBadger:
			if d.NextArg() {
				e.Folder = d.Val()
			}
			return nil
		case node.EngineRedis:
			if e.URL, err = argument(d, "engine redis redis://127.0.0.1:6379/0"); err != nil {
				return err
			}
			if err := check(); err != nil {
				return d.WrapErr(err)
			}
			return block{"prefix": text(&e.Prefix, "prefix oose")}.parse(d, check)
		}
		return nil // the check tells what is wrong with it
	}}
}

func storeOption(c *node.Config, check func() error) option {
	const form = "store <name> <root>"
	return option{form: form, many: true, parse: func(d *caddyfile.Dispenser) error {
		name, err := argument(d, form)
		if err != nil {
			return err
		}
		if !d.NextArg() {
			return d.Errf("store %s has no root, write: %s", name, form)
		}
		c.Stores = append(c.Stores, node.Store{Name: name, Root: d.Val()})
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return storeBlock(&c.Stores[len(c.Stores)-1]).parse(d, check)
	}}
}

// storeBlock is what the settings of a store are, wherever it is declared.
func storeBlock(s *node.Store) block {
	return block{
		"reserve": size(&s.Reserve, "reserve 5GB"),
		"mount":   toggle(&s.Mount, "mount"),
		"cache":   size(&s.Cache, "cache 50GB"),
	}
}

func pairOption(to *map[string]string, form string) option {
	return option{form: form, many: true, parse: func(d *caddyfile.Dispenser) error {
		what := d.Val()
		name, err := argument(d, form)
		if err != nil {
			return err
		}
		if !d.NextArg() {
			return d.Errf("%s %s has too few arguments, write: %s", what, name, form)
		}
		if _, ok := (*to)[name]; ok {
			return d.Errf("%s %s is given twice, keep one", what, name)
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[name] = d.Val()
		return nil
	}}
}

func clusterOption(c *node.Cluster, check func() error) option {
	const auth = "client_auth <certificate file> <key file>"
	secret := texts(&c.Secret, "secret <new> [<old>]")
	secret.many = false
	return section("cluster", block{
		"secret":  secret,
		"address": text(&c.Address, "address https://edge1.oose.example:5971"),
		"join":    texts(&c.Join, "join <address...>"),
		"trust":   text(&c.Trust, "trust <PEM file>"),
		"client_auth": {form: auth, parse: func(d *caddyfile.Dispenser) (err error) {
			if c.ClientAuth.Certificate, err = argument(d, auth); err != nil {
				return err
			}
			if !d.NextArg() {
				return d.Errf("client_auth has too few arguments, write: %s", auth)
			}
			c.ClientAuth.Key = d.Val()
			return nil
		}},
	}, check)
}

// offOption is a block that a word can stand for, which switches it all off.
func offOption(off *bool, name string, b block, check func() error) option {
	form := name + " off, or: " + name + " { ... }"
	return option{form: form, parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			if d.Val() != "off" {
				return d.Errf("%s %q is not understood, write: %s", name, d.Val(), form)
			}
			*off = true
			return nil
		}
		return b.parse(d, check)
	}}
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
