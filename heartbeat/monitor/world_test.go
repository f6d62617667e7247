package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// defaults are those of a node's configuration.
var defaults = monitor.Settings{
	Interval: time.Second, Timeout: time.Second, Retries: 3, VoteLife: time.Minute, StartDelay: 5 * time.Second,
}

var errRefused = errors.New("connection refused")

// world is a cluster whose nodes are monitors, and whose network can be spoilt.
type world struct {
	t      *testing.T
	all    []*member
	byID   map[string]*member
	random *rand.Rand // guarded by mu

	mu     sync.Mutex
	nodes  *monitor.Nodes
	delay  func(from, to int) time.Duration // one way
	loss   float64                          // of packets
	broken func(from, to int) bool          // nothing gets through
	sent   int                              // messages

	last  struct{ of, about *member } // that did not agree
	apart []*member                   // whom nobody asks for what they say
}

// member is one node of a world.
type member struct {
	w       *world
	place   int
	id      string
	monitor *monitor.Monitor
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	settings monitor.Settings
	dead     bool
	frozen   bool
	ready    bool
	stores   []heartbeat.StoreHealth
	health   *heartbeat.Health
	changes  []change
}

// change is a moment at which a member changed its mind about another.
type change struct {
	at  time.Time
	id  string
	now heartbeat.Standing
}

// newWorld starts a cluster; it ends with the test's bubble.
func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	w := &world{t: t, byID: make(map[string]*member), random: rand.New(rand.NewPCG(1, uint64(nodes)))}
	w.delay = func(int, int) time.Duration { return time.Millisecond }
	w.broken = func(int, int) bool { return false }
	list := make([]monitor.Node, nodes)
	for i := range list {
		list[i] = monitor.Node{ID: fmt.Sprintf("node%04d", i), Name: fmt.Sprintf("n%d", i)}
	}
	w.nodes = monitor.NewNodes(list)
	for i := range list {
		m := &member{w: w, place: i, id: list[i].ID, settings: defaults, ready: true}
		w.all = append(w.all, m)
		w.byID[m.id] = m
	}
	for _, m := range w.all {
		m.startAfter(time.Duration(w.random.Int64N(int64(defaults.Interval))))
	}
	t.Cleanup(w.stop)
	return w
}

// members is who is in the cluster.
func (w *world) members() *monitor.Nodes {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes
}

func (w *world) stop() {
	for _, m := range w.all {
		m.kill()
	}
}

// start begins a run of a node.
func (m *member) start() { m.startAfter(0) }

func (m *member) startAfter(pause time.Duration) {
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	fresh := monitor.New(monitor.Options{
		Self: m.id, Started: time.Now(), Transport: m, Nodes: m.w.members,
		Settings: func() monitor.Settings {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.settings
		},
		Ready: func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.ready
		},
		Stores: func() []heartbeat.StoreHealth {
			m.mu.Lock()
			defer m.mu.Unlock()
			return slices.Clone(m.stores)
		},
		Changed: m.changed,
	})
	done := make(chan struct{})
	m.set(func() { m.dead, m.health, m.monitor, m.done = false, &heartbeat.Health{}, fresh, done })
	go func() {
		defer close(done)
		<-time.After(pause)
		_ = fresh.Run(ctx)
	}()
}

// kill ends a run as if the process were killed: its port refuses.
func (m *member) kill() {
	m.set(func() { m.dead, m.frozen = true, false })
	m.cancel()
	<-m.done
}

func (m *member) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *member) is(what *bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *what
}

// changed notes what a node has found out.
func (m *member) changed(h *heartbeat.Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range h.Nodes {
		if m.health.Nodes[id] != s {
			m.changes = append(m.changes, change{time.Now(), id, s})
		}
	}
	for id := range m.health.Nodes {
		if _, ok := h.Nodes[id]; !ok {
			m.changes = append(m.changes, change{time.Now(), id, heartbeat.Up})
		}
	}
	m.health = h
}

// standing is what a node says of another.
func (m *member) standing(other *member) heartbeat.Standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.health.Nodes[other.id]
}

