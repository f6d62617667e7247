package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/clones"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
	plan "github.com/ooseio/oose/inventory/repair"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a cluster in one process: nodes with a store each, which call one
// another over HTTP and share one engine of records.
type town struct {
	t      testing.TB
	engine *recordtest.Memory
	clock  *record.Clock
	nodes  []*townNode

	mu       sync.Mutex
	settings Settings
	away     map[string]bool // by store id: nobody can reach it
	draining map[string]bool
	full     map[string]bool
}

type townNode struct {
	town   *town
	name   string
	volume *inventory.Volume
	index  *inventory.Index
	client *clones.Client
	server *clones.Server
	http   *httptest.Server
	agent  *Agent
	up     *upload.Uploader

	mu      sync.Mutex
	before  func(w http.ResponseWriter, r *http.Request) bool // answers in the place of the node where it returns true
	stop    context.CancelFunc
	stopped chan error
}

// after is how long a store of a town stays away before it is lost.
const after = 100 * time.Millisecond

func newTown(t testing.TB, nodes int) *town {
	t.Helper()
	w := &town{
		t: t, clock: record.NewClock(nil), away: map[string]bool{}, draining: map[string]bool{}, full: map[string]bool{},
		settings: Settings{Limits: plan.Limits{After: after, MaxShare: 0.3}, Copies: 2, Parallel: 2},
	}
	w.engine = recordtest.NewMemory(w.clock)
	for i := range nodes {
		w.nodes = append(w.nodes, w.newNode(fmt.Sprint("node", i+1)))
	}
	return w
}

func (w *town) newNode(name string) *townNode {
	w.t.Helper()
	n := &townNode{town: w, name: name}
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(w.t, zaptest.Level(zap.InfoLevel)).Named(name)
	}
	v, err := inventory.OpenVolume(inventory.VolumeConfig{Name: "om" + name, Root: filepath.Join(w.t.TempDir(), name)}, w.engine, w.clock, zap.NewNop())
	require.NoError(w.t, err)
	n.volume, n.index = v, inventory.NewIndex(w.engine, w.clock, 100)
	n.client = clones.NewClient(clones.ClientDeps{Doer: http.DefaultClient})
	n.server = clones.NewServer(clones.ServerDeps{Volumes: n, Index: n.index, Records: w.engine})
	n.up = upload.New(n.index, n.stores, zap.NewNop())
	n.agent = New(Deps{
		Index: n.index, Volumes: n, Engine: w.engine, Uploader: n.up, Stores: n.stores, Sights: w.sights,
		Address: w.address, Nodes: func() []string { return w.othersOf(n) }, Settings: w.set, Doer: http.DefaultClient, Clock: w.clock, Log: log,
		Tune: func(t *Tuning) {
			t.Look, t.Retry, t.Settle, t.Tick = 10*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
		},
	})
	n.http = httptest.NewServer(n)
	w.t.Cleanup(func() {
		n.kill()
		http.DefaultClient.CloseIdleConnections()
		n.http.CloseClientConnections()
		n.http.Close()
		require.NoError(w.t, n.up.Close(context.Background()))
		require.NoError(w.t, n.client.Close(context.Background()))
		require.NoError(w.t, n.server.Close(context.Background()))
		n.index.Close()
		require.NoError(w.t, v.Close())
	})
	return n
}

// run has the agents of all nodes, or of these, work until the test ends.
func (w *town) run(nodes ...*townNode) {
	if len(nodes) == 0 {
		nodes = w.nodes
	}
	for _, n := range nodes {
		ctx, cancel := context.WithCancel(context.Background())
		n.stop, n.stopped = cancel, make(chan error, 1)
		go func() { n.stopped <- n.agent.Run(ctx) }()
	}
}

// kill ends a node's agent.
func (n *townNode) kill() {
	if n.stop != nil {
		n.stop()
		require.NoError(n.town.t, <-n.stopped)
		n.stop = nil
	}
}

func (n *townNode) id() string { return n.volume.ID() }

