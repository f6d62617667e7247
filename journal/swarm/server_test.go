package swarm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ask makes a request as a node would.
func ask(t *testing.T, h http.Handler, node, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if node != "" {
		r.Header.Set(nodeHeader, node)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const goodHello = `{"protocol":1,"id":"id-x","name":"x","domain":"oose.example","source":"src-x","started":1}`

func TestRequests(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		for _, c := range []struct {
			name, node, method, path, body string
			status                         int
		}{
			{"hello", "id-x", "POST", "/cluster/hello", goodHello, 200},
			{"hello, signed by name", "x", "POST", "/cluster/hello", goodHello, 200},
			{"hello of another", "id-y", "POST", "/cluster/hello", goodHello, 403},
			{"hello by GET", "id-x", "GET", "/cluster/hello", "", 405},
			{"hello, empty", "id-x", "POST", "/cluster/hello", "", 400},
			{"hello, huge", "id-x", "POST", "/cluster/hello", `{"protocol":1,"id":"` + strings.Repeat("x", maxHello) + `"}`, 400},
			{"hello, another domain", "id-x", "POST", "/cluster/hello", strings.Replace(goodHello, "oose.example", "evil.example", 1), 403},
			{"hello, another protocol", "id-x", "POST", "/cluster/hello", strings.Replace(goodHello, `col":1`, `col":7`, 1), 403},
			{"hello, no protocol", "id-x", "POST", "/cluster/hello", `{}`, 403},
			{"catalogue", "id-x", "GET", "/cluster/journal", "", 200},
			{"catalogue by PUT", "id-x", "PUT", "/cluster/journal", "", 405},
			{"acks", "id-x", "POST", "/cluster/journal", `{"node":"id-x","claims":{"src-a":0}}`, 200},
			{"acks for another", "id-y", "POST", "/cluster/journal", `{"node":"id-x","claims":{"src-a":0}}`, 403},
			{"acks of a stranger", "id-z", "POST", "/cluster/journal", `{"node":"id-z","claims":{"src-a":0}}`, 403},
			{"acks, garbage", "id-x", "POST", "/cluster/journal", `{"node":"id-x","claims":{"src-a":-1}}`, 400},
			{"acks, odd source", "id-x", "POST", "/cluster/journal", `{"node":"id-x","claims":{"a/b":1}}`, 400},
			{"stream, no since", "id-x", "GET", "/cluster/journal/src-a", "", 400},
			{"stream, bad since", "id-x", "GET", "/cluster/journal/src-a?since=-1", "", 400},
			{"stream, unknown", "id-x", "GET", "/cluster/journal/src-z?since=0", "", 404},
			{"stream, odd source", "id-x", "GET", "/cluster/journal/a%2Fb?since=0", "", 404},
			{"stream, no source", "id-x", "GET", "/cluster/journal/?since=0", "", 404},
			{"stream by POST", "id-x", "POST", "/cluster/journal/src-a?since=0", "", 405},
			{"another route", "id-x", "GET", "/cluster/x", "", 404},
			{"dots", "id-x", "GET", "/cluster/journal/..?since=0", "", 404},
		} {
			got := ask(t, a, c.node, c.method, c.path, c.body)
			require.Equal(t, c.status, got.Code, "%s: %s", c.name, got.Body)
			require.True(t, json.Valid(got.Body.Bytes()), c.name)
			if c.status != 200 {
				var body refused
				require.NoError(t, json.Unmarshal(got.Body.Bytes(), &body), c.name)
				require.NotEmpty(t, body.Error, c.name)
			}
		}
		a.stop()
		got := ask(t, a, "id-x", "POST", "/cluster/hello", goodHello)
		require.Equal(t, http.StatusServiceUnavailable, got.Code, "after its end")
		require.NotEmpty(t, got.Header().Get("Retry-After"))
		unborn := a.opts
		unborn.Journal = a.j
		got = ask(t, New(unborn), "id-x", "POST", "/cluster/hello", goodHello)
		require.Equal(t, http.StatusServiceUnavailable, got.Code, "before its start")
	})
}

// TestAcksAreCoalesced: one at a time, at once when idle, and the last word is told.
func TestAcksAreCoalesced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		b := w.node("b", nil, "a")
		pause(5 * time.Second)
		var now, most, all atomic.Int64
		var failing atomic.Bool
		w.host("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.URL.Path == journalPath {
				all.Add(1)
				most.Store(max(most.Load(), now.Add(1)))
				<-time.After(10 * time.Millisecond)
				now.Add(-1)
				if failing.Load() {
					http.Error(rw, "no", http.StatusInternalServerError)
					return
				}
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		for range 1000 {
			a.j.write(1)
			pause(time.Millisecond)
		}
		pause(25 * time.Millisecond)
		require.EqualValues(t, 1, most.Load())
		require.InDelta(t, 100, all.Load(), 10)
		require.EqualValues(t, 1000, a.j.ack("id-b"))
		failing.Store(true)
		a.j.write(1)
		pause(time.Minute)
		require.EqualValues(t, 1000, a.j.ack("id-b"))
		require.Less(t, all.Load(), int64(130), "not again and again")
		failing.Store(false)
		pause(time.Minute)
		require.EqualValues(t, 1001, a.j.ack("id-b"))
		require.EqualValues(t, 1001, b.j.has("src-a"))
	})
}

