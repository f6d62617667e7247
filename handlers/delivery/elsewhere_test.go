package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
	"github.com/ooseio/oose/record"
)

// farStore is a store elsewhere.
type farStore struct {
	heartbeat.Candidate
	down bool // not available

	openErr error
	silent  time.Duration // before the first byte; negative: for good
	left    int64         // bytes that it still gives before it breaks, negative: any number
	stall   bool          // it does not break but stalls, until its reader goes
	heal    bool          // after it broke it gives what it is asked for
	opens   []string
	open    int // bodies not closed
	ended   int // requests whose context ended
}

// elsewhere is Elsewhere for tests.
type elsewhere struct {
	mu       sync.Mutex
	stores   map[string]*farStore
	data     map[content.Hash][]byte
	failed   []string
	answered []string
	overtook []string // who was overtaken
}

// addElsewhere gives the world stores elsewhere, which any number of bytes can
// be had of.
func (w *world) addElsewhere(names ...string) *elsewhere {
	e := &elsewhere{stores: make(map[string]*farStore), data: make(map[content.Hash][]byte)}
	for _, name := range names {
		e.stores[name] = &farStore{left: -1}
	}
	w.deps.Elsewhere = e
	return e
}

// putFar records a content as held by stores elsewhere.
func (w *world) putFar(e *elsewhere, data []byte, ext string, stores ...string) content.Hash {
	w.t.Helper()
	h := w.hash(data)
	e.data[h] = data
	for _, id := range stores {
		value, err := json.Marshal(inventory.Clone{Ext: ext, Size: int64(len(data)), Stored: 1, Kept: w.clock.Next()})
		require.NoError(w.t, err)
		_, err = w.engine.Update(w.t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: id, Value: value})
		require.NoError(w.t, err)
	}
	return h
}

func (w *world) hash(data []byte) content.Hash { return w.put(string(data), "bin") }

func (e *elsewhere) Candidate(store string, anyway bool) (heartbeat.Candidate, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.stores[store]
	if !ok || s.down && !anyway {
		return heartbeat.Candidate{}, false
	}
	return s.Candidate, true
}

func (e *elsewhere) Open(ctx context.Context, store string, h content.Hash, offset, end int64) (io.ReadCloser, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stores[store]
	s.opens = append(s.opens, fmt.Sprintf("%d-%d", offset, end))
	if s.openErr != nil {
		return nil, s.openErr
	}
	data := e.data[h][offset:end]
	s.open++
	return &farBody{e: e, s: s, ctx: ctx, rest: data}, nil
}

func (e *elsewhere) Failed(store string, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = append(e.failed, store)
}

func (e *elsewhere) Answered(store string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answered = append(e.answered, store)
}

func (e *elsewhere) Overtaken(store string, _ content.Hash) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.overtook = append(e.overtook, store)
}

// opens returns what was asked of a store.
func (e *elsewhere) opens(store string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.stores[store].opens)
}

func (e *elsewhere) requireClosed(t testing.TB) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, s := range e.stores {
		require.Zero(t, s.open, "bodies of %s are open", name)
	}
}

var errBroken, errStalled = errors.New("broken"), errors.New("stalled")

type farBody struct {
	e      *elsewhere
	s      *farStore
	ctx    context.Context
	rest   []byte
	begun  bool
	closed bool
}

func (b *farBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		if err := b.wait(); err != nil {
			return 0, err
		}
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	n := len(b.rest)
	if b.s.left >= 0 {
		n = int(min(int64(n), b.s.left))
	}
	if n = min(n, len(p), 60_000); n == 0 {
		if b.s.heal {
			b.s.left = -1
		}
		if b.s.stall {
			return 0, errStalled
		}
		return 0, errBroken
	}
	if b.s.left >= 0 {
		b.s.left -= int64(n)
	}
	copy(p, b.rest[:n])
	b.rest = b.rest[n:]
	return n, nil
}

