package caddymodule

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/ooseio/oose/inventory"
)

// Events that this module emits through Caddy's events app; other modules, and
// `events { on store_offline exec ... }`, can act on them. Each has the data
// `store` (name), `id`, `state`, `writable`, `reason`, `free` and `total`
// (bytes).
const (
	eventOnline     = "store_online"     // its clones can be read and written
	eventSuspect    = "store_suspect"    // readable; takes no writes until a test has passed
	eventOffline    = "store_offline"    // neither read nor written
	eventUnwritable = "store_unwritable" // online, and takes no new clones: full, or read-only
)

// storeEvents emits an event whenever a store's state changes. Handlers of
// events may take long, and a volume that tells its state must not wait: what
// it tells is kept, the latest of each store, and emitted in a goroutine of
// its own. The zero storeEvents drops everything until start.
type storeEvents struct {
	emit func(name string, data map[string]any)
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex // guards what follows
	order   []string   // stores with news, in the order in which they came
	pending map[string]inventory.Status
	told    map[string]string // the last event of each store
}

// start begins to emit, on behalf of the module that ctx is of.
func (e *storeEvents) start(ctx caddy.Context) error {
	loaded, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	events, ok := loaded.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("getting the events app: it is a %T", loaded)
	}
	e.begin(func(name string, data map[string]any) { events.Emit(ctx, name, data) })
	return nil
}

func (e *storeEvents) begin(emit func(string, map[string]any)) {
	ctx, cancel := context.WithCancel(context.Background())
	e.mu.Lock()
	e.emit, e.stop = emit, cancel
	e.wake, e.done = make(chan struct{}, 1), make(chan struct{})
	e.pending, e.told = make(map[string]inventory.Status), make(map[string]string)
	e.mu.Unlock()
	go func() {
		defer close(e.done)
		e.run(ctx)
	}()
}

// end stops emitting and waits until the last handler has returned.
func (e *storeEvents) end() {
	e.mu.Lock()
	stop := e.stop
	e.stop = nil
	e.mu.Unlock()
	if stop != nil {
		stop()
		<-e.done
	}
}

// seed takes the state that a store has when emitting begins: it is told
// unless all is well, and so it is news when that comes.
func (e *storeEvents) seed(s inventory.Status) {
	if storeEvent(s) != eventOnline {
		e.notify(s)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.told[s.Name]; !ok && e.stop != nil {
		e.told[s.Name] = eventOnline
	}
}

// notify takes the state of a store. It never waits.
func (e *storeEvents) notify(s inventory.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stop == nil {
		return
	}
	if _, waits := e.pending[s.Name]; !waits {
		e.order = append(e.order, s.Name)
	}
	e.pending[s.Name] = s
	select {
	case e.wake <- struct{}{}:
	default: // it is awake
	}
}

func (e *storeEvents) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for ctx.Err() == nil {
			name, s, ok := e.next()
			if !ok {
				break
			}
			e.emit(name, map[string]any{
				"store": s.Name, "id": s.ID, "state": string(s.State), "writable": s.Writable,
				"reason": s.Reason, "free": s.Free, "total": s.Total,
			})
		}
	}
}

// next returns the next store whose event is not the one that was told last.
func (e *storeEvents) next() (string, inventory.Status, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.order) > 0 {
		s := e.pending[e.order[0]]
		delete(e.pending, s.Name)
		e.order = e.order[1:]
		name := storeEvent(s)
		if e.told[s.Name] != name {
			e.told[s.Name] = name
			return name, s, true
		}
	}
	return "", inventory.Status{}, false
}

// storeEvent names the event that tells a store's state.
func storeEvent(s inventory.Status) string {
	switch {
	case s.State == inventory.Offline:
		return eventOffline
	case s.State == inventory.Suspect:
		return eventSuspect
	case !s.Writable:
		return eventUnwritable
	}
	return eventOnline
}
