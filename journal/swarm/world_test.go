package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a network in memory, in a bubble where time costs nothing: hosts
// that answer, and links between them that can be cut.
type world struct {
	t testing.TB

	mu    sync.Mutex
	hosts map[string]http.Handler
	links map[[2]string]bond
	calls map[string]int // requests that came to a host, by "host method path"
	open  map[*wire]bool
	work  sync.WaitGroup
}

type bond int

const (
	whole  bond = iota
	cut         // refused at once, what is open breaks
	silent      // taken, and never answered
)

func newWorld(t testing.TB) *world {
	w := &world{t: t, hosts: make(map[string]http.Handler), links: make(map[[2]string]bond), calls: make(map[string]int), open: make(map[*wire]bool)}
	t.Cleanup(w.work.Wait)
	return w
}

// bend sets both directions of a link.
func (w *world) bend(a, b string, to bond) {
	w.bendOne(a, b, to)
	w.bendOne(b, a, to)
}

func (w *world) bendOne(a, b string, to bond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[[2]string{a, b}] = to
	for c := range w.open {
		if c.from == a && c.to == b {
			c.bend(to)
		}
	}
}

// host sets what answers under a host name, nil: nothing does.
func (w *world) host(name string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hosts[name] = h; h == nil {
		delete(w.hosts, name)
		for c := range w.open {
			if c.to == name || c.from == name {
				c.bend(cut)
			}
		}
	}
}

func (w *world) called(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[what]
}

// wire is one request and its answer.
type wire struct {
	from, to string
	mu       sync.Mutex
	state    bond
	change   chan struct{}
	header   http.Header
	status   int
	answered chan struct{}
	r        *io.PipeReader
	w        *io.PipeWriter
	ctx      context.Context
	end      context.CancelFunc
}

var errCut = errors.New("connection refused")

func (c *wire) bend(to bond) {
	c.mu.Lock()
	c.state = to
	close(c.change)
	c.change = make(chan struct{})
	c.mu.Unlock()
	if to == cut {
		c.w.CloseWithError(errCut)
		c.r.CloseWithError(errCut)
		c.end()
	}
}

