package handover

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// server counts what it accepts at a port that it shares.
type server struct {
	net.Listener
	accepted atomic.Int64
}

// listen opens a socket beside those that are at the address, as Caddy does.
func listen(t *testing.T, address string, multipath bool, options ...func(fd int) error) *server {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			for _, o := range options {
				if err == nil {
					err = o(int(fd))
				}
			}
		})
		if err == nil {
			err = controlErr
		}
		return err
	}}
	lc.SetMultipathTCP(multipath)
	l, err := lc.Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return &server{Listener: l}
}

// serve accepts until the socket is closed, or the test ends.
func (s *server) serve(t *testing.T) {
	var wg sync.WaitGroup
	t.Cleanup(func() { s.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			conn.Close()
		}
	})
}

// wrapped is a listener as Caddy has it: with what it adds around TLS.
func (s *server) wrapped() []net.Listener {
	type outer struct {
		name string
		net.Listener
	}
	return []net.Listener{&outer{"http", tls.NewListener(outer{"pool", s}, &tls.Config{})}}
}

// dial connects that often and returns how many of them each server accepted.
func dial(t *testing.T, times int, servers ...*server) []int64 {
	t.Helper()
	before := make([]int64, len(servers))
	for i, s := range servers {
		before[i] = s.accepted.Load()
	}
	for range times {
		d := net.Dialer{Timeout: 20 * time.Second}
		conn, err := d.DialContext(t.Context(), "tcp", servers[0].Addr().String())
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1)) // until the server has closed it
		require.ErrorContains(t, err, "EOF")
		conn.Close()
	}
	got := make([]int64, len(servers))
	for i, s := range servers {
		got[i] = s.accepted.Load() - before[i]
	}
	return got
}

func none() int { return 0 }

// eachKind runs a test with plain TCP and Multipath TCP, over IPv4 and IPv6 and
// with a socket that takes both.
func eachKind(t *testing.T, test func(t *testing.T, listen func() *server)) {
	for _, multipath := range []bool{false, true} {
		for _, host := range []string{"127.0.0.1", "::1", ""} {
			t.Run(fmt.Sprintf("multipath %t %s", multipath, host), func(t *testing.T) {
				first := listen(t, net.JoinHostPort(host, "0"), multipath)
				address := first.Addr().String()
				test(t, func() *server {
					if s := first; s != nil {
						first = nil
						return s
					}
					return listen(t, address, multipath)
				})
			})
		}
	}
}

func TestConnectionsGoWhereTheyAreLed(t *testing.T) {
	eachKind(t, func(t *testing.T, listen func() *server) {
		log := zap.NewNop()
		old := listen()
		old.serve(t)
		Keep(old.wrapped(), nil, log)
		for range 3 {
			failing := listen()
			failing.serve(t)
			require.Equal(t, []int64{40, 0}, dial(t, 40, old, failing), "the port is opened by a configuration that may yet fail")
			failing.Close()
			require.Equal(t, []int64{5}, dial(t, 5, old), "it has failed")

			next := listen()
			next.serve(t)
			Keep(next.wrapped(), old.wrapped(), log) // all of it has started
			require.Equal(t, []int64{40, 0}, dial(t, 40, old, next), "it is not in force yet")

			h := Begin(old.wrapped(), next.wrapped(), none, log)
			require.Len(t, h.pairs, 1)
			require.Equal(t, []int64{0, 40}, dial(t, 40, old, next), "the port is handed over")
			old.Close()
			require.Equal(t, []int64{40}, dial(t, 40, next), "the old server is stopped")
			h.Finish()
			h.Finish() // does nothing
			old = next
		}
		require.Equal(t, []int64{40}, dial(t, 40, old))
	})
}

// begin has Begin run beside the test.
func begin(old, next *server, silent func() int) <-chan *Handover {
	done := make(chan *Handover, 1)
	go func() { done <- Begin(old.wrapped(), next.wrapped(), silent, zap.NewNop()) }()
	return done
}

// requireWaits wants that a handover waits for something.
func requireWaits(t *testing.T, done <-chan *Handover) {
	t.Helper()
	select {
	case h := <-done:
		h.Finish()
		require.Fail(t, "the handover did not wait")
	case <-time.After(300 * time.Millisecond):
	}
}

// soon bounds what must not take as long as a handover waits at most.
const soon = longest - time.Second

// requireSoon wants that a handover does not wait any more, and finishes it.
func requireSoon(t *testing.T, done <-chan *Handover) {
	t.Helper()
	select {
	case h := <-done:
		h.Finish()
	case <-time.After(soon):
		require.Fail(t, "the handover goes on waiting")
	}
}