func (b *farBody) wait() error {
	b.e.mu.Lock()
	silent := b.s.silent
	b.e.mu.Unlock()
	if silent == 0 {
		return nil
	}
	var answer <-chan time.Time
	if silent > 0 {
		answer = time.After(silent)
	}
	select {
	case <-answer:
		return nil
	case <-b.ctx.Done():
		b.e.mu.Lock()
		defer b.e.mu.Unlock()
		b.s.ended++
		return b.ctx.Err()
	}
}

func (b *farBody) Close() error {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.s.open--
	}
	return nil
}

func bytesOf(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{3})
	_, _ = r.Read(b)
	return b
}

// Where a store of this process holds the content, nobody else is asked.
func TestLocalFirst(t *testing.T) {
	w := newWorld(t, "om101")
	e := w.addElsewhere("far")
	data := bytesOf(300_000)
	h := w.putFar(e, data, "mp4", "far")
	w.put(string(data), "mp4", "om101")
	rec := ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4")
	require.Equal(t, 200, rec.Code)
	require.Equal(t, data, rec.Body.Bytes())
	require.Empty(t, e.opens("far"))

	v := w.volumes["om101"]
	w.down.Store(v.ID(), true)
	rec = ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4")
	require.Equal(t, data, rec.Body.Bytes())
	require.Equal(t, []string{"0-300000"}, e.opens("far"))
	require.Equal(t, []string{"far"}, e.answered)
	require.Equal(t, 404, ask(NewStoreSide(w.deps, v, Settings{}), "GET", "/static/"+pairs(w.putFar(e, []byte("x"), "txt", "far").String())).Code, "a store gives what it holds")
	e.requireClosed(t)
}

// What is needed is asked for, and nothing else.
func TestElsewhereIsAskedForWhatIsNeeded(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("far")
	data := bytesOf(1 << 20)
	h := w.putFar(e, data, "txt", "far")
	handler := New(w.deps, Settings{})
	path := "/static/" + h.String() + "/x.txt"
	for _, tc := range []struct {
		method, key, value string
		status             int
		opens              []string
	}{
		{"GET", "X", "x", 200, []string{"0-1048576"}},
		{"GET", "Range", "bytes=5-9", 206, []string{"5-10"}},
		{"GET", "Range", "bytes=100000-", 206, []string{"100000-1048576"}},
		{"GET", "Range", "bytes=-7", 206, []string{"1048569-1048576"}},
		{"GET", "Range", "bytes=10-19,500000-699999,3-4", 206, []string{"10-20", "500000-700000", "3-5"}},
		{"GET", "Range", "bytes=2000000-", 416, nil},
		{"GET", "If-None-Match", `"` + h.String() + `"`, 304, nil},
		{"GET", "If-Match", `"x"`, 412, nil},
		{"HEAD", "X", "x", 200, nil},
		{"HEAD", "Range", "bytes=5-9", 200, nil},
	} {
		e.stores["far"].opens = nil
		rec := ask(handler, tc.method, path, tc.key, tc.value)
		require.Equal(t, tc.status, rec.Code, tc.value)
		require.Equal(t, tc.opens, e.opens("far"), tc.value)
		if tc.status == 200 && tc.method == "GET" {
			require.Equal(t, data, rec.Body.Bytes())
		}
		if strings.Contains(tc.value, ",") {
			require.Contains(t, rec.Body.String(), string(data[500000:700000]))
			require.Contains(t, rec.Body.String(), string(data[3:5]))
		}
	}
	require.Empty(t, e.failed)
	require.Zero(t, w.metrics.failovers)
	empty := w.putFar(e, nil, "txt", "far")
	rec := ask(handler, "GET", "/static/"+empty.String()+"/x.txt")
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "0", rec.Header().Get("Content-Length"))
	e.requireClosed(t)
}

