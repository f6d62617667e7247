package clones

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// send gives data to a store elsewhere and returns what may be committed.
func send(t testing.TB, s upload.Store, data []byte, announced int64, typ content.Type) upload.Sink {
	t.Helper()
	sink, err := s.Create(t.Context(), announced, typ)
	require.NoError(t, err)
	for rest := data; len(rest) > 0; {
		part := rest[:min(len(rest), 200_000)]
		n, err := sink.Write(part)
		require.NoError(t, err)
		require.Equal(t, len(part), n)
		rest = rest[n:]
	}
	require.NoError(t, sink.(upload.Ender).End())
	return sink
}

func hashOf(t testing.TB, typ content.Type, data []byte) content.Hash {
	t.Helper()
	d := inventory.NewHash(typ)
	d.Write(data)
	h, err := inventory.SumOf(typ, d)
	require.NoError(t, err)
	return h
}

func TestRemoteStore(t *testing.T) {
	n := newNode(t, "s", "om101")
	own := recordtest.NewMemoryOf("prism", nil)
	index := inventory.NewIndex(own, record.NewClock(nil), 10)
	t.Cleanup(index.Close)
	c := newClient(t, importing(own))
	answered := 0
	target := n.target(0)
	target.Answered = func() { answered++ }
	target.Failed = func() { t.Error("it did not fail") }
	store := c.Remote(target)
	for _, typ := range content.Types() {
		for _, size := range []int{0, 1, 1 << 20} {
			for _, announced := range []int64{-1, int64(size)} {
				data := randomBytes(size)
				h := hashOf(t, typ, data)
				clone, err := send(t, store, data, announced, typ).Commit(t.Context(), h, "mp4")
				require.NoError(t, err)
				require.Equal(t, h, clone.Hash)
				require.Equal(t, n.all[0].ID(), clone.Store)
				require.Equal(t, int64(size), clone.Size)
				require.Equal(t, "mp4", clone.Ext)
				p, err := index.Find(t.Context(), h)
				require.NoError(t, err)
				require.Equal(t, []inventory.Clone{clone}, p.Clones, "the prism knows it from its own records")
				body, err := store.Open(t.Context(), clone)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, readAll(t, body)))
			}
		}
	}
	require.Positive(t, answered)
	n.requireNoTemp()

	h := sha1Of(randomBytes(1))
	before, err := index.Find(t.Context(), h)
	require.NoError(t, err)
	clone, ok, err := store.Renew(t.Context(), h)
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, clone.Kept, before.Clones[0].Kept)
	after, err := index.Find(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, clone, after.Clones[0])
	_, ok, err = store.Renew(t.Context(), sha1Of([]byte("unknown")))
	require.NoError(t, err)
	require.False(t, ok)
}

func TestRemoteRefuses(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	store := c.Remote(n.target(0))
	data := []byte("a film")
	h := sha1Of(data)
	for name, tc := range map[string]struct {
		announced int64
		commit    content.Hash
		ext       string
		prepare   func()
		want      error
	}{
		"another digest":                    {6, sha1Of([]byte("x")), "mp4", nil, errDigest},
		"another digest's type":             {6, hashOf(t, content.SHA256, data), "mp4", nil, errDigest},
		"an extension that could be a path": {6, h, "../x", nil, errMalformed},
		"less than announced":               {7, h, "mp4", nil, nil},
		"more than announced":               {5, h, "mp4", nil, nil},
		"blocked": {6, h, "mp4", func() {
			_, err := n.engine.Update(t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(`{}`)})
			require.NoError(t, err)
		}, inventory.ErrBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.prepare != nil {
				tc.prepare()
			}
			sink, err := store.Create(t.Context(), tc.announced, content.SHA1)
			require.NoError(t, err)
			_, _ = sink.Write(data)
			_, err = sink.Commit(t.Context(), tc.commit, tc.ext)
			require.Error(t, err)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
			n.requireNoTemp()
			_, ok, err := n.all[0].Has(t.Context(), h)
			require.NoError(t, err)
			require.False(t, ok)
		})
	}
	target := n.target(0)
	target.ID = "elsewhere"
	_, err := c.Remote(target).Create(t.Context(), 5, content.SHA1)
	require.ErrorIs(t, err, inventory.ErrOffline)
	_, err = store.Create(t.Context(), 1<<60, content.SHA1)
	require.ErrorIs(t, err, inventory.ErrFull)
	target.Writable = func() bool { return false }
	_, err = c.Remote(target).Create(t.Context(), 5, content.SHA1)
	require.ErrorIs(t, err, inventory.ErrReadOnly)
	target.Readable = func() bool { return false }
	_, err = c.Remote(target).Create(t.Context(), 5, content.SHA1)
	require.ErrorIs(t, err, inventory.ErrOffline)
}

