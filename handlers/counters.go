package handlers

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Counters counts what a node does, under dotted names
// ("prism.content.upload"). Names are written in the code: nothing of a
// request ever becomes one. The zero Counters is ready; its methods can be
// called at the same time, and those of a nil Counters do nothing.
type Counters struct {
	all sync.Map // name -> *atomic.Int64
}

// The roots under which counters are told.
const (
	statRoot  = "stat."
	errorRoot = "error."
)

// Add adds n to what was done under a name.
func (c *Counters) Add(name string, n int64) { c.add(statRoot+name, n) }

// Fail adds n to what failed under a name.
func (c *Counters) Fail(name string, n int64) { c.add(errorRoot+name, n) }

func (c *Counters) add(name string, n int64) {
	if c == nil {
		return
	}
	v, ok := c.all.Load(name)
	if !ok {
		v, _ = c.all.LoadOrStore(name, new(atomic.Int64))
	}
	v.(*atomic.Int64).Add(n)
}

// Flat returns every counter by its full name, "stat.prism.ping".
func (c *Counters) Flat() map[string]int64 {
	flat := map[string]int64{}
	if c == nil {
		return flat
	}
	c.all.Range(func(name, v any) bool {
		flat[name.(string)] = v.(*atomic.Int64).Load()
		return true
	})
	return flat
}

// Snapshot returns the counters as nested objects, one for each part of a
// name. A name that is also the beginning of others stands in its own object
// as "total".
func (c *Counters) Snapshot() map[string]any {
	root := map[string]any{strings.TrimSuffix(statRoot, "."): map[string]any{}}
	for name, n := range c.Flat() {
		parts := strings.Split(name, ".")
		at := root
		for _, part := range parts[:len(parts)-1] {
			switch below := at[part].(type) {
			case map[string]any:
				at = below
			case int64:
				at[part] = map[string]any{"total": below}
				at = at[part].(map[string]any)
			default:
				next := map[string]any{}
				at[part] = next
				at = next
			}
		}
		last := parts[len(parts)-1]
		if below, ok := at[last].(map[string]any); ok {
			below["total"] = n
		} else {
			at[last] = n
		}
	}
	return root
}

// Reset begins to count anew and returns how many counters there were.
func (c *Counters) Reset() int {
	if c == nil {
		return 0
	}
	n := 0
	c.all.Range(func(name, _ any) bool {
		c.all.Delete(name)
		n++
		return true
	})
	return n
}