func TestOrderElsewhere(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("other", "site", "group", "busy", "down")
	e.stores["site"].Candidate = heartbeat.Candidate{Site: "s", Group: "h"}
	e.stores["group"].Candidate = heartbeat.Candidate{Site: "s", Group: "g"}
	e.stores["busy"].Candidate = heartbeat.Candidate{Site: "s", Group: "g", InFlight: 3, Local: true}
	e.stores["down"].Candidate = heartbeat.Candidate{Site: "s", Group: "g"}
	e.stores["down"].down = true
	h := w.putFar(e, []byte("a film"), "txt", "other", "site", "down", "busy", "group")
	handler := New(w.deps, Settings{})
	var order []string
	for _, name := range []string{"group", "busy", "site", "other"} {
		require.Equal(t, "a film", ask(handler, "GET", "/static/"+h.String()+"/x").Body.String())
		order = append(order, e.answered[len(e.answered)-1])
		require.Len(t, e.opens(name), 1)
		e.stores[name].down = true
	}
	require.Equal(t, []string{"group", "busy", "site", "other"}, order)
	rec := ask(handler, "GET", "/static/"+h.String()+"/x")
	require.Equal(t, 503, rec.Code)
	require.Equal(t, "1", rec.Header().Get("Retry-After"))
	require.Equal(t, 503, ask(handler, "HEAD", "/static/"+h.String()+"/x").Code)
}

// A store that breaks anywhere is followed by the next one, from that byte.
func TestElsewhereGoesOn(t *testing.T) {
	const size = 3 << 20
	data := bytesOf(size)
	for _, breaks := range []int64{1, 40_000, size / 4, size / 2, size - 1} {
		for _, stall := range []bool{false, true} {
			w := newWorld(t)
			e := w.addElsewhere("a", "b", "c")
			e.stores["b"].InFlight, e.stores["c"].InFlight = 1, 2
			h := w.putFar(e, data, "mp4", "a", "b", "c")
			e.stores["a"].left, e.stores["a"].stall = breaks, stall
			e.stores["b"].left = 100_000
			rec := ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4")
			require.Equal(t, 200, rec.Code)
			require.True(t, bytes.Equal(data, rec.Body.Bytes()), "broken at %d", breaks)
			require.Equal(t, []string{fmt.Sprintf("%d-%d", breaks, size)}, e.opens("b"))
			require.Contains(t, e.failed, "a")
			require.GreaterOrEqual(t, w.metrics.failovers, 1)
			e.requireClosed(t)
		}
	}
}

// Also within ranges, of which each asks for its own part alone.
func TestElsewhereGoesOnInRanges(t *testing.T) {
	data := bytesOf(3 << 20)
	w := newWorld(t)
	e := w.addElsewhere("a", "b")
	e.stores["b"].InFlight = 1
	e.stores["a"].left = 600_000
	h := w.putFar(e, data, "mp4", "a", "b")
	rec := ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4", "Range", "bytes=1000-500999,1000000-1999999,5-6")
	require.Equal(t, 206, rec.Code)
	require.Contains(t, rec.Body.String(), string(data[1000:501000]))
	require.Contains(t, rec.Body.String(), string(data[1000000:2000000]))
	require.Equal(t, []string{"1000-501000", "1000000-2000000"}, e.opens("a"))
	require.Equal(t, []string{"1100000-2000000", "5-7"}, e.opens("b"))
	require.Equal(t, 1, w.metrics.failovers)
	e.requireClosed(t)
}

// A local disk's read error is followed by a store elsewhere, and that by a
// store of this process which has come back.
func TestLocalAndElsewhereGoOn(t *testing.T) {
	data := bytesOf(2 << 20)
	w := newWorld(t, "om101")
	e := w.addElsewhere("far")
	h := w.putFar(e, data, "mp4", "far")
	w.put(string(data), "mp4", "om101")
	v := w.volumes["om101"]
	handler := New(w.deps, Settings{})
	url := "/" + string(w.buy(h, "mp4")) + "/x.mp4"
	file := filepath.Join(v.Root(), "content", h.String()[:2], h.String()[2:4], h.String()+".mp4")

	cut := &cutting{cut: func() { require.NoError(t, os.Truncate(file, 700_000)) }}
	serverOf(handler).ServeHTTP(cut, httptest.NewRequest("GET", url, nil))
	require.True(t, string(data) == cut.body.String())
	require.Equal(t, []string{"700000-2097152"}, e.opens("far"))
	require.Equal(t, 1, w.metrics.failovers)
	require.Empty(t, e.failed)

	back := w.startVolume("om102")
	w.volumes["om102"] = back
	w.put(string(data), "mp4", "om102")
	w.down.Store(back.ID(), true)
	w.down.Store(v.ID(), true)
	e.stores["far"].opens, e.stores["far"].left = nil, 1_500_000
	cut = &cutting{cut: func() { w.down.Delete(back.ID()) }}
	serverOf(handler).ServeHTTP(cut, httptest.NewRequest("GET", url, nil))
	require.True(t, string(data) == cut.body.String())
	require.Equal(t, []string{"0-2097152"}, e.opens("far"))
	require.Equal(t, []string{"far"}, e.failed)
}

