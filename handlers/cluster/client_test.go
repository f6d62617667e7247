package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/handlers"
)

// peer is a node that answers calls.
type peer struct {
	*httptest.Server
	handler *Handler
	calls   atomic.Int64 // requests, refused ones as well
	ahead   atomic.Int64 // nanoseconds of its clock
}

func (p *peer) now() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

// newPeer starts a node with these secrets.
func newPeer(t testing.TB, secrets ...string) *peer {
	t.Helper()
	p := newHandlerPeer(secrets...)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func newHandlerPeer(secrets ...string) *peer {
	p := &peer{}
	p.handler = NewHandler(Deps{Keys: NewKeys(secrets), Self: func() string { return "edge2" }, Now: p.now})
	p.handler.Handle("/cluster/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Caller", CallerOf(r.Context()))
		_, _ = w.Write(append([]byte(r.Proto+" "+r.Method+" "), body...))
	}))
	return p
}

// ServeHTTP is a site: the handler, and 404 for what is not its own.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.calls.Add(1)
	if err := p.handler.Serve(w, r); errors.Is(err, handlers.ErrNotMine) {
		http.Error(w, "nobody's", http.StatusNotFound)
	}
}

func newClient(t testing.TB, opts Options, secrets ...string) *Client {
	t.Helper()
	opts.Node, opts.Keys = "edge1", NewKeys(secrets)
	c := NewClient(opts)
	t.Cleanup(c.Close)
	return c
}

// call sends a request with a body and returns what came.
func call(t testing.TB, c *Client, url string, body io.Reader) (string, *http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "POST", url, body)
	require.NoError(t, err)
	resp, err := c.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text), resp, nil
}

func TestCall(t *testing.T) {
	p, c := newPeer(t, secret), newClient(t, Options{}, secret)
	for range 3 {
		text, resp, err := call(t, c, p.URL+"/cluster/echo?x=%2F", strings.NewReader("hello"))
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 POST hello", text)
		require.Equal(t, "edge1", resp.Header.Get("X-Caller"))
		require.Equal(t, "edge2", resp.Header.Get(HeaderNode))
	}
	require.EqualValues(t, 3, p.calls.Load())
	text, resp, err := call(t, c, p.URL+"/cluster/nothing", nil)
	require.NoError(t, err)
	require.Equal(t, 404, resp.StatusCode)
	require.Contains(t, text, "no such route")
}

// A body that can be read once is sent to who is known to let it in.
func TestStreamedBody(t *testing.T) {
	p, c := newPeer(t, secret), newClient(t, Options{}, secret)
	p.ahead.Store(int64(2 * time.Hour))
	for range 2 {
		text, _, err := call(t, c, p.URL+"/cluster/echo", io.MultiReader(strings.NewReader("streamed")))
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 POST streamed", text)
	}
	require.EqualValues(t, 4, p.calls.Load(), "the time, once more, and two uploads")
	p.ahead.Store(int64(-2 * time.Hour))
	_, _, err := call(t, c, p.URL+"/cluster/echo", io.MultiReader(strings.NewReader("streamed")))
	require.ErrorIs(t, err, ErrClock, "its clock was set meanwhile")
	_, _, err = call(t, c, p.URL+"/cluster/echo", io.MultiReader(strings.NewReader("streamed")))
	require.NoError(t, err)
}

// A clock two hours off costs one more round trip, once, and a warning.
func TestClocksDiffer(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead": 2 * time.Hour, "behind": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			p, c := newPeer(t, secret), newClient(t, Options{Log: zap.New(core)}, secret)
			p.ahead.Store(int64(off))
			for i, calls := range []int64{2, 3, 4} {
				text, _, err := call(t, c, p.URL+"/cluster/echo", bytes.NewReader([]byte("x")))
				require.NoError(t, err, i)
				require.Equal(t, "HTTP/1.1 POST x", text)
				require.Equal(t, calls, p.calls.Load())
			}
			require.Equal(t, 1, logs.Len())
			require.NotContains(t, logs.All()[0].Message+logs.All()[0].Entry.Caller.String(), secret)

			// The other direction: this node's clock is wrong, the other's right.
			q := newPeer(t, secret)
			mine := newClient(t, Options{Now: func() time.Time { return time.Now().Add(off) }}, secret)
			_, _, err := call(t, mine, q.URL+"/cluster/echo", nil)
			require.NoError(t, err)
			require.EqualValues(t, 2, q.calls.Load())
		})
	}
}

func TestOtherSecret(t *testing.T) {
	p, c := newPeer(t, former), newClient(t, Options{}, secret)
	_, _, err := call(t, c, p.URL+"/cluster/echo", nil)
	require.ErrorIs(t, err, ErrOtherSecret)
	require.ErrorContains(t, err, "the other node has another secret")
	require.NotContains(t, err.Error(), secret)
	require.EqualValues(t, 1, p.calls.Load())
	_, _, err = call(t, newClient(t, Options{}), p.URL+"/cluster/echo", strings.NewReader("x"))
	require.ErrorIs(t, err, ErrNoSecret)
}

