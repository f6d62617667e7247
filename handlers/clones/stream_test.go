package clones

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// streamed is how large the content of the unbroken streams is: an eighth of it
// is more than all the buffers between a store and a viewer.
const streamed = 24 << 20

// edge is a prism that streams what two nodes hold.
type edge struct {
	*node
	away    [2]*faulty
	hash    content.Hash
	sum     [sha1.Size]byte
	data    []byte
	handler http.Handler

	registry *heartbeat.Registry
	source   *Source
	last     atomic.Value // id of the store that answered last

	mu        sync.Mutex
	failovers int
	hedges    int
}

// faulty is a node that can be struck.
type faulty struct {
	*node
	sending atomic.Int64 // bodies
	mu      sync.Mutex
	state   string        // "", "killed" or "frozen"
	changed chan struct{} // ends when the state does
}

func newEdge(t testing.TB, size int, change ...func(*ClientDeps)) *edge {
	t.Helper()
	e := &edge{node: newNode(t, "prism"), data: randomBytes(size)}
	e.sum = sha1.Sum(e.data)
	registry := heartbeat.NewRegistry(e.engine, nil)
	t.Cleanup(registry.Close)
	for i := range e.away {
		name := fmt.Sprintf("n%d", i+1)
		f := &faulty{node: newNode(t, name, name), changed: make(chan struct{})}
		e.away[i] = f
		e.hash = f.put(0, e.data, "bin")
		for r, err := range f.engine.Walk(t.Context(), nil) {
			require.NoError(t, err)
			require.NoError(t, e.engine.Import(t.Context(), []record.Record{r}))
		}
		require.NoError(t, registry.Register(t.Context(), heartbeat.Peer{
			ID: f.all[0].ID(), Name: peer.Name{Prism: name, Store: name}, Kind: peer.Store, Node: name,
			Cluster: f.http.URL, Online: true, Room: true, Active: true, Writable: true,
		}))
		f.before(f.fault)
		t.Cleanup(func() { f.set("") })
	}
	source := NewSource(newClient(t, change...), asked{registry, &e.last})
	e.registry, e.source = registry, source
	handler := delivery.New(delivery.Deps{
		Index: e.index, Stores: e, Registry: registry, Elsewhere: source, Metrics: e,
	}, delivery.Settings{})
	e.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := handler.Serve(w, r); err != nil {
			panic(err)
		}
	})
	return e
}

func (e *edge) Scanning() bool                    { return false }
func (e *edge) Request(delivery.Kind, int, int64) {}
func (e *edge) Stream(int)                        {}
func (e *edge) Lookup(delivery.Lookup)            {}
func (e *edge) path() string                      { return "/static/" + e.hash.String() + "/film.bin" }
func (e *edge) Failover()                         { e.mu.Lock(); e.failovers++; e.mu.Unlock() }
func (e *edge) Hedge()                            { e.mu.Lock(); e.hedges++; e.mu.Unlock() }
func (e *edge) counts() (failovers, hedges int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failovers, e.hedges
}

// set changes what is wrong with a node.
func (f *faulty) set(state string) {
	f.mu.Lock()
	f.state = state
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	if state == "killed" {
		f.http.CloseClientConnections()
	}
}

func (e *edge) heal() {
	for _, f := range e.away {
		f.set("")
	}
}

// ail does what a node does in its state: nothing, die, or wait.
func (f *faulty) ail() {
	for {
		f.mu.Lock()
		state, changed := f.state, f.changed
		f.mu.Unlock()
		switch state {
		case "":
			return
		case "killed":
			panic(http.ErrAbortHandler)
		}
		<-changed
	}
}

func (f *faulty) fault(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.sending.Add(1)
		defer f.sending.Add(-1)
		f.ail()
		next.ServeHTTP(ailing{w, f}, r)
	})
}

// ailing is a response of a faulty node. It has no ReadFrom, so that all of it
// passes here.
type ailing struct {
	http.ResponseWriter
	f *faulty
}

func (a ailing) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a ailing) Write(p []byte) (int, error) {
	a.f.ail()
	return a.ResponseWriter.Write(p)
}

// serving returns the node that sends a body now: the last that answered.
func (e *edge) serving(t testing.TB) *faulty {
	t.Helper()
	for _, f := range e.away {
		if f.all[0].ID() == e.last.Load() {
			return f
		}
	}
	require.Fail(t, "nobody has answered")
	return nil
}

