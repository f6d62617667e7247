package caddymodule

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"
)

// streams are the requests that are running, of all configurations. They are
// kept in shards, so that no lock is shared by all.
type streams struct {
	shards [64]streamShard

	mu   sync.Mutex // guards stop
	stop chan struct{}
	done sync.WaitGroup
}

type streamShard struct {
	mu  sync.Mutex
	set map[*exchange]struct{}
}

// exchange is one running request.
type exchange struct {
	shard *streamShard
	conn  net.Conn                 // nil where the protocol does not tell it
	ctrl  *http.ResponseController // in its place
	quic  *http3.Server            // of a request of HTTP/3
}

func (s *streams) init() {
	for i := range s.shards {
		s.shards[i].set = make(map[*exchange]struct{})
	}
}

// begin counts a request among the running ones until end is called.
func (s *streams) begin(w http.ResponseWriter, r *http.Request) *exchange {
	st := &exchange{shard: &s.shards[rand.IntN(len(s.shards))]}
	if conn, ok := r.Context().Value(caddyhttp.ConnCtxKey).(net.Conn); ok {
		st.conn = conn
	} else {
		if _, writer := caddyhttp.IdleTimeoutsFromContext(r.Context()); writer != nil {
			st.ctrl = writer.Ctrl
		} else {
			st.ctrl = http.NewResponseController(w)
		}
		st.quic, _ = r.Context().Value(http3.ServerContextKey).(*http3.Server)
	}
	st.shard.mu.Lock()
	st.shard.set[st] = struct{}{}
	st.shard.mu.Unlock()
	return st
}

// knowConnections has requests of a server know their connection, so that it
// can be closed when the process is to end, and a reload know which connections
// have not brought any.
func (app *App) knowConnections(server *caddyhttp.Server) {
	app.mu.Lock()
	defer app.mu.Unlock()
	if slices.Contains(app.servers, server) {
		return
	}
	app.servers = append(app.servers, server)
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, caddyhttp.ConnCtxKey, conn)
	})
	server.RegisterConnState(app.ports.note)
}

func (st *exchange) end() {
	st.shard.mu.Lock()
	delete(st.shard.set, st)
	st.shard.mu.Unlock()
}

// count returns how many requests are running.
func (s *streams) count() int {
	n := 0
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += len(s.shards[i].set)
		s.shards[i].mu.Unlock()
	}
	return n
}

// endAfter ends what still runs after a while. It returns at once.
func (s *streams) endAfter(wait time.Duration, log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	stop := make(chan struct{})
	s.stop = stop
	s.done.Go(func() { s.endLoop(wait, stop, log) })
}

// endLoop goes on ending: a request may begin late, on a connection that is
// still open.
func (s *streams) endLoop(wait time.Duration, stop <-chan struct{}, log *zap.Logger) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	told := false
	quic := make(map[*http3.Server]bool) // whether it is being closed
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		if n := s.count(); n > 0 && !told {
			log.Warn("ending what still streams after the stop", zap.Int("streams", n), zap.Duration("after", wait))
			told = true
		}
		for i := range s.shards {
			s.shards[i].endAll(quic)
		}
		for server, closing := range quic {
			if !closing {
				quic[server] = true
				s.done.Go(func() { s.closeQUIC(server, log) })
			}
		}
		timer.Reset(100 * time.Millisecond)
	}
}

// closeQUIC closes the connections of an HTTP/3 server. That a stream is ended
// is not enough there: the server waits until the client has closed the
// connection, and one that does not read what it was sent never does.
func (s *streams) closeQUIC(server *http3.Server, log *zap.Logger) {
	if err := server.Close(); err != nil {
		log.Warn("closing the connections of HTTP/3", zap.Error(err))
	}
}

// endAll ends the shard's streams, and notes the servers of those of HTTP/3.
func (sh *streamShard) endAll(quic map[*http3.Server]bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for st := range sh.set {
		// Both can be called beside the request: a closed connection ends
		// HTTP/1 and 2, a deadline in the past a stream of HTTP/3.
		if st.conn != nil {
			_ = st.conn.Close()
		} else if st.ctrl != nil {
			_ = st.ctrl.SetWriteDeadline(time.Unix(1, 0))
			_ = st.ctrl.SetReadDeadline(time.Unix(1, 0))
		}
		if _, known := quic[st.quic]; st.quic != nil && !known {
			quic[st.quic] = false
		}
	}
}

// close stops ending and waits until it has.
func (s *streams) close() {
	s.mu.Lock()
	if s.stop != nil {
		close(s.stop)
	}
	s.mu.Unlock()
	s.done.Wait()
}

// exitHandler hears that Caddy stops.
type exitHandler struct{ app *App }

// Handle begins the time after which running streams are ended, where the
// process is to end; a reload ends nothing but what other nodes follow here,
// and they go on at the next configuration.
func (h exitHandler) Handle(context.Context, caddy.Event) error {
	if a := h.app.held.Load(); a != nil {
		if caddy.Exiting() {
			a.Node().Leave()
		}
		a.Retire()
	}
	if p := running(); p != nil && caddy.Exiting() {
		p.streams.endAfter(h.app.ExitAfter.Std(), h.app.log)
	}
	return nil
}
