package swarm

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTwoNodesFollowEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		require.True(t, a.Ready(), "without join a node is ready at once")
		b := w.node("b", nil, "a")
		pause(100 * time.Millisecond)
		require.True(t, b.Ready())
		for _, c := range []Connection{a.to("b"), b.to("a"), a.by("b"), b.by("a")} {
			require.Equal(t, Active, c.State, c)
		}
		a.j.write(5)
		b.j.write(7)
		pause(time.Millisecond)
		require.EqualValues(t, 5, b.j.has("src-a"))
		require.EqualValues(t, 7, a.j.has("src-b"))
		require.EqualValues(t, 5, a.j.ack("id-b"), "acknowledged at once")
		require.EqualValues(t, 7, b.j.ack("id-a"))
		require.Equal(t, []string{"src-a"}, b.to("a").Sources)
		require.Equal(t, []string{"src-a"}, a.by("b").Sources)
		require.Zero(t, a.by("b").Lag)
		require.Equal(t, "0.9", b.to("a").Version)
		require.Equal(t, "src-a", b.to("a").Source)
		require.Equal(t, []Node{{ID: "id-a", Name: "a", Address: "https://a:5971", Source: "src-a", Version: "0.9", Reached: true}}, b.Nodes())
	})
}

// TestPeersPeers: who knows one address comes to know all nodes, and they it.
func TestPeersPeers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes := []*member{w.node("n0", nil)}
		for i := 1; i < 6; i++ {
			nodes = append(nodes, w.node(fmt.Sprint("n", i), nil, fmt.Sprint("n", i-1)))
		}
		pause(10 * time.Second)
		for i, n := range nodes {
			n.j.write(uint64(i + 1))
		}
		pause(time.Millisecond)
		for _, n := range nodes {
			require.Len(t, n.Nodes(), 5, n.name)
			for k, other := range nodes {
				require.EqualValues(t, k+1, n.j.has("src-"+other.name), "%s of %s", n.name, other.name)
				if other != n {
					require.Equal(t, "src-"+other.name, n.j.from("src-"+other.name), "each from its own node")
				}
			}
			for _, c := range n.Connections() {
				require.Equal(t, Active, c.State, "%s: no address leads astray: %+v", n.name, c)
			}
		}
	})
}

// TestRelay: what can't be reached is followed through another, and directly
// again once it can, with one stream for each source at any time.
func TestRelay(t *testing.T) {
	for name, how := range map[string]bond{"refused": cut, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a, b := w.node("a", nil), w.node("b", nil, "a")
				c := w.node("c", nil, "b")
				pause(5 * time.Second)
				require.Equal(t, "src-a", c.j.from("src-a"))
				w.bend("a", "c", how)
				pause(15 * time.Second)
				require.Equal(t, Lifesupport, c.to("a").State)
				require.NotEmpty(t, c.to("a").LastError)
				require.Equal(t, "src-b", c.j.from("src-a"), "through the node in between")
				require.Equal(t, "src-b", a.j.from("src-c"))
				a.j.write(3)
				pause(time.Millisecond)
				require.EqualValues(t, 3, c.j.has("src-a"), "live over the relay too")
				require.EqualValues(t, 3, a.j.ack("id-b"))
				w.bend("a", "c", whole)
				pause(90 * time.Second)
				require.Equal(t, Active, c.to("a").State)
				require.Equal(t, "src-a", c.j.from("src-a"), "directly again")
				require.Equal(t, "src-c", a.j.from("src-c"))
				a.j.write(1)
				pause(time.Millisecond)
				require.EqualValues(t, 4, a.j.ack("id-c"))
				for _, m := range []*member{a, b, c} {
					require.Equal(t, 1, m.j.most, "%s: streams of one source at a time", m.name)
				}
			})
		})
	}
}

// TestRelayOfTheDead: what a node wrote that is gone comes from whoever has most of it.
func TestRelayOfTheDead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b, c := w.node("a", nil), w.node("b", nil, "a"), w.node("c", nil, "a")
		pause(5 * time.Second)
		w.bend("a", "c", cut)
		w.bend("b", "c", cut)
		a.j.write(9)
		pause(time.Second)
		a.kill()
		w.bend("b", "c", whole)
		pause(time.Minute)
		require.EqualValues(t, 9, b.j.has("src-a"))
		require.EqualValues(t, 9, c.j.has("src-a"))
		require.Equal(t, "src-b", c.j.from("src-a"))
		d := w.node("d", nil, "c")
		pause(5 * time.Second)
		require.EqualValues(t, 9, d.j.has("src-a"))
	})
}

