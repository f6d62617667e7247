package redistest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy stands between an engine and a server, and has the answers come late,
// or not at all.
type Proxy struct {
	Addr string

	target   string
	listener net.Listener
	delay    atomic.Int64 // of each answer
	swallow  atomic.Bool  // answers are lost
	all      sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// NewProxy starts a proxy before a server.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{Addr: l.Addr().String(), target: s.Addr, listener: l, conns: make(map[net.Conn]bool)}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = l.Close()
		p.Cut()
		p.all.Wait()
	})
	return p
}

// URL is the proxy's address for the engine.
func (p *Proxy) URL() string { return "redis://" + p.Addr + "/0" }

// Delay has every answer come so much later.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Swallow has the server do what it is told, and no answer come.
func (p *Proxy) Swallow(on bool) { p.swallow.Store(on) }

// Cut closes all connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(in, out) {
			_ = in.Close()
			continue
		}
		p.all.Go(func() { p.pump(out, in, false) })
		p.all.Go(func() { p.pump(in, out, true) })
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			_ = c.Close()
		}
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) pump(to, from net.Conn, answers bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if answers {
			if d := time.Duration(p.delay.Load()); d > 0 {
				pause := time.NewTimer(d)
				<-pause.C
			}
			if p.swallow.Load() {
				n = 0
			}
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