// With all of them dead the connection ends: no short response is a 200.
func TestElsewhereAllDead(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("a", "b")
	data := bytesOf(2 << 20)
	h := w.putFar(e, data, "mp4", "a", "b")
	for _, s := range e.stores {
		s.left = 300_000
	}
	server := httptest.NewServer(serverOf(New(w.deps, Settings{})))
	defer server.Close()
	resp, err := http.Get(server.URL + "/" + string(w.buy(h, "mp4")) + "/x.mp4")
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	got, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, resp.Body.Close())
	require.True(t, bytes.HasPrefix(data, got))
	require.LessOrEqual(t, len(e.opens("a"))+len(e.opens("b")), 4, "each once more, and no oftener")
	e.requireClosed(t)

	// Before the first byte it is a 503, and no use of the purchase.
	for _, s := range e.stores {
		s.openErr = errBroken
	}
	once := string(w.buy(h, "mp4", uses(1)))
	rec := ask(New(w.deps, Settings{}), "GET", "/"+once+"/x.mp4")
	require.Equal(t, 503, rec.Code)
	require.Equal(t, "1", rec.Header().Get("Retry-After"))
	require.Empty(t, rec.Header().Get("Etag"))
	for _, s := range e.stores {
		s.openErr, s.left = nil, -1
	}
	require.Equal(t, 200, ask(New(w.deps, Settings{}), "GET", "/"+once+"/x.mp4").Code)
	require.Equal(t, 410, ask(New(w.deps, Settings{}), "GET", "/"+once+"/x.mp4", "X-Test-Client", "192.0.2.7").Code)
	e.requireClosed(t)
	require.Zero(t, w.metrics.streams)
}

// A store that was started anew meanwhile goes on with what it began.
func TestStoreComesBack(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("only")
	e.stores["only"].left, e.stores["only"].heal = 1_000_000, true
	data := bytesOf(3 << 20)
	h := w.putFar(e, data, "mp4", "only")
	began := time.Now()
	rec := ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4")
	require.True(t, bytes.Equal(data, rec.Body.Bytes()))
	require.GreaterOrEqual(t, time.Since(began), retryAfter)
	require.Equal(t, []string{"0-3145728", "1000000-3145728"}, e.opens("only"))
}

