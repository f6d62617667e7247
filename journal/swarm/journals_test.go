package swarm

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
)

// A machine is a node with a real journal, over real HTTP.
type machine struct {
	*Swarm
	t      testing.TB
	name   string
	dir    string
	j      *journal.Journal
	server *httptest.Server
	client *http.Client
	join   []string
	old    []string // what OnRenew told
	end    func()
}

// signer sends a machine's requests: here nothing checks signatures.
type signer struct {
	client *http.Client
	id     string
}

func (s signer) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set(nodeHeader, s.id)
	return s.client.Do(r)
}

func newMachine(t testing.TB, name string, join ...string) *machine {
	t.Helper()
	m := &machine{t: t, name: name, dir: t.TempDir(), join: join}
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *machine) start() {
	t := m.t
	log := zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))
	j, err := journal.Open(journal.Options{Dir: filepath.Join(m.dir, "meta"), Logger: log})
	require.NoError(t, err)
	m.j = j
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.Swarm.ServeHTTP(w, r) }))
	m.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	self := Self{ID: "id-" + m.name, Name: m.name, Domain: "oose.example", Address: "http://" + m.server.Listener.Addr().String(), Started: time.Now().UnixMilli()}
	m.Swarm = New(Options{
		Journal: j, Self: func() Self { return self }, Join: m.join, File: filepath.Join(m.dir, "nodes.json"),
		Client: signer{m.client, self.ID}, Log: log, OnRenew: func(old string) { m.old = append(m.old, old) },
	})
	m.server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	committed, over := make(chan error, 1), make(chan error, 1)
	go func() { committed <- j.Run(ctx) }()
	swarmCtx, leave := context.WithCancel(context.Background())
	go func() { over <- m.Swarm.Run(swarmCtx) }()
	m.end = func() {
		leave()
		require.NoError(t, <-over)
		m.server.CloseClientConnections()
		m.server.Close()
		m.client.CloseIdleConnections()
		cancel()
		require.NoError(t, <-committed)
		require.NoError(t, j.Close())
	}
}

func (m *machine) stop() {
	if m.end != nil {
		m.end()
		m.end = nil
	}
}

func (m *machine) address() string { return "http://" + m.server.Listener.Addr().String() }

func (m *machine) put(key string) record.Ack {
	m.t.Helper()
	ack, err := m.j.Update(m.t.Context(), record.Purchase, key, record.Condition{}, record.Change{Value: []byte(`{"n":1}`)})
	require.NoError(m.t, err)
	return ack
}

func (m *machine) has(key string) bool {
	versions, err := m.j.Get(m.t.Context(), record.Purchase, key)
	return err == nil && len(versions) > 0
}

func soon(t testing.TB, what func() bool, text string) {
	t.Helper()
	require.Eventually(t, what, 20*time.Second, 5*time.Millisecond, text)
}

// TestJournals: three nodes with journals, over HTTP: what one writes all have,
// a purchase is confirmed, and all hold the same.
func TestJournals(t *testing.T) {
	a := newMachine(t, "a")
	b := newMachine(t, "b", a.address())
	c := newMachine(t, "c", b.address())
	nodes := []*machine{a, b, c}
	soon(t, func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 && len(c.Nodes()) == 2 }, "all know each other")
	for i, m := range nodes {
		for k := range 50 {
			m.put(fmt.Sprintf("%s-%d", m.name, k))
		}
		soon(t, func() bool {
			return nodes[(i+1)%3].has(m.name+"-49") && nodes[(i+2)%3].has(m.name+"-49")
		}, "what one writes, all have")
	}
	soon(t, func() bool {
		da, db, dc := a.j.Digests(), b.j.Digests(), c.j.Digests()
		return da[record.Purchase] == db[record.Purchase] && db[record.Purchase] == dc[record.Purchase]
	}, "all hold the same")
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ack := a.j.Confirm(ctx, a.put("confirmed"))
		cancel()
		require.GreaterOrEqual(t, ack.Copies, 2)
	}
	soon(t, func() bool { return a.Ready() && b.Ready() && c.Ready() }, "all are ready")
	b.stop()
	a.put("while away")
	b.start()
	soon(t, func() bool { return b.has("while away") && b.Ready() }, "it catches up")
}

// TestJournalRestored: a database restored from an old copy goes on as a new
// source, and nothing that was acknowledged is lost.
func TestJournalRestored(t *testing.T) {
	a := newMachine(t, "a")
	b := newMachine(t, "b", a.address())
	b.put("old")
	soon(t, func() bool { return a.has("old") }, "the first is there")
	b.stop()
	require.NoError(t, os.CopyFS(filepath.Join(b.dir, "copy"), os.DirFS(filepath.Join(b.dir, "meta"))))
	b.start()
	soon(t, func() bool { return b.Ready() }, "it is ready")
	for k := range 20 {
		b.put(fmt.Sprint("later-", k))
	}
	soon(t, func() bool { return a.has("later-19") }, "all are there")
	source := b.j.Source()
	b.stop()
	require.NoError(t, os.RemoveAll(filepath.Join(b.dir, "meta")))
	require.NoError(t, os.Rename(filepath.Join(b.dir, "copy"), filepath.Join(b.dir, "meta")))
	b.start()
	soon(t, func() bool { return b.Ready() }, "it is ready again")
	require.NotEqual(t, source, b.j.Source())
	require.Equal(t, []string{source}, b.old)
	for k := range 20 {
		require.True(t, b.has(fmt.Sprint("later-", k)), "what it had forgotten is back before it is ready")
	}
	b.put("new")
	soon(t, func() bool { return a.has("new") }, "what it writes now arrives")
	soon(t, func() bool { return a.j.Digests()[record.Purchase] == b.j.Digests()[record.Purchase] }, "both hold the same")
}

// BenchmarkConfirm is how long a write takes until a second node has it on its
// disk, over HTTP on one machine.
func BenchmarkConfirm(b *testing.B) {
	first := newMachine(b, "a")
	second := newMachine(b, "b", first.address())
	soon(b, func() bool { return second.Ready() && len(first.Nodes()) == 1 && first.Nodes()[0].Reached }, "both are there")
	soon(b, func() bool { return first.j.Confirm(b.Context(), first.put("first")).Copies == 2 }, "the second one acknowledges")
	var n atomic.Int64
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients, " clients"), func(b *testing.B) {
			b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
			if clients == 1 {
				for b.Loop() {
					first.confirmed(fmt.Sprint("k", n.Add(1)))
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					first.confirmed(fmt.Sprint("k", n.Add(1)))
				}
			})
		})
	}
}

func (m *machine) confirmed(key string) {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
	defer cancel()
	if ack := m.j.Confirm(ctx, m.put(key)); ack.Copies < 2 {
		m.t.Error("not confirmed")
	}
}
