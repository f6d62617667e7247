package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/handlers/probe"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
)

// BenchmarkHeartbeat has a hundred nodes probe one another at the default
// settings, each with a server, a client and connections of its own, over signed
// HTTP on loopback, and tells what one of them costs: both ends of a probe are in
// it. An iteration is a second.
//
//	go test -run '^$' -bench Heartbeat -benchtime 30x ./bench
func BenchmarkHeartbeat(b *testing.B) {
	const nodes = 100
	before := inUse()
	var town beating
	defer town.stop()
	town.start(b, nodes)
	require.Eventually(b, func() bool { return town.rounds() > 10*nodes }, 10*time.Minute, 100*time.Millisecond) // past the first connections
	rounds, probes, spent, began := town.rounds(), town.probes(), cpu(b), time.Now()
	for b.Loop() {
		<-time.After(time.Second)
	}
	took := time.Since(began).Seconds()
	b.ReportMetric(100*(cpu(b)-spent).Seconds()/took/nodes, "%core/node")
	b.ReportMetric(float64(town.probes()-probes)/float64(town.rounds()-rounds), "probes/round")
	b.ReportMetric(float64(inUse()-before)/nodes/1e3, "kB/node")
	for _, m := range town.monitors {
		require.Zero(b, m.Figures().Downs)
	}
}

// beating is nodes that probe one another.
type beating struct {
	monitors []*monitor.Monitor
	cancel   context.CancelFunc
	running  sync.WaitGroup
	closes   []func()
}

func (t *beating) start(b *testing.B, nodes int) {
	b.Helper()
	list := make([]monitor.Node, nodes)
	listeners := make([]net.Listener, nodes)
	for i := range list {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		listeners[i] = l
		list[i] = monitor.Node{ID: fmt.Sprintf("node%026d", i), Name: fmt.Sprint("edge", i), Address: "http://" + l.Addr().String()}
	}
	known := monitor.NewNodes(list)
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	for i, n := range list {
		keys := cluster.NewKeys([]string{"a-secret-of-the-benchmarks"})
		client := cluster.NewClient(cluster.Options{Node: n.ID, Keys: keys})
		m := monitor.New(monitor.Options{
			Self: n.ID, Started: time.Now(), Transport: probe.Transport{Client: client},
			Nodes: func() *monitor.Nodes { return known },
			Settings: func() monitor.Settings {
				return monitor.Settings{Interval: time.Second, Timeout: time.Second, Retries: 3, VoteLife: time.Minute, StartDelay: 5 * time.Second}
			},
			Stores: func() []heartbeat.StoreHealth {
				return []heartbeat.StoreHealth{{ID: n.ID + "s1", Readable: true, Writable: true, Free: 1 << 40}, {ID: n.ID + "s2", Readable: true, Free: 1 << 40}}
			},
		})
		h := cluster.NewHandler(cluster.Deps{Keys: keys, Self: func() string { return n.ID }})
		h.Handle(probe.Path, probe.Handler{Answerer: m, Caller: cluster.CallerOf})
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if errors.Is(h.Serve(w, r), handlers.ErrNotMine) {
				http.NotFound(w, r)
			}
		})}
		t.monitors = append(t.monitors, m)
		t.closes = append(t.closes, func() { client.Close(); _ = server.Close() }) // nobody is served any more
		t.running.Go(func() { _ = server.Serve(listeners[i]) })                    // until it is closed
		t.running.Go(func() { _ = m.Run(ctx) })                                    // until ctx ends
	}
}

func (t *beating) stop() {
	t.cancel()
	for _, f := range t.closes {
		f()
	}
	t.running.Wait()
}

func (t *beating) rounds() (n uint64) {
	for _, m := range t.monitors {
		n += m.Figures().Rounds
	}
	return n
}

func (t *beating) probes() (n uint64) {
	for _, m := range t.monitors {
		n += m.Figures().Probes
	}
	return n
}

// cpu is the time of processors that this process has had.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inUse is the memory of what is alive, in bytes: heap and stacks.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