// TestAckOfOneThatLeaves: what is being taken when its sender says goodbye
// counts no longer, or writes would wait for one that is gone.
func TestAckOfOneThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", func(m *member) { m.j.write(5) })
		require.Equal(t, 200, ask(t, a, "id-x", "POST", helloPath, goodHello).Code)
		a.j.asked = func() {
			a.j.asked = nil
			goodbye := strings.Replace(goodHello, "}", `,"leaving":true}`, 1)
			require.Equal(t, 200, ask(t, a, "id-x", "POST", helloPath, goodbye).Code)
			pause(3 * time.Second)
		}
		require.Equal(t, 200, ask(t, a, "id-x", "POST", journalPath, `{"node":"id-x","claims":{"src-a":5}}`).Code)
		pause(time.Minute)
		require.Zero(t, a.j.ack("id-x"))
	})
}

// TestStreamIsReplaced: a node that asks for a source again has lost the stream it had.
func TestStreamIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		require.Equal(t, 200, ask(t, a, "id-x", "POST", "/cluster/hello", goodHello).Code)
		open := func() *http.Response {
			resp, err := doer{w, "x", "id-x"}.Do(request(t, http.MethodGet, "https://a/cluster/journal/src-a?since=0", ""))
			require.NoError(t, err)
			require.Equal(t, "src-a", resp.Header.Get(serverHeader))
			return resp
		}
		first := open()
		_, err := bufio.NewReader(first.Body).ReadString('\n')
		require.NoError(t, err)
		second := open()
		_, err = io.Copy(io.Discard, first.Body)
		require.NoError(t, err, "it ended")
		require.Len(t, a.by("x").Sources, 1)
		require.NoError(t, first.Body.Close())
		require.NoError(t, second.Body.Close())
		synctest.Wait()
		require.Empty(t, a.by("x").Sources)
	})
}

// TestStreamsAreBounded: and those that are open end with Run.
func TestStreamsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		a.Swarm.mu.Lock()
		a.served = maxServed - 1
		a.Swarm.mu.Unlock()
		open := func() *http.Response {
			resp, err := doer{w, "x", "id-x"}.Do(request(t, http.MethodGet, "https://a/cluster/journal/src-a?since=0", ""))
			require.NoError(t, err)
			return resp
		}
		first, second := open(), open()
		require.Equal(t, 200, first.StatusCode)
		require.Equal(t, 503, second.StatusCode)
		require.NoError(t, second.Body.Close())
		a.end()
		_, err := io.Copy(io.Discard, first.Body)
		require.NoError(t, err)
		require.NoError(t, first.Body.Close())
		<-a.over
	})
}

// TestFollowerThatReadsNothing: over real HTTP, it is cut off, and Run ends.
func TestFollowerThatReadsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		ours, theirs := net.Pipe()
		ln := &oneConn{conn: make(chan net.Conn, 1), done: make(chan struct{})}
		ln.conn <- ours
		srv := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute, ReadTimeout: time.Minute}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		_, err := fmt.Fprintf(theirs, "GET /cluster/journal/src-a?since=0 HTTP/1.1\r\nHost: a\r\nOOSE-Node: id-x\r\n\r\n")
		require.NoError(t, err)
		b := make([]byte, 64)
		for began := time.Now(); time.Since(began) < 5*time.Minute; { // longer than the server's ReadTimeout
			_, err = theirs.Read(b)
			require.NoError(t, err)
			<-time.After(time.Second)
		}
		open := func() int {
			a.Swarm.mu.Lock()
			defer a.Swarm.mu.Unlock()
			return a.served
		}
		require.Equal(t, 1, open())
		pause(time.Minute) // reads nothing more
		require.Zero(t, open())
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		require.NoError(t, theirs.Close())
	})
}

// oneConn listens, and accepts one connection.
type oneConn struct {
	conn chan net.Conn
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	close(l.done)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowBody: who sends its hello byte by byte is cut off.
func TestSlowBody(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		ours, theirs := net.Pipe()
		ln := &oneConn{conn: make(chan net.Conn, 1), done: make(chan struct{})}
		ln.conn <- ours
		srv := &http.Server{Handler: a}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		_, err := fmt.Fprintf(theirs, "POST /cluster/hello HTTP/1.1\r\nHost: a\r\nOOSE-Node: id-x\r\nContent-Length: 1000\r\n\r\n{")
		require.NoError(t, err)
		began := time.Now()
		line, err := bufio.NewReader(theirs).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "400")
		require.LessOrEqual(t, time.Since(began), bodyTimeout+time.Second)
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		require.NoError(t, theirs.Close())
	})
}

func FuzzWire(f *testing.F) {
	for _, s := range []string{
		goodHello, `{"protocol":1}`, `{"node":"n","started":5,"source":"s","sources":[{"source":"s","head":3,"claim":1,"own":true}]}`,
		`{"node":"n","claims":{"s":18446744073709551615}}`, `{"version":1,"complete":"s","addresses":[{"address":"https://a:1","contact":"2026-11-20T00:00:00Z"}]}`,
		`[]`, `null`, `{"peers":[""]}`, `{"sources":null}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHello(strings.NewReader(s)); err == nil && h.Protocol == Protocol {
			require.True(t, idText(h.ID) && idText(h.Source) && plain(h.Name))
			for _, a := range append(h.Peers, h.Address) {
				if a != "" {
					_, err := parseAddress(a)
					require.NoError(t, err)
				}
			}
			require.LessOrEqual(t, len(h.Peers), maxPeers)
		}
		if c, o, err := parseCatalogue(strings.NewReader(s)); err == nil {
			require.Contains(t, o.claims, c.Source)
			require.LessOrEqual(t, len(o.claims), maxSources+1)
		}
		if a, err := parseAcks(strings.NewReader(s)); err == nil {
			require.True(t, idText(a.Node))
		}
		if b, err := parseBook(strings.NewReader(s)); err == nil {
			require.Equal(t, bookVersion, b.Version)
			require.LessOrEqual(t, len(b.Addresses), maxLinks)
		}
	})
}