// A client that leaves says nothing of the store.
func TestClientLeavesElsewhere(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("a", "b")
	data := bytesOf(2 << 20)
	h := w.putFar(e, data, "mp4", "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cut := &cutting{cut: cancel}
	serverOf(New(w.deps, Settings{})).ServeHTTP(cut, httptest.NewRequest("GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4", nil).WithContext(ctx))
	require.Less(t, cut.body.Len(), len(data))
	require.Empty(t, e.failed)
	require.Zero(t, w.metrics.failovers)
	e.requireClosed(t)

	// Also before the first byte of a small one.
	ctx, cancel = context.WithCancel(t.Context())
	e.stores["a"].silent, e.stores["b"].silent = -1, -1
	time.AfterFunc(10*time.Millisecond, cancel)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4", nil).WithContext(ctx)
	r.Header.Set("Range", "bytes=0-9")
	serverOf(New(w.deps, Settings{})).ServeHTTP(rec, r)
	require.Equal(t, 503, rec.Code)
	require.Empty(t, e.failed)
	o := opener{core: &NewSender(w.deps).core, ctx: ctx, last: &inventory.Clone{Store: "a"}}
	o.failed(errBroken)
	require.Empty(t, e.failed)
	e.requireClosed(t)
}

// A store that accepts and says nothing does not hold up the first byte: after
// a while a second one is asked, and the first that answers is used.
func TestHedge(t *testing.T) {
	for _, tc := range []struct {
		name     string
		a, b, c  time.Duration
		used     string
		took     time.Duration
		hedges   int
		first    []time.Duration // first bytes there were before
		notAsked string
		lost     []string // to one that was asked later
	}{
		{"the first is quick", 10 * time.Millisecond, 0, 0, "a", 10 * time.Millisecond, 0, nil, "b", nil},
		{"the first is silent", -1, 10 * time.Millisecond, 0, "b", 260 * time.Millisecond, 1, nil, "c", []string{"a"}},
		{"the first is slow and yet before the second", 300 * time.Millisecond, time.Second, 0, "a", 300 * time.Millisecond, 1, nil, "c", nil},
		{"two are silent", -1, -1, 10 * time.Millisecond, "c", 510 * time.Millisecond, 2, nil, "", []string{"a", "b"}},
		{"stores are known to be quick", -1, time.Millisecond, 0, "b", 51 * time.Millisecond, 1, slices.Repeat([]time.Duration{5 * time.Millisecond}, 100), "c", []string{"a"}},
		{"stores are known to be slow", 400 * time.Millisecond, 0, 0, "a", 400 * time.Millisecond, 0, slices.Repeat([]time.Duration{500 * time.Millisecond}, 100), "b", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			e := w.addElsewhere("a", "b", "c")
			e.stores["a"].silent, e.stores["b"].silent, e.stores["c"].silent = tc.a, tc.b, tc.c
			e.stores["b"].InFlight, e.stores["c"].InFlight = 1, 2
			data := bytesOf(1 << 20)
			h := w.putFar(e, data, "mp4", "a", "b", "c")
			placement, err := w.index.Find(t.Context(), h)
			require.NoError(t, err)
			deps := w.deps
			deps.FirstBytes = new(FirstBytes)
			for _, d := range tc.first {
				deps.FirstBytes.Add(d)
			}
			synctest.Test(t, func(t *testing.T) {
				core := newCore(deps, Settings{})
				o := opener{core: &core, ctx: t.Context(), placement: placement, size: int64(len(data))}
				began := time.Now()
				body, err := o.next(0, int64(len(data)))
				require.NoError(t, err)
				require.InDelta(t, tc.took, time.Since(began), float64(time.Millisecond))
				require.Equal(t, []string{tc.used}, e.answered)
				require.Equal(t, tc.hedges, w.metrics.hedges)
				if tc.notAsked != "" {
					require.Empty(t, e.opens(tc.notAsked))
				}
				synctest.Wait()
				for name, s := range e.stores {
					want := 0
					if name == tc.used {
						want = 1
					}
					require.Equal(t, want, s.open, "the other is let go at once: %s", name)
				}
				require.Empty(t, e.failed)
				require.ElementsMatch(t, tc.lost, e.overtook)
				got, err := io.ReadAll(body)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, got))
				require.NoError(t, body.Close())
				o.close()
			})
			e.requireClosed(t)
		})
	}
}

func TestFirstBytes(t *testing.T) {
	var f FirstBytes
	require.Equal(t, hedgeUnknown, f.Patience())
	for range firstByteEnough {
		f.Add(80 * time.Millisecond)
	}
	require.InDelta(t, 80, f.Patience().Milliseconds(), 16)
	for range 5000 {
		f.Add(time.Microsecond)
	}
	require.Equal(t, hedgeLeast, f.Patience(), "what was long ago does not count")
	for range 5000 {
		f.Add(time.Hour)
	}
	require.Equal(t, hedgeMost, f.Patience())
	var g FirstBytes
	for i := range 1000 {
		g.Add(time.Duration(i) * time.Millisecond / 2)
	}
	require.InDelta(t, 475, g.Patience().Milliseconds(), 95)
	require.Zero(t, testing.AllocsPerRun(100, func() { f.Add(time.Second); f.Patience() }))
}