// A clone is committed under no other hash than the store itself computed,
// whoever asks, and once.
func TestCommitUnderAnotherHash(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	data := []byte("a film")
	s := send(t, c.Remote(n.target(0)), data, -1, content.SHA1).(*sink)
	var out cloneMessage
	commit := func(h content.Hash) error {
		return c.call(t.Context(), http.MethodPost, s.url+"/commit", commitMessage{Hash: h.String(), Ext: "mp4"}, &out)
	}
	require.ErrorIs(t, commit(sha1Of(nil)), inventory.ErrMismatch)
	require.NoError(t, commit(sha1Of(data)))
	require.Equal(t, int64(6), out.Clone.Size)
	require.ErrorIs(t, commit(sha1Of(data)), errNoUpload)
	s.Abort()
	_, ok, err := n.all[0].Has(t.Context(), sha1Of(data))
	require.NoError(t, err)
	require.True(t, ok, "what is committed is not taken back")
}

// A store whose disk is full in the middle says so, over either protocol, and
// what else has been said so far holds over both.
func TestFullInTheMiddle(t *testing.T) {
	n := newNode(t, "s", "om101")
	h2 := httptest.NewUnstartedServer(n)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(h2.Close)
	over2 := NewClient(ClientDeps{Doer: h2.Client()})
	t.Cleanup(func() { require.NoError(t, over2.Close(context.Background())) })
	for name, reach := range map[string]struct {
		client  *Client
		address string
	}{"HTTP/1.1": {newClient(t), n.http.URL}, "HTTP/2": {over2, h2.URL}} {
		t.Run(name, func(t *testing.T) {
			target := n.target(0)
			target.Address = reach.address
			store := reach.client.Remote(target)
			data := randomBytes(5 << 20)
			_, err := send(t, store, data, -1, content.SHA1).Commit(t.Context(), sha1Of(data), "mp4")
			require.NoError(t, err)
			for range 2 { // the bound is looked at now and then
				require.NoError(t, n.all[0].Configure(inventory.VolumeConfig{Name: "om101", Root: n.all[0].Root()}))
				s, err := store.Create(t.Context(), -1, content.SHA1)
				require.NoError(t, err)
				require.NoError(t, n.all[0].Configure(inventory.VolumeConfig{Name: "om101", Root: n.all[0].Root(), Reserve: 1 << 60}))
				for err == nil {
					_, err = s.Write(make([]byte, 1<<20))
				}
				require.ErrorIs(t, err, inventory.ErrFull)
				require.ErrorIs(t, s.(upload.Ender).End(), inventory.ErrFull)
				s.Abort()
				n.requireNoTemp()
			}
			require.NoError(t, n.all[0].Configure(inventory.VolumeConfig{Name: "om101", Root: n.all[0].Root()}))
		})
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	store := c.Remote(n.target(0))
	for _, whole := range []bool{false, true} {
		sink, err := store.Create(t.Context(), -1, content.SHA1)
		require.NoError(t, err)
		_, err = sink.Write(randomBytes(1 << 20))
		require.NoError(t, err)
		if whole {
			require.NoError(t, sink.(upload.Ender).End())
		}
		sink.Abort()
		sink.Abort()
		_, err = sink.Write([]byte("x"))
		require.Error(t, err)
		n.requireNoTemp()
	}
}

// An upload whose prism does not come back ends, and leaves nothing.
func TestForgottenUploads(t *testing.T) {
	for name, tc := range map[string]struct {
		tune  patience
		whole bool
	}{
		"without bytes":     {patience{silent: 2 * time.Second, waiting: time.Hour, sweep: 10 * time.Millisecond}, false},
		"without a verdict": {patience{silent: time.Hour, waiting: 500 * time.Millisecond, sweep: 10 * time.Millisecond}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "s", "om101")
			n.server.uploads.tune = tc.tune
			c := newClient(t)
			data := randomBytes(1 << 20)
			s, err := c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
			require.NoError(t, err)
			_, err = s.Write(data)
			require.NoError(t, err)
			if tc.whole {
				require.NoError(t, s.(upload.Ender).End())
			}
			n.requireNoTemp()
			if !tc.whole {
				<-s.(*sink).done // the node has hung up
			}
			_, err = s.Commit(t.Context(), sha1Of(data), "mp4")
			require.Error(t, err)
			// And the next one finds somebody who looks after it.
			s = send(t, c.Remote(n.target(0)), data[:0], -1, content.SHA1)
			if !tc.whole {
				s.Abort()
			}
			n.requireNoTemp()
			s.Abort()
		})
	}
}