// pass waits until the link is whole.
func (c *wire) pass(ctx context.Context) error {
	for {
		c.mu.Lock()
		state, change := c.state, c.change
		c.mu.Unlock()
		if state != silent {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
}

func (c *wire) Header() http.Header { return c.header }

func (c *wire) WriteHeader(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == 0 {
		c.status = status
		c.header = c.header.Clone()
		close(c.answered)
	}
}

func (c *wire) Write(b []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.w.Write(b)
}

func (c *wire) Flush() { c.WriteHeader(http.StatusOK) }

func (c *wire) Read(b []byte) (int, error) {
	if err := c.pass(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	if err := c.pass(c.ctx); err != nil {
		return 0, err
	}
	return n, err
}

func (c *wire) Close() error {
	c.end()
	return c.r.Close()
}

// doer sends a host's requests.
type doer struct {
	world    *world
	from, id string
}

func (d doer) Do(r *http.Request) (*http.Response, error) {
	w := d.world
	w.mu.Lock()
	to := r.URL.Hostname()
	handler, state := w.hosts[to], w.links[[2]string{d.from, to}]
	if handler == nil && state == whole {
		state = cut
	}
	if state == cut {
		w.mu.Unlock()
		return nil, errCut
	}
	w.calls[to+" "+r.Method+" "+r.URL.Path]++
	ctx, end := context.WithCancel(r.Context())
	c := &wire{from: d.from, to: to, state: state, change: make(chan struct{}), header: make(http.Header), answered: make(chan struct{}), ctx: ctx, end: end}
	c.r, c.w = io.Pipe()
	w.open[c] = true
	w.work.Go(func() { w.serve(c, handler, r, d.id) })
	stop := context.AfterFunc(ctx, func() { c.r.CloseWithError(ctx.Err()) })
	w.work.Go(func() { <-ctx.Done(); stop() })
	w.mu.Unlock()
	err := c.pass(r.Context())
	select {
	case <-c.answered:
	case <-ctx.Done():
		err = errors.Join(err, cmpErr(r.Context().Err(), errCut))
	}
	if err := errors.Join(err, c.pass(r.Context())); err != nil {
		end()
		return nil, err
	}
	return &http.Response{StatusCode: c.status, Header: c.header, Body: c, Request: r}, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (w *world) serve(c *wire, handler http.Handler, r *http.Request, id string) {
	defer func() {
		w.mu.Lock()
		delete(w.open, c)
		w.mu.Unlock()
	}()
	if c.pass(c.ctx) != nil {
		return
	}
	in := r.Clone(c.ctx)
	in.Header.Set(nodeHeader, id)
	in.RemoteAddr = c.from + ":1234"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	handler.ServeHTTP(c, in)
	c.WriteHeader(http.StatusOK)
	c.w.Close()
}

// hanging answers nothing.
var hanging = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

// fakeDNS answers lookups.
type fakeDNS struct {
	mu    sync.Mutex
	srv   map[string][]*net.SRV
	hosts map[string][]string
	err   error
	asked int
}

func (d *fakeDNS) set(change func(*fakeDNS)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *fakeDNS) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if service != "" || proto != "" {
		return "", nil, fmt.Errorf("unexpected service %q", service)
	}
	if d.err != nil {
		return "", nil, d.err
	}
	return name, d.srv[name], nil
}

func (d *fakeDNS) LookupHost(_ context.Context, host string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.err != nil {
		return nil, d.err
	}
	return d.hosts[host], nil
}

// member is one node of a world.
type member struct {
	*Swarm
	w    *world
	name string // of the host too
	j    *fakeJournal
	opts Options
	self Self
	logs *observer.ObservedLogs

	mu      sync.Mutex
	nodes   []Node
	offsets []time.Duration
	renewed []string

	end  context.CancelFunc
	over chan struct{}
}

// node makes a member; change may adapt its options before it runs.
func (w *world) node(name string, change func(*member), join ...string) *member {
	w.t.Helper()
	m := &member{w: w, name: name, j: newFakeJournal("src-" + name)}
	m.self = Self{ID: "id-" + name, Name: name, Domain: "oose.example", Address: "https://" + name + ":5971", Version: "0.9", Started: time.Now().UnixMilli()}
	for i, j := range join {
		if u, err := url.Parse(j); err != nil || u.Scheme == "" {
			join[i] = "https://" + j + ":5971"
		}
	}
	m.opts = Options{Join: join, Resolver: &fakeDNS{}}
	if change != nil {
		change(m)
	}
	m.run()
	return m
}

// run starts the member, once more after stop or kill.
func (m *member) run() {
	core, logs := observer.New(zap.DebugLevel)
	m.logs = logs
	opts := m.opts
	opts.Journal = m.j
	opts.Client = doer{m.w, m.name, m.self.ID}
	opts.Log = zap.New(core)
	if testing.Verbose() && os.Getenv("OOSE_SWARM_LOGS") != "" {
		opts.Log = zaptest.NewLogger(m.w.t).Named(m.name)
	}
	opts.Self = func() Self { return m.self }
	opts.OnNode = func(n Node) { m.note(func() { m.nodes = append(m.nodes, n) }) }
	opts.OnOffset = func(d time.Duration) { m.note(func() { m.offsets = append(m.offsets, d) }) }
	opts.OnRenew = func(old string) { m.note(func() { m.renewed = append(m.renewed, old) }) }
	m.Swarm = New(opts)
	m.w.host(m.name, m.Swarm)
	ctx, end := context.WithCancel(context.Background())
	over := make(chan struct{})
	m.end, m.over = end, over
	swarm := m.Swarm
	go func() {
		defer close(over)
		if err := swarm.Run(ctx); err != nil {
			m.w.t.Error(err)
		}
	}()
	m.w.t.Cleanup(func() {
		end()
		<-over
	})
	synctest.Wait()
}

func (m *member) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// stop ends the member in order.
func (m *member) stop() {
	m.end()
	<-m.over
	m.w.host(m.name, nil)
}

// kill ends the member without a word.
func (m *member) kill() {
	m.w.host(m.name, nil)
	m.w.mu.Lock()
	for host := range m.w.hosts {
		m.w.links[[2]string{m.name, host}] = cut
	}
	m.w.mu.Unlock()
	m.end()
	<-m.over
	m.w.mu.Lock()
	for host := range m.w.hosts {
		delete(m.w.links, [2]string{m.name, host})
	}
	m.w.mu.Unlock()
	synctest.Wait()
}

// restart runs the member again, as a later process.
func (m *member) restart() {
	m.self.Started = time.Now().UnixMilli()
	m.run()
}

// to returns the outgoing connection to an address.
func (m *member) to(address string) Connection {
	m.w.t.Helper()
	list := m.Connections()
	i := slices.IndexFunc(list, func(c Connection) bool {
		return c.Direction == Out && (c.Address == address || c.Address == "https://"+address+":5971")
	})
	require.GreaterOrEqual(m.w.t, i, 0, "no connection to %s in %v", address, list)
	return list[i]
}

// by returns the incoming connection of a node.
func (m *member) by(name string) Connection {
	m.w.t.Helper()
	list := m.Connections()
	i := slices.IndexFunc(list, func(c Connection) bool { return c.Direction == In && c.Node == "id-"+name })
	require.GreaterOrEqual(m.w.t, i, 0, "no connection from %s in %v", name, list)
	return list[i]
}

// fileIn has a member keep its file in the test's folder.
func fileIn(t testing.TB) func(*member) {
	dir := t.TempDir()
	return func(m *member) { m.opts.File = filepath.Join(dir, m.name+".json") }
}

// bubble runs a test in a world of its own.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// pause lets time go by.
func pause(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