// TestManyDeadSources: what nodes that are gone have left behind does not keep
// those that are there from being followed.
func TestManyDeadSources(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const bound = 20
		a := w.node("a", func(m *member) { m.opts.streams = bound })
		b := w.node("b", func(m *member) {
			m.j.mu.Lock()
			defer m.j.mu.Unlock()
			for i := range bound + 10 {
				m.j.set(fmt.Sprintf("dead-%04d", i), 7)
			}
		}, "a")
		pause(20 * time.Second)
		require.EqualValues(t, 7, a.j.has("dead-0000"))
		require.EqualValues(t, 7, a.j.has(fmt.Sprintf("dead-%04d", bound+9)))
		c := w.node("c", nil, "a")
		b.j.write(3)
		c.j.write(4)
		pause(10 * time.Second)
		require.EqualValues(t, 3, a.j.has("src-b"))
		require.EqualValues(t, 4, a.j.has("src-c"))
		b.j.mu.Lock()
		b.j.set("dead-0005", 8)
		b.j.mu.Unlock()
		pause(10 * time.Second)
		require.EqualValues(t, 8, a.j.has("dead-0005"))
		a.mu.Lock()
		defer a.mu.Unlock()
		require.LessOrEqual(t, len(a.streams), bound)
	})
}

// TestReloads: a node that takes one configuration after another is followed on
// at once, however often it does.
func TestReloads(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		b := w.node("b", nil, "a")
		pause(5 * time.Second)
		for i := range uint64(8) {
			a.j.mu.Lock()
			close(a.j.reload)
			a.j.reload = make(chan struct{})
			a.j.mu.Unlock()
			a.j.write(1)
			pause(time.Second)
			require.EqualValues(t, i+1, b.j.has("src-a"))
			pause(2 * time.Second)
		}
	})
}

// TestHighestClaim: of those that relay a source, the one that has most of it.
func TestHighestClaim(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		for _, less := range []string{"b", "d"} { // whichever comes first by its id
			most := map[string]string{"b": "d", "d": "b"}[less]
			w.bend("a", most, whole)
			poor, rich := w.node(less, nil, "a"), w.node(most, nil, "a")
			w.bend(less, most, cut)
			a.j.write(3)
			pause(5 * time.Second)
			w.bend("a", less, cut)
			a.j.write(6)
			pause(5 * time.Second)
			a.kill()
			c := w.node("c", nil, less)
			pause(time.Second)
			require.Equal(t, "src-"+less, c.j.from("src-a"))
			c.SetJoin([]string{"https://" + most + ":5971"})
			pause(2500 * time.Millisecond)
			require.Equal(t, "src-"+most, c.j.from("src-a"), "as soon as it is seen to be ahead")
			require.Equal(t, a.j.Head(), c.j.has("src-a"))
			pause(10 * time.Second)
			require.Equal(t, a.j.Head(), poor.j.has("src-a"))
			for _, m := range []*member{poor, rich, c} {
				m.kill()
			}
			w.bend("a", less, whole)
			a.restart()
		}
	})
}

// TestStuckStream: a stream that brings nothing any more while its connection
// looks well is given up for another.
func TestStuckStream(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b, c := w.node("a", nil), w.node("b", nil, "a"), w.node("c", nil, "a")
		pause(5 * time.Second)
		w.mu.Lock()
		for open := range w.open {
			if open.from == "c" && open.to == "a" {
				open.bend(silent) // this one alone
			}
		}
		w.mu.Unlock()
		a.j.write(2)
		pause(12 * time.Second)
		require.EqualValues(t, 2, b.j.has("src-a"))
		require.EqualValues(t, 2, c.j.has("src-a"))
		require.Equal(t, 1, c.j.most)
	})
}

// TestQuietStream: one that has nothing to bring stays, one that never begins is ended.
func TestQuietStream(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		b := w.node("b", nil, "a")
		pause(10 * time.Minute)
		require.Equal(t, 1, w.called("a GET /cluster/journal/src-a"))
		require.Empty(t, b.to("a").LastError)
		w.host("c", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cluster/journal/src-a" {
				<-r.Context().Done()
				return
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		w.host("a", nil)
		b.SetJoin([]string{"https://c:5971"})
		pause(time.Minute)
		require.Equal(t, Active, b.to("c").State)
		require.Contains(t, b.to("c").LastError, errSilent.Error())
		require.Less(t, w.called("c GET /cluster/journal/src-a"), 6)
	})
}

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil, "nobody")
		require.False(t, a.Ready())
		var gaps []time.Duration
		for last, fails := time.Now(), 0; len(gaps) < 9; {
			at := a.to("nobody").ErrorAt
			if at.After(last) || fails == 0 {
				gaps, last = append(gaps, at.Sub(last)), at
				fails++
			}
			pause(50 * time.Millisecond)
		}
		for i, gap := range gaps[1:] {
			want := min(time.Second<<i, time.Minute)
			require.LessOrEqual(t, gap, want, "try %d", i)
			require.GreaterOrEqual(t, gap, want*3/4, "try %d", i)
		}
		require.Equal(t, Lifesupport, a.to("nobody").State)
		require.Contains(t, a.to("nobody").LastError, "connection refused")
		require.False(t, a.to("nobody").Retry.IsZero())
	})
}