// A slow client sends nothing for long, and a long form holds uploads back whose
// bytes are whole: the store is reminded of both.
func TestReminding(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	c.remindEvery = 10 * time.Millisecond
	n.server.uploads.tune = patience{silent: 5 * time.Second, waiting: 5 * time.Second, sweep: time.Millisecond}
	reminded := make(chan struct{}, 100)
	n.before(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodHead {
				reminded <- struct{}{}
			}
		})
	})
	data := []byte("a film")
	s, err := c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
	require.NoError(t, err)
	_, err = s.Write(data[:2])
	require.NoError(t, err)
	<-reminded
	<-reminded
	_, err = s.Write(data[2:])
	require.NoError(t, err)
	require.NoError(t, s.(upload.Ender).End())
	<-reminded
	<-reminded
	_, err = s.Commit(t.Context(), sha1Of(data), "mp4")
	require.NoError(t, err)
}

// A node that takes no bytes any more does not hold on to who writes: Interrupt
// ends a Write that waits, and nothing goes on after that.
func TestInterrupt(t *testing.T) {
	n := newNode(t, "s", "om101")
	taking, thaw := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(thaw) })
	n.before(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				close(taking)
				<-thaw
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	})
	c := newClient(t)
	target := n.target(0)
	failed := make(chan struct{}, 1)
	target.Failed = func() { failed <- struct{}{} }
	s, err := c.Remote(target).Create(t.Context(), -1, content.SHA1)
	require.NoError(t, err)
	stuck := make(chan error)
	go func() {
		for {
			if _, err := s.Write(make([]byte, 1<<20)); err != nil {
				stuck <- err
				return
			}
		}
	}()
	<-taking
	s.(upload.Interrupter).Interrupt(upload.ErrStalled)
	require.ErrorIs(t, <-stuck, upload.ErrStalled)
	<-failed
	_, err = s.Commit(t.Context(), sha1Of(nil), "mp4")
	require.ErrorIs(t, err, upload.ErrStalled)
	s.Abort()
	n.server.uploads.mu.Lock()
	n.server.uploads.tune.silent = time.Millisecond
	n.server.uploads.mu.Unlock()
}

// A server that closes takes back what has no verdict.
func TestServerCloses(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	sinks := []upload.Sink{}
	for i := range 3 {
		s, err := c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
		require.NoError(t, err)
		if i > 0 {
			_, err = s.Write(make([]byte, 1<<20))
			require.NoError(t, err)
		}
		if i > 1 {
			require.NoError(t, s.(upload.Ender).End())
		}
		sinks = append(sinks, s)
	}
	require.NoError(t, n.server.Close(t.Context()))
	n.requireNoTemp()
	_, err := c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
	require.ErrorIs(t, err, inventory.ErrOffline)
	for _, s := range sinks {
		_, err := s.Commit(t.Context(), sha1Of(nil), "mp4")
		require.Error(t, err)
	}
}

func TestClientCloses(t *testing.T) {
	n := newNode(t, "s", "om101")
	c := newClient(t)
	s, err := c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Close(ctx), context.Canceled)
	s.Abort()
	require.NoError(t, c.Close(t.Context()))
	_, err = c.Remote(n.target(0)).Create(t.Context(), -1, content.SHA1)
	require.ErrorIs(t, err, ErrClosed)
	n.server.uploads.tune.silent = time.Millisecond
}

