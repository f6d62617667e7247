package delivery

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
)

// wish is Demand for tests.
type wish struct {
	mu      sync.Mutex
	at      []inventory.Clone
	clones  int // requests served from clones
	copied  int // and from copies
	missing []string
}

func (d *wish) Count(_ content.Hash, copied bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if copied {
		d.copied++
	} else {
		d.clones++
	}
}

func (d *wish) Copies(h content.Hash) []inventory.Clone {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.at) == 0 || d.at[0].Hash != h {
		return nil
	}
	return d.at
}

func (d *wish) Lost(_ content.Hash, store string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing = append(d.missing, store)
}

// wanted gives the world copies of a content at stores.
func (w *world) wanted(h content.Hash, size int, stores ...string) *wish {
	d := new(wish)
	for _, id := range stores {
		d.at = append(d.at, inventory.Clone{Hash: h, Store: id, Ext: "bin", Size: int64(size)})
	}
	w.deps.Demand = d
	return d
}

func TestCopiesAreReadToo(t *testing.T) {
	w := newWorld(t)
	w.deps.Self = heartbeat.Location{Site: "s", Group: "g"}
	e := w.addElsewhere("clone", "copy", "far", "unknown")
	e.stores["clone"].Candidate = heartbeat.Candidate{Site: "s", Group: "g"}
	e.stores["copy"].Candidate = heartbeat.Candidate{Site: "s", Group: "h"}
	e.stores["far"].Candidate = heartbeat.Candidate{Site: "t", Group: "g"}
	data := bytesOf(100_000)
	h := w.putFar(e, data, "bin", "clone")
	d := w.wanted(h, len(data), "copy", "clone", "far", "nobody")
	handler := New(w.deps, Settings{})
	get := func(header ...string) *httptest.ResponseRecorder {
		return ask(handler, "GET", "/static/"+h.String()+"/x.bin", header...)
	}
	for range 100 {
		require.True(t, bytes.Equal(data, get().Body.Bytes()))
	}
	require.Greater(t, len(e.opens("clone")), 20, "they share the work, in whatever group they are")
	require.Greater(t, len(e.opens("copy")), 20)
	require.Empty(t, e.opens("far"), "another site comes after")
	require.Equal(t, [2]int{len(e.opens("clone")), len(e.opens("copy"))}, [2]int{d.clones, d.copied})

	// What has less to do comes first.
	e.stores["clone"].InFlight = 1
	before := d.copied
	for range 10 {
		require.Equal(t, data[10:20], get("Range", "bytes=10-19").Body.Bytes())
	}
	require.Equal(t, before+10, d.copied)

	// Where no clone can be had, the copies give it.
	e.stores["clone"].down, e.stores["copy"].down = true, true
	require.True(t, bytes.Equal(data, get().Body.Bytes()))
	require.Len(t, e.opens("far"), 1)
	require.Empty(t, d.missing)
	e.requireClosed(t)

	w.block(h)
	require.Equal(t, 403, get().Code, "a takedown holds for copies")
}

func TestACopyThatIsGone(t *testing.T) {
	w := newWorld(t)
	e := w.addElsewhere("clone", "copy")
	data := bytesOf(3 << 20)
	h := w.putFar(e, data, "bin", "clone")
	e.stores["clone"].InFlight = 1 // the copy is asked first
	d := w.wanted(h, len(data), "copy")
	handler := New(w.deps, Settings{})
	get := func() []byte { return ask(handler, "GET", "/static/"+h.String()+"/x.bin").Body.Bytes() }
	e.stores["copy"].openErr = fmt.Errorf("no such clone: %w", inventory.ErrNotExist)
	require.True(t, bytes.Equal(data, get()), "the viewer does not notice")
	require.Equal(t, []string{"copy"}, d.missing)
	require.Empty(t, e.failed, "a copy may go at any time")
	require.Equal(t, 1, d.clones)

	e.stores["copy"].openErr, e.stores["copy"].left = nil, 1<<20
	require.True(t, bytes.Equal(data, get()), "one that breaks off is followed from that byte")
	require.Equal(t, []string{"copy"}, e.failed)
	require.Equal(t, []string{"copy"}, d.missing)
	require.Equal(t, 1, d.copied)

	e.stores["copy"].openErr = errBroken
	require.True(t, bytes.Equal(data, get()))
	require.Equal(t, []string{"copy"}, d.missing, "it may still have it")

	d.at[0].Size++ // what is said of it can't be right
	opens := len(e.opens("copy"))
	require.True(t, bytes.Equal(data, get()))
	require.Len(t, e.opens("copy"), opens)
	e.requireClosed(t)
}