// While a secret is replaced node by node, all of them understand one another.
func TestRotationOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name           string
		client, server []string
		calls          int64 // for two calls
		want           error
	}{
		{"both have the old one first", []string{former, secret}, []string{former}, 2, nil},
		{"the server is not there yet", []string{secret, former}, []string{former}, 3, nil},
		{"the client is not there yet", []string{former}, []string{secret, former}, 2, nil},
		{"the server dropped the old one", []string{former, secret}, []string{secret}, 3, nil},
		{"the client has only the old one", []string{former}, []string{secret}, 2, ErrOtherSecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, client := newPeer(t, c.server...), newClient(t, Options{}, c.client...)
			for range 2 {
				_, _, err := call(t, client, p.URL+"/cluster/echo", nil)
				require.ErrorIs(t, err, c.want)
			}
			require.Equal(t, c.calls, p.calls.Load())
		})
	}
	t.Run("from one to the other and back", func(t *testing.T) {
		p, client := newPeer(t, former), newClient(t, Options{}, secret, former)
		for _, secrets := range [][]string{{former}, {secret}, {former}, {former, secret}, {secret}} {
			p.handler = NewHandler(Deps{Keys: NewKeys(secrets)})
			_, resp, err := call(t, client, p.URL+timePath, nil)
			require.NoError(t, err)
			require.Equal(t, 204, resp.StatusCode)
		}
	})
}

// A node that takes both secrets again is called with the new one before it gives
// the old one up: a call that can't be made twice goes through at every step.
func TestRotationLosesNoCall(t *testing.T) {
	keys := NewKeys([]string{former})
	p := newHandlerPeer(former)
	p.handler.deps.Keys = keys
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	now := time.Now()
	client := newClient(t, Options{Now: func() time.Time { return now }}, former)
	stream := func() {
		t.Helper()
		got, _, err := call(t, client, p.URL+"/cluster/echo", io.MultiReader(strings.NewReader("once")))
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 POST once", got)
	}
	regular := func() {
		t.Helper()
		_, _, err := call(t, client, p.URL+"/cluster/echo", nil)
		require.NoError(t, err)
	}
	stream()
	client.opts.Keys.Use([]string{secret, former})
	regular()
	stream()
	keys.Use([]string{secret, former})
	stream()
	now = now.Add(2 * retryFirst)
	regular()
	keys.Use([]string{secret})
	stream()
	client.opts.Keys.Use([]string{secret})
	stream()
}