// asked is the registry, which remembers who answered.
type asked struct {
	*heartbeat.Registry
	last *atomic.Value
}

func (a asked) Answered(id string) {
	a.last.Store(id)
	a.Registry.Answered(id)
}

// reach is one way to the edge.
type reach struct {
	name, base string
	client     *http.Client
}

func (e *edge) reaches(t testing.TB) []reach {
	t.Helper()
	plain := httptest.NewUnstartedServer(e.handler)
	plain.Listener = narrow{plain.Listener}
	plain.Start()
	plain.Client().Transport.(*http.Transport).DialContext = dialNarrow
	t.Cleanup(plain.Close)
	h2 := httptest.NewUnstartedServer(e.handler)
	h2.EnableHTTP2 = true
	h2.Listener = narrow{h2.Listener}
	h2.StartTLS()
	h2.Client().Transport.(*http.Transport).DialContext = dialNarrow
	h2.Client().Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: narrowBuffer}
	t.Cleanup(h2.Close)

	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	patient := &quic.Config{
		MaxIdleTimeout:         5 * time.Minute, // the machine may be busy
		MaxStreamReceiveWindow: narrowBuffer, MaxConnectionReceiveWindow: 2 * narrowBuffer,
		InitialStreamReceiveWindow: narrowBuffer, InitialConnectionReceiveWindow: 2 * narrowBuffer,
	}
	h3 := &http3.Server{Handler: e.handler, QUICConfig: patient, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: h2.TLS.Certificates})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h3.Serve(conn) // until it is closed
	}()
	roots := h2.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport := &http3.Transport{QUICConfig: patient, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	t.Cleanup(func() {
		require.NoError(t, transport.Close())
		require.NoError(t, h3.Close())
		<-done
		require.NoError(t, conn.Close())
	})
	return []reach{
		{"HTTP/1.1", plain.URL, plain.Client()},
		{"HTTP/2.0", h2.URL, h2.Client()},
		{"HTTP/3.0", "https://" + conn.LocalAddr().String(), &http.Client{Transport: transport}},
	}
}

// copyTimed reads n bytes and returns for how long none came at the longest.
func copyTimed(t testing.TB, w io.Writer, r io.Reader, n int64) (longest time.Duration) {
	t.Helper()
	buf := make([]byte, 64<<10)
	last := time.Now()
	for n > 0 {
		m, err := r.Read(buf[:min(n, int64(len(buf)))])
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
		_, _ = w.Write(buf[:m])
		n -= int64(m)
		if n > 0 {
			require.NoError(t, err)
		}
	}
	return longest
}

// A download goes on, byte for byte, when the node that serves it is killed or
// frozen, in each of its quarters, over every protocol.
func TestUnbrokenStream(t *testing.T) {
	const stall = 500 * time.Millisecond
	e := newEdge(t, streamed, stalling(stall))
	for _, fault := range []string{"killed", "frozen"} {
		for _, p := range e.reaches(t) {
			t.Run(fault+", "+p.name, func(t *testing.T) {
				defer e.heal()
				before, _ := e.counts()
				resp, err := p.client.Get(p.base + e.path())
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, p.name, resp.Proto)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, int64(streamed), resp.ContentLength)
				sum := sha1.New()
				var gaps []time.Duration
				for range 4 {
					copyTimed(t, sum, resp.Body, streamed/8)
					struck := e.serving(t)
					struck.set(fault)
					gaps = append(gaps, copyTimed(t, sum, resp.Body, streamed/8).Round(time.Millisecond))
					struck.set("")
				}
				_, err = resp.Body.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, e.sum[:], sum.Sum(nil))
				after, _ := e.counts()
				require.GreaterOrEqual(t, after-before, 4, "no strike hit")
				t.Logf("the longest gaps of the quarters: %v", gaps)
			})
		}
	}
}

