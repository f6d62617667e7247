package caddymodule

import (
	"fmt"

	"github.com/ooseio/oose/node"
)

// declarePrism tells the app of a prism that a handler is.
func (app *App) declarePrism(p node.PrismSpec) {
	app.mu.Lock()
	defer app.mu.Unlock()
	for _, known := range app.prisms {
		if known.Name == p.Name {
			return // the same prism in another site
		}
	}
	app.prisms = append(app.prisms, p)
}

// declareStore tells the app of a store that a handler serves. The same store
// in several sites is one; what one site leaves out another may say.
func (app *App) declareStore(s node.StoreSpec) error {
	app.mu.Lock()
	defer app.mu.Unlock()
	for i := range app.Stores {
		known := &app.Stores[i]
		if known.Name != s.Name && known.Root != s.Root {
			continue
		}
		// The app's own declarations have their defaults already, which
		// count as settings here: they are what the store line says.
		if err := merge(known, &s.Store); err != nil {
			return err
		}
	}
	for i := range app.stores {
		known := &app.stores[i]
		if known.Name != s.Name && known.Root != s.Root {
			continue
		}
		if err := merge(&known.Store, &s.Store); err != nil {
			return err
		}
		if err := mergeText(s.Name, "prism", &known.Prism, &s.Prism); err != nil {
			return err
		}
		return mergeText(s.Name, "address", &known.Address, &s.Address)
	}
	app.stores = append(app.stores, s)
	return nil
}

// merge makes two declarations of one store equal, or tells where they differ.
func merge(a, b *node.Store) error {
	if a.Name != b.Name {
		return fmt.Errorf("store %s: %s is the root of store %s already, give each store a root of its own", b.Name, b.Root, a.Name)
	}
	if a.Root != b.Root {
		return fmt.Errorf("store %s: it is declared twice, with the roots %s and %s; keep one", a.Name, a.Root, b.Root)
	}
	for _, s := range []struct {
		setting string
		a, b    *node.Size
	}{{"reserve", &a.Reserve, &b.Reserve}, {"cache", &a.Cache, &b.Cache}} {
		switch {
		case *s.a == 0:
			*s.a = *s.b
		case *s.b == 0:
			*s.b = *s.a
		case *s.a != *s.b:
			return fmt.Errorf("store %s: it is declared twice, with %s %s and %s; keep one", a.Name, s.setting, *s.a, *s.b)
		}
	}
	a.Mount = a.Mount || b.Mount
	b.Mount = a.Mount
	return nil
}

func mergeText(store, setting string, a, b *string) error {
	switch {
	case *a == "":
		*a = *b
	case *b != "" && *a != *b:
		return fmt.Errorf("store %s: it is declared twice, with %s %s and %s; keep one", store, setting, *a, *b)
	}
	return nil
}
