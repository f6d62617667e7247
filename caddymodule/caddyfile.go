package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ooseio/oose/node"
)

// option is what may stand in a block under one name.
type option struct {
	parse func(d *caddyfile.Dispenser) error
	form  string // how it is written, for errors
	many  bool   // it may be given more than once
}

// block is what a block may hold, by name.
type block map[string]option

// parse reads the block behind the current token. After every option it calls
// check, so that what is wrong is told with the line it stands in.
func (b block) parse(d *caddyfile.Dispenser, check func() error) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		o, ok := b[name]
		if !ok {
			return d.Errf("unrecognized subdirective %q, here may stand %s", name, strings.Join(slices.Sorted(maps.Keys(b)), ", "))
		}
		if seen[name] && !o.many {
			return d.Errf("%s is given twice, keep one", name)
		}
		seen[name] = true
		if err := o.parse(d); err != nil {
			return err
		}
		if d.NextArg() {
			return d.Errf("%s has %q too much, write: %s", name, d.Val(), o.form)
		}
		for n := d.Nesting(); d.NextBlock(n); {
			return d.Errf("%s takes no block, write: %s", name, o.form)
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// argument takes the next argument of the current option.
func argument(d *caddyfile.Dispenser, form string) (string, error) {
	name := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return "", d.Errf("%s has too few arguments, write: %s", name, form)
	}
	return d.Val(), nil
}

// text is an option with one text.
func text(to *string, form string) option {
	return option{form: form, parse: func(d *caddyfile.Dispenser) (err error) {
		*to, err = argument(d, form)
		return err
	}}
}

// texts is an option with one text or more, which may stand in several lines.
func texts(to *[]string, form string) option {
	return option{form: form, many: true, parse: func(d *caddyfile.Dispenser) error {
		first, err := argument(d, form)
		if err != nil {
			return err
		}
		*to = append(append(*to, first), d.RemainingArgs()...)
		return nil
	}}
}

// toggle is an option without arguments.
func toggle(to *bool, form string) option {
	return option{form: form, parse: func(*caddyfile.Dispenser) error {
		*to = true
		return nil
	}}
}

// parsed is an option with one value; zero is refused, because it would mean
// the default.
func parsed[T comparable](to *T, form string, parse func(string) (T, error)) option {
	return option{form: form, parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		s, err := argument(d, form)
		if err != nil {
			return err
		}
		v, err := parse(s)
		if err != nil {
			return d.Errf("%s: %v", name, err)
		}
		var zero T
		if v == zero {
			return d.Errf("%s: %s is too little, write it like: %s", name, s, form)
		}
		*to = v
		return nil
	}}
}

func duration(to *node.Duration, form string) option { return parsed(to, form, node.ParseDuration) }

func size(to *node.Size, form string) option { return parsed(to, form, node.ParseSize) }

func share(to *node.Share, form string) option { return parsed(to, form, node.ParseShare) }

func whole(to *int, form string) option {
	return parsed(to, form, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not a whole number, write it like: %s", s, form)
		}
		return n, nil
	})
}

// section is an option that is a block of its own.
func section(name string, b block, check func() error) option {
	form := name + " { ... }"
	return option{form: form, parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.Errf("%s has %q too much, write its settings in a block: %s", name, d.Val(), form)
		}
		return b.parse(d, check)
	}}
}
