package demand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what an agent sees: one clone at the store c, on the node nc, and
// stores with room for copies. It is Index, Peers and Doer.
type world struct {
	*Agent
	hash    content.Hash
	logs    *observer.ObservedLogs
	stopped func()

	mu        sync.Mutex
	placement inventory.Placement
	places    []Place           // of stores with room for copies
	down      map[string]bool   // stores that are not available
	answers   map[string]string // what a store answers: "whole", "coming", or why it refuses
	asked     []string          // stores, as they were asked
	waiting   chan struct{}     // answers wait for it
}

var errAway = errors.New("away")

func newWorld(t *testing.T, set Settings) *world {
	core, logs := observer.New(zap.InfoLevel)
	w := &world{
		hash: hash(t, 1), logs: logs, down: map[string]bool{}, answers: map[string]string{},
		places: []Place{place("s1", "n1", "", ""), place("s2", "n2", "", ""), place("s3", "n3", "", "")},
	}
	w.placement = inventory.Placement{Clones: []inventory.Clone{{Hash: w.hash, Store: "c", Ext: "bin", Size: 1000}}}
	set.Self.Node = "prism"
	w.Agent = New(Deps{Index: w, Doer: w, Peers: w, Settings: func() Settings { return set }, Log: zap.New(core)})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
	w.stopped = func() { cancel(); group.Wait() }
	t.Cleanup(w.stopped)
	return w
}

func (w *world) Find(context.Context, content.Hash) (*inventory.Placement, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.placement
	return &p, nil
}

func (w *world) Caching() (list []Place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.places {
		if !w.down[p.ID] {
			list = append(list, p)
		}
	}
	return list
}

func (w *world) Place(store string) (Place, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return place(store, "n"+store, "", ""), !w.down[store]
}

func (w *world) Do(r *http.Request) (*http.Response, error) {
	var q question
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.asked = append(w.asked, q.Store)
	what, waiting := w.answers[q.Store], w.waiting
	w.mu.Unlock()
	if waiting != nil {
		select {
		case <-waiting:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status, body := http.StatusOK, `{"whole":true}`
	switch what {
	case "whole", "":
	case "coming":
		body = `{"whole":false}`
	case "away":
		return nil, errAway
	default:
		status, body = http.StatusServiceUnavailable, `{"error":"`+what+`"}`
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// do changes the world.
func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// busy has clients make so many requests in each of some seconds.
func (w *world) busy(seconds, requests int) {
	for range seconds {
		for range requests {
			w.Count(w.hash, false)
		}
		<-time.After(time.Second) // of synctest's clock
	}
	synctest.Wait()
}

// copies returns the stores that delivery is told of.
func (w *world) copies() (stores []string) {
	for _, c := range w.Copies(w.hash) {
		stores = append(stores, c.Store)
	}
	slices.Sort(stores)
	return stores
}

// asks returns who was asked since the last call.
func (w *world) asks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

var usual = Settings{Above: 20, Most: 2}

func TestHotAndCool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, usual)
		ranked := ids(choose(w.hash, Place{Node: "prism"}, w.places, nil, 3))
		w.busy(60, 15)
		require.Empty(t, w.asks(), "below the bound")
		require.Zero(t, w.Status().Hot)

		w.busy(30, 30)
		require.Equal(t, ranked[:1], w.copies())
		require.Equal(t, []inventory.Clone{{Hash: w.hash, Store: ranked[0], Ext: "bin", Size: 1000}}, w.Copies(w.hash))
		require.Nil(t, w.Copies(hash(t, 2)))
		w.busy(30, 500)
		require.ElementsMatch(t, ranked[:2], w.copies(), "two at most")
		w.asks()
		w.busy(60, 500)
		asks := w.asks()
		require.InDelta(t, 12, len(asks), 2, "they are asked again every ten seconds: %v", asks)

		w.busy(60, 12)
		require.Equal(t, ranked[:1], w.copies(), "above half of the bound one stays")
		w.busy(30, 5)
		require.Empty(t, w.copies())
		w.asks()
		w.busy(60, 5)
		require.Empty(t, w.asks(), "what has cooled is not asked for")
		require.Equal(t, Status{Asked: w.Status().Asked}, w.Status())
		require.Equal(t, "content has cooled", w.logs.All()[w.logs.Len()-1].Message)
		require.Equal(t, 1, w.logs.FilterMessage("content has cooled").Len())
		require.Equal(t, "content is hot", w.logs.All()[0].Message)
		w.stopped()
	})
}