// trip carries one message one way, or loses it: a lost packet is sent again by
// TCP after 200, 600 and 1400 ms.
func (w *world) trip(ctx context.Context, from, to int) error {
	w.mu.Lock()
	d := w.delay(from, to)
	for again := 200 * time.Millisecond; w.loss > 0 && w.random.Float64() < w.loss; again *= 2 {
		d += again
	}
	broken := w.broken(from, to)
	w.mu.Unlock()
	if broken {
		<-ctx.Done()
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Probe is monitor.Transport's.
func (m *member) Probe(ctx context.Context, to monitor.Node, message monitor.Message) (monitor.Answer, error) {
	w, other := m.w, m.w.byID[to.ID]
	if m.is(&m.frozen) {
		<-ctx.Done()
		return monitor.Answer{}, ctx.Err()
	}
	w.mu.Lock()
	w.sent++
	w.mu.Unlock()
	if err := w.trip(ctx, m.place, other.place); err != nil {
		return monitor.Answer{}, err
	}
	if other.is(&other.dead) {
		return monitor.Answer{}, errRefused
	}
	if other.is(&other.frozen) {
		<-ctx.Done()
		return monitor.Answer{}, ctx.Err()
	}
	other.mu.Lock()
	target := other.monitor
	other.mu.Unlock()
	answer := target.Answer(message)
	if err := w.trip(ctx, other.place, m.place); err != nil {
		return monitor.Answer{}, err
	}
	return answer, nil
}

// settle lets a cluster run until everybody may vote.
func (w *world) settle() { w.advance(defaults.StartDelay + 2*time.Second) }

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// alive are the members that run, and are not apart.
func (w *world) alive() []*member {
	return slices.DeleteFunc(slices.Clone(w.all), func(m *member) bool {
		return slices.Contains(w.apart, m) || m.is(&m.dead) || m.is(&m.frozen)
	})
}

// agree tells whether all who are alive say the same about all of these. Of
// many it looks first at those who did not agree last time.
func (w *world) agree(about []*member, want func(heartbeat.Standing) bool) bool {
	alive := w.alive()
	if l := w.last; l.of != nil && slices.Contains(alive, l.of) && slices.Contains(about, l.about) && !want(l.of.standing(l.about)) {
		return false
	}
	for _, m := range alive {
		if o := m.disagrees(about, want); o != nil {
			w.last.of, w.last.about = m, o
			return false
		}
	}
	return true
}

// disagrees returns one of these of whom a node says something else.
func (m *member) disagrees(about []*member, want func(heartbeat.Standing) bool) *member {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range about {
		if m != o && !want(m.health.Nodes[o.id]) {
			return o
		}
	}
	return nil
}

func away(s heartbeat.Standing) bool { return s.Away() }
func back(s heartbeat.Standing) bool { return !s.Away() }
func down(s heartbeat.Standing) bool { return s == heartbeat.Down }

// until lets time pass until all who are alive agree, and returns how long that took.
func (w *world) until(about []*member, want func(heartbeat.Standing) bool, most time.Duration) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !w.agree(about, want) {
		if time.Since(began) > most {
			w.t.Fatalf("after %s not all agree", most)
		}
		w.advance(10 * time.Millisecond)
	}
	return time.Since(began)
}

// spoil changes the network.
func (w *world) spoil(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// messages is how many of them each node sends in a second, over some seconds.
func (w *world) messages(seconds int) float64 {
	count := func() (n int) {
		w.spoil(func() { n = w.sent })
		return n
	}
	before := count()
	w.advance(time.Duration(seconds) * time.Second)
	return float64(count()-before) / float64(seconds) / float64(len(w.all))
}

// falsely counts how often, in all, nodes found another one to be so.
func (w *world) falsely(what heartbeat.Standing) (n int) {
	for _, m := range w.all {
		m.set(func() {
			for _, c := range m.changes {
				if c.now == what {
					n++
				}
			}
		})
	}
	return n
}