// TestRestart: a node that comes back is connected to at once, because it says
// hello itself, however long it was away.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		b.kill()
		a.j.write(4)
		pause(10 * time.Minute)
		require.Equal(t, Lifesupport, a.to("b").State)
		require.Equal(t, Lifesupport, a.by("b").State)
		require.Equal(t, []string{"id-b"}, a.j.forgot, "nobody waits for what it would acknowledge")
		require.Less(t, a.to("b").LastContact, time.Now().Add(-9*time.Minute))
		b.restart()
		pause(2 * time.Second)
		require.Equal(t, Active, a.to("b").State)
		require.Equal(t, Active, a.by("b").State)
		require.EqualValues(t, 4, b.j.has("src-a"))
		require.EqualValues(t, 4, a.j.ack("id-b"))
		require.Equal(t, 1, b.j.most)
	})
}

// TestRestartedAtOnce: the other end need not have noticed that it was away.
func TestRestartedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		b.kill()
		pause(time.Millisecond)
		b.restart()
		pause(4 * time.Second)
		b.j.write(1)
		a.j.write(1)
		pause(time.Millisecond)
		require.EqualValues(t, 1, a.j.has("src-b"))
		require.EqualValues(t, 1, a.j.ack("id-b"))
		require.EqualValues(t, 1, b.j.ack("id-a"))
		require.NoError(t, a.Conflict())
		require.NoError(t, b.Conflict())
	})
}

// TestAddressMoves: where another node answers at an address all of a sudden.
func TestAddressMoves(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.node("a", nil)
		b, z := w.node("b", nil, "a"), w.node("z", nil)
		pause(5 * time.Second)
		w.host("a", z.Swarm)
		z.j.write(2)
		pause(5 * time.Second)
		require.Equal(t, "id-z", b.to("a").Node)
		require.EqualValues(t, 2, b.j.has("src-z"))
	})
}

// TestHiccup: one request that fails is no reason to give a connection up, and
// acknowledgements that are lost are told again.
func TestHiccup(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		since := b.to("a").Since
		var failed atomic.Bool
		w.host("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == journalPath && r.Method == http.MethodGet && failed.CompareAndSwap(false, true) {
				http.Error(rw, "busy", http.StatusServiceUnavailable)
				return
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		a.j.write(1)
		pause(5 * time.Second)
		require.True(t, failed.Load())
		require.Equal(t, since, b.to("a").Since)
		a.j.Forget("id-b")
		pause(40 * time.Second)
		require.EqualValues(t, 1, a.j.ack("id-b"))
		require.Equal(t, since, b.to("a").Since)
	})
}

// TestLostRecords: a node that comes back without its records is a new source,
// and what it acknowledged before no longer counts.
func TestLostRecords(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		a.j.write(3)
		b.j.write(6)
		pause(time.Second)
		b.kill()
		b.j = newFakeJournal("src-b-anew")
		b.restart()
		pause(5 * time.Second)
		require.Contains(t, a.j.forgot, "id-b")
		require.EqualValues(t, 3, a.j.ack("id-b"), "acknowledged anew")
		require.EqualValues(t, 6, b.j.has("src-b"), "what it wrote is relayed to itself")
		require.Zero(t, b.j.renewed)
		require.Equal(t, "src-b-anew", a.to("b").Source)
	})
}

func TestGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		w.host("hung", hanging)
		began := time.Now()
		b.end()
		<-b.over
		require.Less(t, time.Since(began), 2*time.Second)
		synctest.Wait()
		require.True(t, a.to("b").Leaving)
		require.True(t, a.by("b").Leaving)
		require.Equal(t, Lifesupport, a.to("b").State)
		require.Equal(t, []string{"id-b"}, a.j.forgot, "nobody waits for what it would acknowledge")
		require.GreaterOrEqual(t, time.Until(a.to("b").Retry), 40*time.Second, "tried again slowly")
		require.Contains(t, a.nodes, Node{ID: "id-b", Name: "b", Address: "https://b:5971", Source: "src-b", Version: "0.9", Leaving: true})
		pause(30 * time.Second)
		b.restart()
		pause(time.Second)
		require.Equal(t, Active, a.to("b").State)
		require.False(t, a.to("b").Leaving)
		require.False(t, a.by("b").Leaving)
	})
}