func TestWhatIsNoneOfTheirs(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"blocked":       func(w *world) { w.placement.Blocked = true },
		"removed":       func(w *world) { w.placement.Clones = nil },
		"empty":         func(w *world) { w.placement.Clones[0].Size = 0 },
		"nobody is one": func(w *world) { w.places = nil },
		"held by all": func(w *world) {
			w.placement.Clones = nil
			for _, id := range []string{"1", "2", "3"} {
				w.placement.Clones = append(w.placement.Clones, inventory.Clone{Hash: w.hash, Store: id, Size: 1})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, usual)
				w.busy(10, 100)
				require.NotEmpty(t, w.copies())
				w.do(func() { change(w) })
				w.busy(2, 100)
				if name == "blocked" || name == "removed" || name == "empty" {
					require.Empty(t, w.copies())
				}
				w.asks()
				w.busy(40, 100)
				require.Empty(t, w.asks())
				require.Empty(t, w.copies())
				w.stopped()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Most: 2})
		w.busy(10, 1000)
		require.Empty(t, w.asks(), "it is off")
		w.stopped()
	})
}

// A store that refuses, is away or has lost its copy is left alone for a while,
// and the next one is asked.
func TestTheNextIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Above: 20, Most: 1})
		ranked := ids(choose(w.hash, Place{Node: "prism"}, w.places, nil, 3))
		w.do(func() { w.answers[ranked[0]], w.answers[ranked[1]] = "full", "away" })
		w.busy(15, 100)
		require.Equal(t, ranked[2:], w.copies())
		require.Equal(t, ranked[:2], w.asks()[:2])
		w.asks()
		w.busy(300, 100)
		require.Equal(t, ranked[2:], w.copies(), "it stays while the others are asked again")
		require.InDelta(t, 50, len(w.asks()), 20, "now and then")
		w.do(func() { clear(w.answers) })
		w.busy(100, 100)
		require.Equal(t, ranked[:1], w.copies(), "the best again, later")

		w.do(func() { w.answers[ranked[0]] = "full" })
		w.Lost(w.hash, ranked[0])
		require.Empty(t, w.copies())
		w.Lost(hash(t, 2), "nobody")
		w.busy(3, 100)
		require.Equal(t, ranked[1:2], w.copies())
		w.do(func() { w.down[ranked[1]] = true })
		w.asks()
		w.busy(10, 100)
		require.Contains(t, w.copies(), ranked[2])
		require.NotContains(t, w.asks(), ranked[1], "who is not available is not asked")
		w.stopped()
	})
}

// A copy is read when it is whole, and as long as its store says so.
func TestTheLifeOfACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Above: 20, Most: 1})
		first := choose(w.hash, Place{Node: "prism"}, w.places, nil, 1)[0].ID
		w.do(func() { w.places, w.answers[first] = []Place{place(first, first, "", "")}, "coming" })
		w.busy(20, 100)
		require.Empty(t, w.copies())
		require.InDelta(t, 9, len(w.asks()), 2, "whether it has come is asked every two seconds")
		w.do(func() { w.answers[first] = "whole" })
		w.busy(3, 100)
		require.Equal(t, []string{first}, w.copies())

		// Nobody answers any more, without an error.
		w.do(func() { w.waiting = make(chan struct{}) })
		w.busy(14, 100)
		require.NotEmpty(t, w.asks())
		w.busy(8, 100)
		require.Empty(t, w.copies(), "who does not answer in time has refused")
		w.do(func() { close(w.waiting); w.waiting = nil })
		w.busy(40, 100)
		require.Equal(t, []string{first}, w.copies())
		w.do(func() { w.answers[first] = "coming" })
		w.busy(11, 100)
		require.Empty(t, w.copies(), "it has gone and is fetched anew")
		w.stopped()
	})
}

// Stopping waits for the answers that are awaited.
func TestStopWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, usual)
		w.do(func() { w.waiting = make(chan struct{}) })
		w.busy(5, 500)
		require.NotEmpty(t, w.asks())
		w.stopped()
		w.Count(w.hash, true)
		require.EqualValues(t, 1, w.Status().Read)
	})
}

func FuzzTake(f *testing.F) {
	f.Add([]byte(`{"hash":"0000000000000000000000000000000000000001","store":"s"}`))
	f.Add([]byte(`{"hash":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := New(Deps{Caches: noCaches{}})
		w := newAnswer()
		r, err := http.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
		require.NoError(t, err)
		a.ServeHTTP(w, r)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, w.status)
	})
}