func TestTooManyUploads(t *testing.T) {
	var s uploads
	s.init(defaultPatience())
	id := func(i int) string { return strings.Repeat("A", 20) + string(rune('A'+i/100)) + string(rune('A'+i%100)) }
	for i := range maxUploads {
		require.NoError(t, s.add(id(i), &incoming{}))
	}
	require.ErrorIs(t, s.add("one more", &incoming{}), errBusy)
	s.take(id(0))
	require.ErrorIs(t, s.add(id(1), &incoming{}), errMalformed)
	require.NoError(t, s.add(id(0), &incoming{}))
	require.NoError(t, s.close(t.Context()))
	require.ErrorIs(t, s.add(id(0), &incoming{}), inventory.ErrOffline)
}

// A record about something else than was asked for is not taken.
func TestForeignRecords(t *testing.T) {
	n := newNode(t, "s", "om101")
	h := n.put(0, []byte("a film"), "mp4")
	own := recordtest.NewMemoryOf("prism", nil)
	for name, change := range map[string]func(*record.Record){
		"another topic":  func(r *record.Record) { r.Topic = record.Purchase },
		"another key":    func(r *record.Record) { r.Key = sha1Of(nil).String() },
		"another member": func(r *record.Record) { r.Member = "x" },
	} {
		server := NewServer(ServerDeps{Volumes: n, Index: n.index, Records: changing{n.engine, change}})
		n.before(func(http.Handler) http.Handler { return server })
		_, _, err := newClient(t, importing(own)).Remote(n.target(0)).Renew(t.Context(), h)
		require.ErrorIs(t, err, ErrAnswer, name)
	}
	for _, topic := range record.Topics() {
		for range own.List(t.Context(), topic, record.ByKey, "", "") {
			t.Error("a record was taken")
		}
	}
}

type changing struct {
	Records
	change func(*record.Record)
}

func (c changing) Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error) {
	list, err := c.Records.Get(ctx, topic, key)
	for i := range list {
		member := list[i].Member
		c.change(&list[i])
		list[i].Member = map[bool]string{true: member, false: list[i].Member}[list[i].Member == member]
	}
	return list, err
}

// cluster is a prism with a store of its own, and two nodes with stores.
type cluster struct {
	prism    *node
	away     [2]*node
	client   *Client
	uploader *upload.Uploader
	stores   []upload.Store
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{prism: newNode(t, "prism", "om101")}
	c.client = newClient(t, importing(c.prism.engine))
	c.stores = append(c.stores, upload.Local(c.prism.all[0], "prism", "g0"))
	for i, name := range []string{"n1", "n2"} {
		c.away[i] = newNode(t, name, name+"a", name+"b")
		for j := range c.away[i].all {
			target := c.away[i].target(j)
			target.Group = "g" + name
			c.stores = append(c.stores, c.client.Remote(target))
		}
	}
	c.uploader = upload.New(c.prism.index, func() []upload.Store { return c.stores }, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, c.uploader.Close(context.Background())) })
	return c
}

// holders returns the nodes whose stores hold a content, soundly.
func (c *cluster) holders(t *testing.T, h content.Hash) (nodes []string) {
	for _, n := range []*node{c.prism, c.away[0], c.away[1]} {
		for _, v := range n.all {
			if _, ok, err := v.Has(t.Context(), h); err == nil && ok {
				verified, err := v.Verify(t.Context(), h, true)
				require.NoError(t, err)
				require.True(t, verified.OK)
				nodes = append(nodes, n.engine.Source())
			}
		}
	}
	return nodes
}

func (c *cluster) known(t *testing.T, h content.Hash) int {
	p, err := c.prism.index.Find(t.Context(), h)
	require.NoError(t, err)
	return len(p.Clones)
}

// Clones go to different nodes while there are any, and the prism knows all of
// them at the answer.
func TestUploadAcrossNodes(t *testing.T) {
	c := newCluster(t)
	for copies := 1; copies <= 5; copies++ {
		data := append(randomBytes(3<<20), byte(copies))
		res, err := c.uploader.Upload(t.Context(), upload.Request{Body: bytes.NewReader(data), Size: -1, Type: content.SHA256, Ext: "mp4", Copies: copies})
		require.NoError(t, err)
		require.Equal(t, copies, res.Durability)
		holders := c.holders(t, res.Hash)
		require.Len(t, holders, copies)
		require.Equal(t, copies, c.known(t, res.Hash))
		distinct := map[string]bool{}
		for _, n := range holders {
			distinct[n] = true
		}
		require.Len(t, distinct, min(copies, 3))

		// The same again is answered the same, and makes no more clones.
		again, err := c.uploader.Upload(t.Context(), upload.Request{Body: bytes.NewReader(data), Size: int64(len(data)), Want: res.Hash, Ext: "bin", Copies: copies})
		require.NoError(t, err)
		require.Equal(t, copies, again.Durability)
		require.Len(t, c.holders(t, res.Hash), copies)
	}
	for _, n := range c.away {
		n.requireNoTemp()
	}
}