// Who does not know the secret is refused, whatever it answers.
func TestServerWithoutTheSecret(t *testing.T) {
	thief := newHandlerPeer(former)
	for name, answer := range map[string]http.HandlerFunc{
		"200":                  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"records":[],"sure":true}`) },
		"404":                  http.NotFound,
		"401":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"302":                  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a proof that is none": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(HeaderProof, "AAAA") },
		"the signature as proof": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(HeaderProof, r.Header.Get(HeaderSignature))
		},
		"a proof of another key": func(w http.ResponseWriter, r *http.Request) { thief.proveAnything(w, r, 200) },
		"a clock without a proof": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(HeaderRefused, "clock")
			w.Header().Set(HeaderTime, "1")
			w.WriteHeader(401)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				answer(w, r)
			}))
			defer s.Close()
			c := newClient(t, Options{}, secret)
			_, _, err := call(t, c, s.URL+"/cluster/echo", nil)
			require.ErrorIs(t, err, ErrNoProof)
			require.EqualValues(t, 1, calls.Load())
			require.Empty(t, c.known, "nothing is learnt from it")
		})
	}
}

func (p *peer) proveAnything(w http.ResponseWriter, r *http.Request, status int) {
	p.handler.proving(w, p.unchecked(r)).WriteHeader(status)
}

// An answer's proof holds for its own status only, and for one call.
func TestProofIsOfThisAnswer(t *testing.T) {
	honest := newHandlerPeer(secret)
	var kept string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		honest.ServeHTTP(recorder, r)
		for name, v := range recorder.Header() {
			w.Header()[name] = v
		}
		switch r.URL.Query().Get("do") {
		case "status":
			w.WriteHeader(201)
		case "replay":
			if kept != "" {
				w.Header().Set(HeaderProof, kept)
			}
			kept = recorder.Header().Get(HeaderProof)
		case "time":
			w.Header().Set(HeaderTime, "5")
		}
	}))
	defer s.Close()
	c := newClient(t, Options{}, secret)
	_, _, err := call(t, c, s.URL+"/cluster/echo", nil)
	require.NoError(t, err)
	for _, do := range []string{"status", "time"} {
		_, _, err := call(t, c, s.URL+"/cluster/echo?do="+do, nil)
		require.ErrorIs(t, err, ErrNoProof, do)
	}
	_, _, err = call(t, c, s.URL+"/cluster/echo?do=replay", nil)
	require.NoError(t, err)
	_, _, err = call(t, c, s.URL+"/cluster/echo?do=replay", nil)
	require.ErrorIs(t, err, ErrNoProof)
}

// A call that a broken connection had sent twice is signed anew.
func TestReplayIsSignedAnew(t *testing.T) {
	p := newPeer(t, secret)
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			p.ServeHTTP(httptest.NewRecorder(), r.Clone(r.Context())) // it came before, and the answer was lost
		}
		p.ServeHTTP(w, r)
	}))
	defer s.Close()
	text, _, err := call(t, newClient(t, Options{}, secret), s.URL+"/cluster/echo", nil)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 POST ", text)
	require.EqualValues(t, 2, calls.Load())
}

func TestLearnOffset(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct{ known, least, most, want time.Duration }{
		{0, -ms, ms, 0},
		{0, -8 * s, 8 * s, 0},
		{ms, 0, 0, ms}, {-ms, 0, 0, -ms}, // a clock is told to the millisecond
		{0, 2 * ms, 4 * ms, 4 * ms}, {0, -4 * ms, -2 * ms, -2 * ms},
		{0, time.Hour, time.Hour + s, time.Hour + s},
		{time.Hour, 0, 3 * time.Minute, time.Hour}, // it took too long to tell
	} {
		require.Equal(t, c.want, learnOffset(c.known, c.least, c.most), c)
	}
}

// A node that starts anew has forgotten which calls it let in: what was signed
// before is late, and everybody who knows the secret gets in all the same,
// whatever their clocks say.
func TestRestart(t *testing.T) {
	now, was := newPeer(t, secret), newHandlerPeer(secret)
	var answers atomic.Pointer[peer]
	var seen atomic.Pointer[http.Request]
	answers.Store(was)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Clone(context.Background()))
		answers.Load().ServeHTTP(w, r)
	}))
	defer s.Close()
	was.handler.deps.Keys.since = time.Now().Add(-time.Hour)
	var clients []*Client
	for _, off := range []time.Duration{-4 * time.Minute, -time.Minute, 0, time.Minute, 2 * time.Hour} {
		c := newClient(t, Options{Now: func() time.Time { return time.Now().Add(off) }}, secret)
		clients = append(clients, c)
		_, _, err := call(t, c, s.URL+"/cluster/echo", nil)
		require.NoError(t, err, off)
	}
	old := seen.Load()
	at, err := parseStamp(old.Header.Get(HeaderTime))
	require.NoError(t, err)
	const later = 5 * time.Millisecond
	require.Eventually(t, func() bool { return time.Since(at) > later }, time.Minute, time.Millisecond)
	now.handler.deps.Keys.since = time.Now()
	answers.Store(now)

	sniffed := httptest.NewRecorder()
	now.ServeHTTP(sniffed, old)
	require.Equal(t, http.StatusUnauthorized, sniffed.Code)
	require.Equal(t, refusedClock, sniffed.Header().Get(HeaderRefused))
	for i, c := range clients {
		before := now.calls.Load()
		_, _, err := call(t, c, s.URL+"/cluster/echo", io.MultiReader(strings.NewReader("streamed")))
		require.NoError(t, err, i)
		require.Equal(t, before+1, now.calls.Load(), "its clock is known")
	}
	late := newClient(t, Options{Now: func() time.Time { return time.Now().Add(-time.Minute) }}, secret)
	before := now.calls.Load()
	_, _, err = call(t, late, s.URL+"/cluster/echo", nil)
	require.NoError(t, err)
	require.Equal(t, before+2, now.calls.Load(), "a stranger learns the time, once")
}

// A server that accepts and never answers holds nobody for long.
func TestServerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr().String()+"/cluster/echo", nil)
	require.NoError(t, err)
	_, err = newClient(t, Options{}, secret).Do(r)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	c := newClient(t, Options{}, secret)
	require.Equal(t, headerTime, c.calls.ResponseHeaderTimeout)
	require.Zero(t, c.patient.ResponseHeaderTimeout)
}

// No redirect is followed, no proxy asked.
func TestNoDetours(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	p := newPeer(t, secret)
	p.handler.Handle("/cluster/away", http.RedirectHandler("/cluster/echo", http.StatusFound))
	_, resp, err := call(t, newClient(t, Options{}, secret), p.URL+"/cluster/away", nil)
	require.NoError(t, err)
	require.Equal(t, 302, resp.StatusCode)
	require.EqualValues(t, 1, p.calls.Load())
}

func BenchmarkCall(b *testing.B) {
	p, c := newPeer(b, secret), newClient(b, Options{}, secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := call(b, c, p.URL+"/cluster/echo", nil); err != nil {
			b.Fatal(err)
		}
	}
}