// TestGoodbyeIsShort: nobody who does not answer holds the end up.
func TestGoodbyeIsShort(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", nil), w.node("b", nil, "a")
		pause(5 * time.Second)
		w.bend("a", "b", silent)
		began := time.Now()
		b.end()
		<-b.over
		require.Less(t, time.Since(began), 2*time.Second)
		require.NotNil(t, a)
	})
}

func TestPurgatory(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		w.host("alias", a)
		b := w.node("b", nil, "a", "alias", "b")
		w.host("self", b)
		b.SetJoin([]string{"https://a:5971", "https://alias:5971", "https://b:5971", "http://self"})
		pause(5 * time.Second)
		require.True(t, b.Ready())
		require.Equal(t, Purgatory, b.to("b").State)
		require.Equal(t, Purgatory, b.to("http://self").State)
		require.Contains(t, b.to("http://self").LastError, "our own")
		first, second := b.to("a"), b.to("alias")
		if first.State == Purgatory {
			first, second = second, first
		}
		require.Equal(t, Active, first.State)
		require.Equal(t, Purgatory, second.State)
		require.Contains(t, second.LastError, first.Address)
		// The second address takes over when the first one fails.
		w.host(strings.TrimSuffix(strings.TrimPrefix(first.Address, "https://"), ":5971"), nil)
		pause(5 * time.Second)
		require.Equal(t, Lifesupport, b.to(first.Address).State)
		require.Equal(t, Active, b.to(second.Address).State)
		// An address that nobody names any more is forgotten after a while.
		b.SetJoin([]string{"https://a:5971"})
		pause(11 * time.Minute)
		for _, c := range b.Connections() {
			require.NotEqual(t, "http://self", c.Address)
		}
	})
}

func TestKnownNodesAreKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		kept := fileIn(t)
		a, b := w.node("a", kept), w.node("b", kept, "a")
		pause(10 * time.Second)
		require.FileExists(t, a.opts.File)
		a.stop()
		b.stop()
		pause(time.Hour)
		a.restart() // which joins nobody
		b.opts.Join = nil
		b.restart()
		pause(2 * time.Second)
		require.Equal(t, Active, a.to("b").State)
		require.Equal(t, Active, b.to("a").State)
		b.stop()
		pause(time.Minute)
		a.Swarm.mu.Lock()
		gone := a.links["https://b:5971"]
		gone.contact = gone.contact.Add(-forgetSeen + 2*time.Minute)
		a.Swarm.mu.Unlock()
		pause(10 * time.Second)
		require.Len(t, a.Connections(), 2)
		pause(2 * time.Minute)
		require.Len(t, a.Connections(), 1, "forgotten after thirty days, but for the incoming one")

		b.restart()
		pause(10 * time.Second)
		b.stop()
		a.stop()
		pause(31 * 24 * time.Hour)
		a.restart()
		pause(time.Second)
		require.Empty(t, a.Connections(), "forgotten after thirty days")
		info, err := os.Stat(a.opts.File)
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077)
	})
}

// TestDamagedFile: it is begun anew, and a node does not think it is complete.
func TestDamagedFile(t *testing.T) {
	for name, content := range map[string]string{
		"garbage": "\x00\x01garbage", "empty": "", "newer": `{"version":99,"addresses":[{"address":"https://x"}]}`,
		"huge": `{"version":1,"complete":"` + strings.Repeat("x", maxBook) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				file := filepath.Join(t.TempDir(), "known.json")
				require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
				a := w.node("a", func(m *member) { m.opts.File = file }, "b")
				pause(10 * time.Second)
				require.False(t, a.Ready())
				require.Equal(t, 1, a.logs.FilterMessageSnippet("begun anew").Len())
				w.node("b", nil)
				a.SetJoin([]string{"https://b:5971"})
				pause(20 * time.Second)
				require.True(t, a.Ready())
				b, err := readBook(file)
				require.NoError(t, err)
				require.Equal(t, "src-a", b.Complete)
				require.Len(t, b.Addresses, 1)
			})
		})
	}
}

func TestRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		require.ErrorIs(t, a.Run(t.Context()), errRun)
		a.stop()
		require.ErrorIs(t, a.Run(t.Context()), errRun)
		resp, err := doer{w, "x", "x"}.Do(request(t, http.MethodGet, "https://a/cluster/journal", ""))
		require.Error(t, err, "it is gone: %v", resp)
	})
}

func request(t *testing.T, method, u, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, u, strings.NewReader(body))
	require.NoError(t, err)
	return r
}