func TestRedirectElsewhere(t *testing.T) {
	w := newWorld(t, "om101")
	e := w.addElsewhere("far", "hidden")
	film := w.putFar(e, []byte("a film"), "mp4", "far")
	hidden := w.putFar(e, []byte("another"), "mp4", "hidden")
	h := New(w.deps, Settings{Redirect: true, StoreURL: func(id string) (string, bool) {
		return "https://" + id + ".oose.example", id == "far"
	}})
	token := string(w.buy(film, "mp4"))
	rec := ask(h, "GET", "/"+token+"/x.mp4")
	require.Equal(t, 302, rec.Code)
	require.Equal(t, "https://far.oose.example/play/"+token+"/video.mp4?start=0", rec.Header().Get("Location"))
	require.Empty(t, e.opens("far"))
	rec = ask(h, "GET", "/"+string(w.buy(hidden, "mp4"))+"/x.mp4")
	require.Equal(t, 200, rec.Code, "a store that clients can't reach is streamed for")
	require.Equal(t, "another", rec.Body.String())
	e.stores["far"].Failing = true
	rec = ask(h, "GET", "/"+token+"/x.mp4")
	require.Equal(t, 200, rec.Code, "no client is sent to who has just failed")
	require.Equal(t, "a film", rec.Body.String())
	e.stores["far"].down = true
	require.Equal(t, 503, ask(h, "GET", "/"+token+"/x.mp4").Code)
}

// Requests of many clients at once, over stores that break now and then.
func TestManyElsewhere(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("a", "b", "c")
	data := bytesOf(1 << 20)
	h := w.putFar(e, data, "mp4", "a", "b", "c")
	for _, s := range e.stores {
		s.left, s.heal = 5<<20+7, true
	}
	handler, token := New(w.deps, Settings{}), string(w.buy(h, "mp4"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				rec := ask(handler, "GET", "/"+token+"/x.mp4", "Range", "bytes=5-")
				if !bytes.Equal(data[5:], rec.Body.Bytes()) {
					t.Error("wrong bytes")
				}
			}
		})
	}
	group.Wait()
	e.requireClosed(t)
	require.Zero(t, w.metrics.streams)
}

// copies is a Cache for tests.
type copies struct {
	file    string // of a whole copy, "" while there is none
	joins   []string
	joinErr error
	breaks  int64 // bytes after which reading fails with readErr, negative: never
	readErr error
	filled  []byte // what a fetch has brought
}

func (c *copies) File(content.Hash) (*os.File, bool) {
	if c.file == "" {
		return nil, false
	}
	f, err := os.Open(c.file)
	return f, err == nil
}

