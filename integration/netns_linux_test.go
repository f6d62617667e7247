package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ooseio/oose/redisdb/redistest"
)

// network is a switch with nodes on it, each in a network namespace of its own,
// so that cables can be pulled. It needs root.
type network struct {
	t    testing.TB
	name string // what the names of its namespaces begin with
	n    int    // namespaces on the switch
}

// networks counts those that were made: several tests have theirs at a time.
var networks atomic.Int64

// newNetwork makes a network of n namespaces with the addresses 10.213.0.1 to n.
func newNetwork(t testing.TB, n int) *network {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test makes network namespaces: run it as root")
	w := &network{t: t, name: fmt.Sprintf("oose%d-%d", os.Getpid(), networks.Add(1)), n: n}
	t.Cleanup(func() {
		for i := 0; i <= n; i++ {
			_ = exec.Command("ip", "netns", "del", w.space(i)).Run()
		}
	})
	w.ip("netns add " + w.space(0))
	w.ip("-n " + w.space(0) + " link add hub type bridge")
	w.ip("-n " + w.space(0) + " link set hub up")
	for i := 1; i <= n; i++ {
		space, port := w.space(i), fmt.Sprintf("port%d", i)
		w.ip("netns add " + space)
		w.ip("-n " + space + " link set lo up")
		w.ip("-n " + w.space(0) + " link add " + port + " type veth peer name eth0 netns " + space)
		w.ip("-n " + w.space(0) + " link set " + port + " master hub up")
		w.ip("-n " + space + " addr add " + w.address(i) + "/24 dev eth0")
		w.ip("-n " + space + " link set eth0 up")
	}
	return w
}

func (w *network) space(i int) string { return fmt.Sprintf("%s-%d", w.name, i) }

// address is the one of the node in a namespace.
func (w *network) address(i int) string { return fmt.Sprintf("10.213.0.%d", i) }

func (w *network) ip(command string) {
	w.t.Helper()
	out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
	require.NoError(w.t, err, "ip %s: %s", command, out)
}

// Cut pulls the cable of a node.
func (w *network) Cut(i int) { w.ip(fmt.Sprintf("-n %s link set port%d down", w.space(0), i)) }

// Heal plugs it in again.
func (w *network) Heal(i int) { w.ip(fmt.Sprintf("-n %s link set port%d up", w.space(0), i)) }

// CutBetween has two nodes no longer reach each other, while others reach both.
func (w *network) CutBetween(a, b int) {
	w.ip(fmt.Sprintf("-n %s route add blackhole %s/32", w.space(a), w.address(b)))
	w.ip(fmt.Sprintf("-n %s route add blackhole %s/32", w.space(b), w.address(a)))
}

// HealBetween ends what CutBetween began.
func (w *network) HealBetween(a, b int) {
	w.ip(fmt.Sprintf("-n %s route del blackhole %s/32", w.space(a), w.address(b)))
	w.ip(fmt.Sprintf("-n %s route del blackhole %s/32", w.space(b), w.address(a)))
}

// within puts a node into a namespace, and reaches it from there.
func (w *network) within(i int) Option {
	return func(n *Node) {
		n.Host = w.address(i)
		n.space = []string{"ip", "netns", "exec", w.space(i)}
		n.dial = w.dialer(i)
	}
}

// dialer connects from within a namespace: a socket stays where it was made.
func (w *network) dialer(i int) dialer {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			// The thread goes back to where it was: were it to end, so would the
			// processes that were started from it and are to end with their parent.
			runtime.LockOSThread()
			var here, there *os.File
			if here, err = os.Open("/proc/thread-self/ns/net"); err != nil {
				return
			}
			defer here.Close()
			if there, err = os.Open("/run/netns/" + w.space(i)); err != nil {
				return
			}
			defer there.Close()
			if err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return
			}
			defer func() {
				if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
					runtime.UnlockOSThread()
				}
			}()
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, address)
		}()
		<-done
		return conn, err
	}
}

// redis starts a Redis on the switch itself, and returns its address for the
// engine: nodes reach it while their own cable is plugged in.
func (w *network) redis() string {
	w.t.Helper()
	const host, port = "10.213.0.254", "6379"
	w.ip("-n " + w.space(0) + " addr add " + host + "/24 dev hub")
	w.ip("-n " + w.space(0) + " link set lo up")
	server := exec.Command("ip", "netns", "exec", w.space(0), redistest.Programs(w.t)[0], "--port", port, "--bind", host, "--dir", w.t.TempDir(),
		"--appendonly", "yes", "--save", "", "--protected-mode", "no")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(w.t, server.Start())
	w.t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	dial := w.dialer(0)
	eventually(w.t, func() bool {
		conn, err := dial(context.Background(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "Redis answers")
	return "redis://" + net.JoinHostPort(host, port) + "/0"
}
