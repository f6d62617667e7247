package clones

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a process with stores, as others see it.
type node struct {
	t      testing.TB
	engine *recordtest.Memory
	clock  *record.Clock
	index  *inventory.Index
	all    []*inventory.Volume
	server *Server
	http   *httptest.Server

	mu   sync.Mutex
	wrap func(http.Handler) http.Handler // what stands before the server now
}

func newNode(t testing.TB, source string, stores ...string) *node {
	t.Helper()
	n := &node{t: t, clock: record.NewClock(nil)}
	n.engine = recordtest.NewMemoryOf(source, n.clock)
	n.index = inventory.NewIndex(n.engine, n.clock, 100)
	t.Cleanup(n.index.Close)
	for _, name := range stores {
		n.open(name)
	}
	n.server = NewServer(ServerDeps{Volumes: n, Index: n.index, Records: n.engine})
	n.http = httptest.NewUnstartedServer(n)
	n.http.Listener = narrow{n.http.Listener}
	n.http.Start()
	t.Cleanup(func() {
		n.http.CloseClientConnections()
		n.http.Close()
		require.NoError(t, n.server.Close(context.Background()))
	})
	return n
}

func (n *node) open(name string) {
	v, err := inventory.OpenVolume(inventory.VolumeConfig{Name: name, Root: n.t.TempDir()}, n.engine, n.clock, zap.NewNop())
	require.NoError(n.t, err)
	done := make(chan error, 1)
	go func() { done <- v.Run(context.Background()) }()
	n.t.Cleanup(func() {
		require.NoError(n.t, v.Close())
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			n.t.Errorf("store %s: %v", name, err)
		}
	})
	require.Eventually(n.t, func() bool { return v.Status().Scanned && v.Writable() }, 20*time.Second, 5*time.Millisecond)
	n.all = append(n.all, v)
}

func (n *node) Volume(id string) (*inventory.Volume, bool) {
	for _, v := range n.all {
		if v.ID() == id {
			return v, true
		}
	}
	return nil, false
}

// before puts something before the server, nil for nothing.
func (n *node) before(wrap func(http.Handler) http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrap = wrap
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	wrap := n.wrap
	n.mu.Unlock()
	if wrap != nil {
		wrap(n.server).ServeHTTP(w, r)
		return
	}
	n.server.ServeHTTP(w, r)
}

// target is one of the node's stores, for a client.
func (n *node) target(i int) Target {
	v := n.all[i]
	return Target{
		Target:  inventory.Target{ID: v.ID(), Node: n.engine.Source(), Free: v.Status().Free},
		Address: n.http.URL,
	}
}

// requireNoTemp waits until nothing of an upload is left in the node's stores.
func (n *node) requireNoTemp() {
	n.t.Helper()
	for _, v := range n.all {
		require.Eventually(n.t, func() bool {
			list, err := os.ReadDir(filepath.Join(v.Root(), "tmp"))
			for _, e := range list {
				if e.Name() != "health.part" { // the volume's own
					return false
				}
			}
			return err == nil || errors.Is(err, os.ErrNotExist)
		}, 10*time.Second, 5*time.Millisecond, "store %s", v.Name())
	}
	require.Eventually(n.t, func() bool {
		n.server.uploads.mu.Lock()
		defer n.server.uploads.mu.Unlock()
		return len(n.server.uploads.all) == 0
	}, 10*time.Second, 5*time.Millisecond)
}

// newClient returns a client whose engine is another node's.
func newClient(t testing.TB, change ...func(*ClientDeps)) *Client {
	t.Helper()
	transport := &http.Transport{ResponseHeaderTimeout: time.Minute, DialContext: dialNarrow}
	deps := ClientDeps{Doer: &http.Client{Transport: transport}}
	for _, f := range change {
		f(&deps)
	}
	c := NewClient(deps)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, c.Close(ctx))
		transport.CloseIdleConnections()
	})
	return c
}

func importing(e record.Importer) func(*ClientDeps) { return func(d *ClientDeps) { d.Importer = e } }

func stalling(after time.Duration) func(*ClientDeps) {
	return func(d *ClientDeps) { d.Stall = after }
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b)
	return b
}

func sha1Of(b []byte) content.Hash {
	sum := sha1.Sum(b)
	h, _ := content.HashOf(content.SHA1, sum[:])
	return h
}

func (n *node) put(i int, data []byte, ext string) content.Hash {
	n.t.Helper()
	h := sha1Of(data)
	_, err := n.all[i].Put(n.t.Context(), h, ext, bytes.NewReader(data), int64(len(data)))
	require.NoError(n.t, err)
	return h
}

func readAll(t testing.TB, body io.ReadCloser) []byte {
	t.Helper()
	b, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	return b
}

// narrow accepts connections that hold little: what is struck shows at once.
type narrow struct{ net.Listener }

const narrowBuffer = 256 << 10

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetWriteBuffer(narrowBuffer)
}

func dialNarrow(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetReadBuffer(narrowBuffer)
}