// Nothing is counted but what is read from other nodes.
func TestWhatIsCounted(t *testing.T) {
	w := newWorld(t, "om101")
	e := w.addElsewhere("a")
	here := w.put("a film here", "bin", "om101")
	far := w.putFar(e, []byte("a film elsewhere"), "bin", "a")
	d := w.wanted(far, 0)
	handler := New(w.deps, Settings{})
	path := "/static/" + far.String() + "/x.bin"
	ask(handler, "GET", "/static/"+here.String()+"/x.bin")
	ask(handler, "HEAD", path)
	require.Equal(t, 304, ask(handler, "GET", path, "If-None-Match", `"`+far.String()+`"`).Code)
	require.Equal(t, 416, ask(handler, "GET", path, "Range", "bytes=999-").Code)
	require.Zero(t, d.clones)
	require.Equal(t, 206, ask(handler, "GET", path, "Range", "bytes=2-5,0-1").Code)
	require.Equal(t, 1, d.clones, "a request once, however many parts it has")

	file := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(file, []byte("a film elsewhere"), 0o600))
	w.deps.Cache = &copies{file: file}
	require.Equal(t, "a film elsewhere", ask(New(w.deps, Settings{}), "GET", path).Body.String())
	require.Equal(t, 1, d.clones, "from this process' own copy")

	// A Sender fetches for a cache, and that is no viewer's request.
	w.deps.Cache = nil
	p, err := w.deps.Index.Find(t.Context(), far)
	require.NoError(t, err)
	body, err := NewSender(w.deps).Fetch(p, 16)(t.Context(), 2)
	require.NoError(t, err)
	got := make([]byte, 14)
	_, err = body.Read(got)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, 1, d.clones)
	e.requireClosed(t)
}

// counted is Demand that counts as a node does.
type counted struct {
	*wish
	*demand.Counter
}

func (c counted) Count(h content.Hash, _ bool)          { c.Add(h) }
func (c counted) Copies(content.Hash) []inventory.Clone { return nil }

// BenchmarkElsewhere is what a request for 4 KiB that are elsewhere costs before
// any byte travels: without anybody who counts, with, and where a copy exists.
// With -cpu 1,2,4 all of them are counted at the same time.
func BenchmarkElsewhere(b *testing.B) {
	for _, name := range []string{"uncounted", "counted", "hot"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			e := w.addElsewhere("a", "copy")
			data := bytesOf(4 << 10)
			h := w.putFar(e, data, "bin", "a")
			p, err := w.deps.Index.Find(b.Context(), h)
			require.NoError(b, err)
			switch name {
			case "counted":
				d := counted{new(wish), demand.NewCounter()}
				d.Turn(time.Second, 20, 1)
				for range 100 {
					d.Count(h, false)
				}
				require.Len(b, d.Turn(time.Second, 20, 1), 1, "it is watched")
				w.deps.Demand = d
			case "hot":
				w.wanted(h, len(data), "copy")
			}
			c := newCore(w.deps, Settings{})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if list := c.away(p, false); len(list) == 0 {
						b.Error("nobody holds it")
						return
					}
					if c.deps.Demand != nil {
						c.deps.Demand.Count(h, false)
					}
				}
			})
		})
	}
}
