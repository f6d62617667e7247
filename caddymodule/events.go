package caddymodule

import (
	"context"
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
// its own, from when the configuration has started until end.
type storeEvents struct {
	stop context.CancelFunc // set while it emits
	done chan struct{}

	mu      sync.Mutex // guards what follows
	ended   bool
	wake    chan struct{}
	order   []string // stores with news, in the order in which they came
	pending map[string]inventory.Status
	told    map[string]string // the last event of each store
}

// subscribe has the emitting begin when the configuration that ctx is of has
// started: until then the events app is not ready.
func (e *storeEvents) subscribe(ctx caddy.Context, events *caddyevents.App) error {
	return events.On("started", onStarted(func() {
		e.begin(func(name string, data map[string]any) { events.Emit(ctx, name, data) })
	}))
}

// onStarted hears that all apps of a configuration have started.
type onStarted func()

// Handle implements caddyevents.Handler.
func (f onStarted) Handle(context.Context, caddy.Event) error {
	f()
	return nil
}

func (e *storeEvents) begin(emit func(name string, data map[string]any)) {
	ctx, cancel := context.WithCancel(context.Background())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.stop != nil {
		cancel()
		return
	}
	e.stop, e.wake, e.done = cancel, make(chan struct{}, 1), make(chan struct{})
	e.rouse()
	go func() {
		defer close(e.done)
		e.run(ctx, emit)
	}()
}

// end stops emitting and waits until the last handler has returned.
func (e *storeEvents) end() {
	e.mu.Lock()
	stop := e.stop
	e.ended, e.stop = true, nil
	e.mu.Unlock()
	if stop != nil {
		stop()
		<-e.done
	}
}

// rouse wakes the goroutine, if there is one. The caller holds mu.
func (e *storeEvents) rouse() {
	select {
	case e.wake <- struct{}{}:
	default: // it is awake, or not there yet
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
	if _, ok := e.told[s.Name]; !ok {
		e.tell(s.Name, eventOnline)
	}
}

// tell notes the last event of a store. The caller holds mu.
func (e *storeEvents) tell(store, event string) {
	if e.told == nil {
		e.told = make(map[string]string)
	}
	e.told[store] = event
}

// notify takes the state of a store. It never waits.
func (e *storeEvents) notify(s inventory.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	if _, waits := e.pending[s.Name]; !waits {
		e.order = append(e.order, s.Name)
	}
	if e.pending == nil {
		e.pending = make(map[string]inventory.Status)
	}
	e.pending[s.Name] = s
	e.rouse()
}

func (e *storeEvents) run(ctx context.Context, emit func(name string, data map[string]any)) {
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
			emit(name, map[string]any{
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
			e.tell(s.Name, name)
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

// Interface guards
var _ caddyevents.Handler = onStarted(nil)