func TestWaitsForWhatIsQueued(t *testing.T) {
	eachKind(t, func(t *testing.T, listen func() *server) {
		old, next := listen(), (*server)(nil)
		client, err := net.Dial("tcp", old.Addr().String())
		require.NoError(t, err)
		defer client.Close()
		next = listen()
		done := begin(old, next, none)
		requireWaits(t, done)
		conn, err := old.Accept()
		require.NoError(t, err)
		conn.Close()
		requireSoon(t, done)
	})
}

func TestWaitsForWhoHasNotSpoken(t *testing.T) {
	old := listen(t, "127.0.0.1:0", true)
	next := listen(t, old.Addr().String(), true)
	var silent atomic.Int64
	silent.Store(1)
	done := begin(old, next, func() int { return int(silent.Load()) })
	requireWaits(t, done)
	silent.Store(0)
	requireSoon(t, done)
}

// TestWaitsForHandshakes has the kernel regard a connection as one that shakes
// hands until its client has sent something.
func TestWaitsForHandshakes(t *testing.T) {
	deferring := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30) }
	for _, host := range []string{"127.0.0.1", "::1", ""} {
		t.Run(host, func(t *testing.T) {
			old := listen(t, net.JoinHostPort(host, "0"), false, deferring)
			client, err := net.Dial("tcp", old.Addr().String())
			require.NoError(t, err)
			defer client.Close()
			next := listen(t, old.Addr().String(), false, deferring)
			done := begin(old, next, none)
			requireWaits(t, done)

			// Those that came to the new socket are not waited for.
			late, err := net.Dial("tcp", old.Addr().String())
			require.NoError(t, err)
			defer late.Close()
			_, err = client.Write([]byte("hello"))
			require.NoError(t, err)
			conn, err := old.Accept()
			require.NoError(t, err)
			conn.Close()
			requireSoon(t, done)
		})
	}
}

func TestNeverWaitsForLong(t *testing.T) {
	old := listen(t, "127.0.0.1:0", true)
	client, err := net.Dial("tcp", old.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	next := listen(t, old.Addr().String(), true)
	began := time.Now()
	(<-begin(old, next, none)).Finish()
	require.Less(t, time.Since(began), 3*longest)
}

func TestLeavesAloneWhatItCanNotHandOver(t *testing.T) {
	log := zap.NewNop()
	ours := listen(t, "127.0.0.1:0", true)
	theirs := listen(t, ours.Addr().String(), true) // as another process would
	next := listen(t, ours.Addr().String(), true)
	elsewhere := listen(t, "127.0.0.1:0", true)
	var lc net.ListenConfig
	alone, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer alone.Close()
	closed := listen(t, "127.0.0.1:0", true)
	require.NoError(t, closed.Close())
	local, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	defer local.Close()
	for name, pair := range map[string][2]net.Listener{
		"a port of several processes":  {ours, next},
		"one socket in both":           {theirs, theirs},
		"another port":                 {ours, elsewhere},
		"a socket that was given":      {alone, alone},
		"a socket that is closed":      {closed, closed},
		"a unix socket":                {local, local},
		"a listener that leads to nil": {struct{ net.Listener }{local}, struct{ net.Listener }{local}},
	} {
		Keep(pair[:1], nil, log)
		h := Begin(pair[:1], pair[1:], func() int { return 1 }, log)
		require.Empty(t, h.pairs, name)
		h.Finish()
	}
	Begin(nil, nil, none, log).Finish()
	(*Handover)(nil).Finish()
}

// TestLeavesNoDescriptorBehind counts what the sockets are held by.
func TestLeavesNoDescriptorBehind(t *testing.T) {
	log := zap.NewNop()
	old := listen(t, "127.0.0.1:0", true)
	next := listen(t, old.Addr().String(), true)
	Keep(next.wrapped(), old.wrapped(), log)
	Begin(old.wrapped(), next.wrapped(), none, log).Finish()
	require.NoError(t, next.Close())
	require.NoError(t, old.Close())
	_, err := net.Dial("tcp", old.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// TestTheHelperTakesNothing connects to a socket as it is there while a port is
// given its program.
func TestTheHelperTakesNothing(t *testing.T) {
	for host, family := range map[string]int{"127.0.0.1": unix.AF_INET, "::1": unix.AF_INET6, "": unix.AF_INET6} {
		s := listen(t, net.JoinHostPort(host, "0"), false, func(fd int) error { return refuse(fd, family) })
		_, port, err := net.SplitHostPort(s.Addr().String())
		require.NoError(t, err)
		for _, to := range []string{"127.0.0.1", "::1"} {
			if host != "" && host != to {
				continue
			}
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(to, port), 100*time.Millisecond)
			if err == nil {
				conn.Close()
			}
			require.ErrorContains(t, err, "i/o timeout", "%s at %s", to, host)
		}
	}
}