// gate is a node that dies when so many bytes of an upload have come.
type gate struct {
	after int64
	how   func(w http.ResponseWriter, r *http.Request)
	fired atomic.Bool
}

func (g *gate) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && g.after >= 0 {
			r.Body = &gatedBody{r.Body, g, w, r, 0}
		}
		if g.fired.Load() && g.after >= 0 || r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/commit") && g.after < 0 {
			g.fired.Store(true)
			g.how(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type gatedBody struct {
	io.ReadCloser
	gate *gate
	w    http.ResponseWriter
	r    *http.Request
	got  int64
}

func (b *gatedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.got += int64(n); b.got >= b.gate.after {
		b.gate.fired.Store(true)
		b.gate.how(b.w, b.r)
	}
	return n, err
}

func die(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func freeze(_ http.ResponseWriter, r *http.Request) {
	// The connection is read no more, so the context would not end with it.
	<-r.Context().Value(frozen{}).(chan struct{})
	panic(http.ErrAbortHandler)
}

type frozen struct{}

// A node that dies or freezes in the middle of an upload is left behind, and its
// clone is made from a finished one before the answer.
func TestNodeLostInAnUpload(t *testing.T) {
	for name, tc := range map[string]struct {
		after int64
		how   func(http.ResponseWriter, *http.Request)
	}{
		"dies at the beginning":    {1, die},
		"dies in the middle":       {2 << 20, die},
		"dies at the commit":       {-1, die},
		"freezes in the middle":    {2 << 20, freeze},
		"freezes at the beginning": {1, freeze},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			thaw := make(chan struct{})
			g := &gate{after: tc.after, how: tc.how}
			lost := c.away[0]
			lost.before(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					g.before(next).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), frozen{}, thaw)))
				})
			})
			var once sync.Once
			t.Cleanup(func() { once.Do(func() { close(thaw) }) })
			data := randomBytes(12 << 20)
			body := &slowly{r: bytes.NewReader(data)}
			res, err := c.uploader.Upload(t.Context(), upload.Request{Body: body, Size: int64(len(data)), Ext: "mp4", Copies: 3})
			require.NoError(t, err)
			require.True(t, g.fired.Load(), "the node was not chosen")
			require.Equal(t, 3, res.Durability)
			once.Do(func() { close(thaw) })
			lost.before(nil)
			holders := c.holders(t, res.Hash)
			require.Equal(t, 3, c.known(t, res.Hash))
			require.GreaterOrEqual(t, len(holders), 3)
			require.Contains(t, holders, "prism")
			require.Contains(t, holders, "n2")
			lost.requireNoTemp()
			c.away[1].requireNoTemp()
		})
	}
}

// slowly is a body that comes as it is read.
type slowly struct{ r io.Reader }

func (s *slowly) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 64<<10)]) }

// A store that can't be reached takes no clone, and says so quickly.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	failed := 0
	s := newClient(t).Remote(Target{Target: inventory.Target{ID: "s"}, Address: address, Failed: func() { failed++ }})
	_, err = s.Create(t.Context(), 5, content.SHA1)
	require.Error(t, err)
	require.Equal(t, 1, failed)
	_, _, err = s.Renew(t.Context(), sha1Of(nil))
	require.Error(t, err)
	require.Equal(t, 2, failed)
	_, err = s.Open(t.Context(), inventory.Clone{Hash: sha1Of(nil), Size: 5})
	require.Error(t, err)
	require.Equal(t, 3, failed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Create(ctx, 5, content.SHA1)
	require.Error(t, err)
	require.Equal(t, 3, failed, "that nobody waits says nothing of the store")
	require.False(t, errors.Is(err, ErrStalled))
}