func (c *copies) Join(_ context.Context, _ content.Hash, size, offset, end int64, fetch func(context.Context, int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	c.joins = append(c.joins, fmt.Sprintf("%d-%d of %d", offset, end, size))
	if c.joinErr != nil {
		return nil, c.joinErr
	}
	body, err := fetch(context.Background(), 0) // who leaves does not stop it
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if c.filled, err = io.ReadAll(body); err != nil {
		return nil, err
	}
	part := c.filled[offset:end]
	if c.breaks >= 0 {
		return &joined{bytes.NewReader(part[:c.breaks]), c.readErr}, nil
	}
	return &joined{bytes.NewReader(part), io.EOF}, nil
}

type joined struct {
	r   io.Reader
	end error
}

func (j *joined) Read(p []byte) (int, error) {
	n, err := j.r.Read(p)
	if err == io.EOF {
		err = j.end
	}
	return n, err
}

func (j *joined) Close() error { return nil }

func TestPullThrough(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("a", "b")
	e.stores["a"].left, e.stores["b"].InFlight = 900_000, 1
	data := bytesOf(2 << 20)
	h := w.putFar(e, data, "mp4", "a", "b")
	cache := &copies{breaks: -1}
	w.deps.Cache = cache
	handler, url := New(w.deps, Settings{}), "/"+string(w.buy(h, "mp4"))+"/x.mp4"
	rec := ask(handler, "GET", url, "Range", "bytes=100-1999999")
	require.Equal(t, 206, rec.Code)
	require.True(t, bytes.Equal(data[100:2000000], rec.Body.Bytes()))
	require.Equal(t, []string{"100-2000000 of 2097152"}, cache.joins)
	require.True(t, bytes.Equal(data, cache.filled), "fetched over the store that broke")
	require.Equal(t, []string{"0-2097152"}, e.opens("a"))
	require.Equal(t, []string{"900000-2097152"}, e.opens("b"))

	// A whole copy is sent as a file, without anybody being asked.
	cache.file = filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(cache.file, data, 0o600))
	e.stores["b"].opens = nil
	for _, header := range []string{"bytes=0-", "bytes=7-1000007", "bytes=5-6,100000-1999999"} {
		require.Equal(t, 206, ask(handler, "GET", url, "Range", header).Code)
	}
	require.True(t, bytes.Equal(data, ask(handler, "GET", url).Body.Bytes()))
	require.Len(t, cache.joins, 1)
	require.Empty(t, e.opens("b"))

	// Also where every store is away.
	e.stores["a"].down, e.stores["b"].down = true, true
	require.True(t, bytes.Equal(data, ask(handler, "GET", url).Body.Bytes()))
	require.Equal(t, 200, ask(handler, "HEAD", url).Code)
	require.Equal(t, 304, ask(handler, "GET", url, "If-None-Match", `"`+h.String()+`"`).Code)
	e.stores["a"].down, e.stores["b"].down = false, false

	// A copy that can't be read to its end is followed by the source.
	require.NoError(t, os.Truncate(cache.file, 1_234_567))
	e.stores["a"].left = -1
	require.True(t, bytes.Equal(data, ask(handler, "GET", url).Body.Bytes()))
	require.Equal(t, "1234567-2097152", e.opens("a")[1])
	e.requireClosed(t)
}

func TestPullThroughFails(t *testing.T) {
	data := bytesOf(2 << 20)
	for name, tc := range map[string]struct {
		cache copies
		opens []string // of the source, by the viewer
	}{
		"nothing is kept":         {copies{joinErr: pull.ErrFull}, []string{"0-2097152"}},
		"the fetch falls behind":  {copies{breaks: 0, readErr: pull.ErrAhead}, []string{"0-2097152"}},
		"the fetch stalls within": {copies{breaks: 777_777, readErr: pull.ErrStalled}, []string{"777777-2097152"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e := w.addElsewhere("a")
			h := w.putFar(e, data, "mp4", "a")
			cache := tc.cache
			w.deps.Cache = &cache
			rec := ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4")
			require.Equal(t, 200, rec.Code)
			require.True(t, bytes.Equal(data, rec.Body.Bytes()))
			opens := e.opens("a")
			require.Equal(t, tc.opens, opens[len(opens)-1:])
			require.Len(t, cache.joins, 1)
			require.Empty(t, e.failed)
		})
	}
	// With nobody to fetch it from, that shows before the first byte.
	w := newWorld(t)
	e := w.addElsewhere("a")
	e.stores["a"].openErr = errBroken
	h := w.putFar(e, data, "mp4", "a")
	for _, cache := range []*copies{{breaks: -1}, {breaks: 0, readErr: errBroken}} {
		w.deps.Cache = cache
		require.Equal(t, 503, ask(New(w.deps, Settings{}), "GET", "/"+string(w.buy(h, "mp4"))+"/x.mp4").Code)
	}
	// What turns out to be another content is never made a whole response.
	e.stores["a"].openErr = nil
	w.deps.Cache = &copies{breaks: 1_000_000, readErr: pull.ErrCorrupt}
	server := httptest.NewServer(serverOf(New(w.deps, Settings{})))
	defer server.Close()
	resp, err := http.Get(server.URL + "/" + string(w.buy(h, "mp4")) + "/x.mp4")
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err)
	require.NoError(t, resp.Body.Close())
}