// So do ranges, one and several.
func TestUnbrokenRanges(t *testing.T) {
	const a, b, c, d = 1000, 5 << 20, 6 << 20, 11 << 20
	e := newEdge(t, d+1000, stalling(500*time.Millisecond))
	for _, fault := range []string{"killed", "frozen"} {
		for _, p := range e.reaches(t) {
			t.Run(fault+", "+p.name, func(t *testing.T) {
				defer e.heal()
				for _, header := range []string{fmt.Sprintf("bytes=%d-%d", a, b-1), fmt.Sprintf("bytes=%d-%d,%d-%d,5-9", a, b-1, c, d-1)} {
					r, err := http.NewRequest(http.MethodGet, p.base+e.path(), nil)
					require.NoError(t, err)
					r.Header.Set("Range", header)
					resp, err := p.client.Do(r)
					require.NoError(t, err)
					t.Cleanup(func() { resp.Body.Close() })
					require.Equal(t, http.StatusPartialContent, resp.StatusCode)
					struck := e.serving(t)
					struck.set(fault)
					if !strings.Contains(header, ",") {
						requireSame(t, e.data[a:b], resp.Body)
					} else {
						_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
						require.NoError(t, err)
						parts := multipart.NewReader(resp.Body, params["boundary"])
						for i, want := range [][]byte{e.data[a:b], e.data[c:d], e.data[5:10]} {
							part, err := parts.NextPart()
							require.NoError(t, err)
							if i == 1 {
								struck.set("")
								struck = e.serving(t)
								struck.set(fault)
							}
							requireSame(t, want, part)
						}
						_, err = parts.NextPart()
						require.ErrorIs(t, err, io.EOF)
					}
					struck.set("")
					require.NoError(t, resp.Body.Close())
				}
			})
		}
	}
}

func requireSame(t testing.TB, want []byte, r io.Reader) {
	t.Helper()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, sha1.Sum(want), sha1.Sum(got))
}

// With every node dead the connection ends, over every protocol: no short
// response looks whole. Before the first byte it is a 503.
func TestAllNodesDead(t *testing.T) {
	e := newEdge(t, streamed, stalling(200*time.Millisecond))
	for _, p := range e.reaches(t) {
		t.Run(p.name, func(t *testing.T) {
			resp, err := p.client.Get(p.base + e.path())
			require.NoError(t, err)
			_, err = io.CopyN(io.Discard, resp.Body, 1<<20)
			require.NoError(t, err)
			e.away[0].set("killed")
			e.away[1].set("frozen")
			n, err := io.Copy(io.Discard, resp.Body)
			require.Error(t, err)
			require.Less(t, n, int64(streamed-1<<20))
			require.NoError(t, resp.Body.Close())

			resp, err = p.client.Get(p.base + e.path())
			require.NoError(t, err)
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.NotEmpty(t, resp.Header.Get("Retry-After"))
			require.NoError(t, resp.Body.Close())
			for _, f := range e.away {
				f.set("")
			}
			require.Eventually(t, func() bool {
				resp, err := p.client.Get(p.base + e.path())
				require.NoError(t, err)
				defer resp.Body.Close()
				return resp.StatusCode == http.StatusOK
			}, 20*time.Second, 50*time.Millisecond, "nodes that are back are used again")
		})
	}
}

// A node that accepts and says nothing costs the first byte no more than the
// patience there is with it.
func TestHedgedFirstByte(t *testing.T) {
	e := newEdge(t, 1<<20)
	server := httptest.NewServer(e.handler)
	defer server.Close()
	e.away[0].set("frozen")
	e.away[1].set("")
	for range 6 { // whichever is asked first
		began := time.Now()
		resp, err := server.Client().Get(server.URL + e.path())
		require.NoError(t, err)
		requireSame(t, e.data, resp.Body)
		require.NoError(t, resp.Body.Close())
		require.Less(t, time.Since(began), stallAfter)
		e.away[0].set("")
		e.away[1].set("frozen")
		e.away[0], e.away[1] = e.away[1], e.away[0]
	}
	_, hedges := e.counts()
	require.Positive(t, hedges)
}

// A viewer that leaves lets go of the store.
func TestViewerLeaves(t *testing.T) {
	e := newEdge(t, streamed)
	for _, p := range e.reaches(t) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+e.path(), nil)
		require.NoError(t, err)
		resp, err := p.client.Do(r)
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, resp.Body, 1<<20)
		require.NoError(t, err)
		cancel()
		require.NoError(t, resp.Body.Close())
		require.Eventually(t, func() bool {
			return e.away[0].sending.Load()+e.away[1].sending.Load() == 0
		}, 10*time.Second, time.Millisecond, p.name)
	}
	failovers, _ := e.counts()
	require.Zero(t, failovers)
}