func (n *townNode) Volume(id string) (*inventory.Volume, bool) { return n.volume, id == n.id() }

func (n *townNode) Volumes() []*inventory.Volume { return []*inventory.Volume{n.volume} }

func (n *townNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	before := n.before
	n.mu.Unlock()
	switch {
	case n.town.is(n.town.away, n.id()):
		panic(http.ErrAbortHandler)
	case before != nil && before(w, r):
	case strings.HasPrefix(r.URL.Path, Prefix):
		n.agent.ServeHTTP(w, r)
	default:
		n.server.ServeHTTP(w, r)
	}
}

func (n *townNode) intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = f
}

// stores are those that this node can reach.
func (n *townNode) stores() []upload.Store {
	var list []upload.Store
	for _, other := range n.town.nodes {
		if other == n {
			list = append(list, upload.Local(n.volume, n.name, ""))
			continue
		}
		id := other.id()
		list = append(list, n.client.Remote(clones.Target{
			Target: inventory.Target{ID: id, Node: other.name, Free: 1 << 30}, Address: other.http.URL,
			Readable: func() bool { return !n.town.is(n.town.away, id) },
		}))
	}
	return list
}

func (w *town) sights() []plan.Sight {
	var list []plan.Sight
	for _, n := range w.nodes {
		id := n.id()
		list = append(list, plan.Sight{
			Target: inventory.Target{ID: id, Node: n.name, Free: 1 << 30},
			Up:     !w.is(w.away, id), Draining: w.is(w.draining, id), Room: !w.is(w.full, id) && !w.is(w.draining, id),
		})
	}
	return list
}

func (w *town) address(store string) string {
	for _, n := range w.nodes {
		if n.id() == store && !w.is(w.away, store) {
			return n.http.URL
		}
	}
	return ""
}

func (w *town) othersOf(n *townNode) (list []string) {
	for _, other := range w.nodes {
		if other != n {
			list = append(list, other.http.URL)
		}
	}
	return list
}

func (w *town) is(what map[string]bool, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return what[id]
}

// turn switches something of a store on or off.
func (w *town) turn(what map[string]bool, n *townNode, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what[n.id()] = on
}

func (w *town) set() Settings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settings
}

func (w *town) change(f func(*Settings)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.settings)
}

// put stores a content at these nodes.
func (w *town) put(data string, nodes ...*townNode) content.Hash {
	w.t.Helper()
	d := inventory.NewHash(content.SHA1)
	io.WriteString(d, data)
	h, err := inventory.SumOf(content.SHA1, d)
	require.NoError(w.t, err)
	for _, n := range nodes {
		_, err := n.volume.Put(context.Background(), h, "txt", strings.NewReader(data), int64(len(data)))
		require.NoError(w.t, err)
	}
	return h
}

// holders are the nodes whose disks hold a content, whole.
func (w *town) holders(h content.Hash, data string) (list []*townNode) {
	w.t.Helper()
	for _, n := range w.nodes {
		got, err := os.ReadFile(filepath.Join(n.volume.Root(), filepath.FromSlash(disk.ClonePath(h, "txt", false))))
		if err == nil && bytes.Equal(got, []byte(data)) {
			list = append(list, n)
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			require.NoError(w.t, err)
		}
	}
	return list
}

// placed is on how many stores records place a content.
func (w *town) placed(h content.Hash) int {
	w.t.Helper()
	p, err := w.nodes[0].index.Find(context.Background(), h)
	require.NoError(w.t, err)
	return len(p.Clones)
}

// placedAt is how many contents records place at a node's store.
func (w *town) placedAt(n *townNode) (count int) {
	w.t.Helper()
	for _, err := range w.nodes[0].index.List(context.Background(), n.id(), content.Hash{}) {
		require.NoError(w.t, err)
		count++
	}
	return count
}

func (w *town) eventually(what string, ok func() bool) {
	w.t.Helper()
	require.Eventually(w.t, ok, time.Minute, 10*time.Millisecond, what)
}
