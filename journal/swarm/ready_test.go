package swarm

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReady: what a node has to hear of before it is ready.
func TestReady(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := w.node("first", nil, "gone")
		pause(time.Hour)
		require.False(t, first.Ready(), "it joins, and never had what the others have")

		kept := fileIn(t)
		a := w.node("a", kept)
		require.True(t, a.Ready(), "it joins nobody, and knows nobody")
		a.j.write(10)
		b := w.node("b", kept, "a", "gone")
		pause(4 * time.Second)
		require.False(t, b.Ready(), "another one may still answer")
		pause(2 * time.Second)
		require.True(t, b.Ready(), "who did not within 5 s holds nobody up")
		require.EqualValues(t, 10, b.j.has("src-a"))

		b.kill()
		a.kill()
		b.restart()
		pause(4 * time.Second)
		require.False(t, b.Ready())
		pause(2 * time.Second)
		require.True(t, b.Ready(), "it was complete once")
		b.kill()

		b.j = newFakeJournal("src-b-anew") // its records are lost, its file is not
		b.restart()
		pause(time.Minute)
		require.False(t, b.Ready(), "with this journal it never was")
	})
}

// TestReadyAfterCatchingUp: not before it has what a peer had.
func TestReadyAfterCatchingUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		kept := fileIn(t)
		a, b := w.node("a", kept), w.node("b", kept, "a")
		pause(10 * time.Second)
		require.True(t, b.Ready())
		b.kill()
		a.j.write(5)
		// It answers, and its stream brings nothing for a while.
		var stuck atomic.Bool
		stuck.Store(true)
		w.host("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cluster/journal/src-a" && stuck.Load() {
				<-r.Context().Done()
				return
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		b.restart()
		pause(30 * time.Second)
		require.False(t, b.Ready(), "complete once, but it is told that there is more")
		stuck.Store(false)
		pause(90 * time.Second)
		require.True(t, b.Ready())
		require.EqualValues(t, 5, b.j.has("src-a"))
	})
}

// TestReadyAfterASplit: what a peer had named goes by another name before it was
// reached.
func TestReadyAfterASplit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", fileIn(t)), w.node("b", nil, "a")
		pause(10 * time.Second)
		b.kill()
		claim := func(source string, revision uint64) {
			a.j.mu.Lock()
			defer a.j.mu.Unlock()
			a.j.heads[source], a.j.claims[source] = 0, 0
			a.j.set(source, revision)
		}
		claim("src-lost", 10)
		var stuck atomic.Bool
		stuck.Store(true)
		w.host("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cluster/journal/src-lost" && stuck.Load() {
				<-r.Context().Done()
				return
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		b.restart()
		pause(30 * time.Second)
		require.False(t, b.Ready(), "10 revisions of it were named")
		claim("src-lost", 7)
		claim("src-lost.z", 10)
		pause(10 * time.Second)
		require.False(t, b.Ready(), "7 of them are still to come by that name")
		stuck.Store(false)
		pause(90 * time.Second)
		require.EqualValues(t, 7, b.j.has("src-lost"))
		require.EqualValues(t, 10, b.j.has("src-lost.z"))
		require.True(t, b.Ready())
	})
}

// TestReadyWhenThePeerGoes: who named a head and went away holds nobody up
// that was complete, and does not make ready who never was.
func TestReadyWhenThePeerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		kept := fileIn(t)
		a, b := w.node("a", kept), w.node("b", kept, "a")
		c := newMemberOf(w, "c", "a")
		pause(10 * time.Second)
		b.kill()
		a.j.write(5)
		w.host("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/cluster/journal/src-a" {
				<-r.Context().Done()
				return
			}
			a.Swarm.ServeHTTP(rw, r)
		}))
		b.restart()
		c.run()
		pause(10 * time.Second)
		require.False(t, b.Ready())
		w.host("a", nil)
		pause(20 * time.Second)
		require.True(t, b.Ready())
		require.True(t, c.Ready(), "it reached what b has, and b has all that is left")
		c.kill()
		b.kill()
		c.j = newFakeJournal("src-c-anew")
		c.restart()
		pause(time.Minute)
		require.False(t, c.Ready())
	})
}

// newMemberOf is a member that does not run yet.
func newMemberOf(w *world, name string, join ...string) *member {
	m := &member{w: w, name: name, j: newFakeJournal("src-" + name)}
	m.self = Self{ID: "id-" + name, Name: name, Domain: "oose.example", Address: "https://" + name + ":5971", Started: time.Now().UnixMilli()}
	for _, j := range join {
		m.opts.Join = append(m.opts.Join, "https://"+j+":5971")
	}
	return m
}

// TestReadyWithoutDNS: a lookup that fails may succeed within the first seconds.
func TestReadyWithoutDNS(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		dns := &fakeDNS{srv: map[string][]*net.SRV{"_oose._tcp.oose.example": {{Target: "a.", Port: 5971}}}}
		kept := fileIn(t)
		a := w.node("a", nil)
		b := w.node("b", func(m *member) { kept(m); m.opts.Resolver = dns }, "dns+srv://_oose._tcp.oose.example")
		pause(10 * time.Second)
		require.True(t, b.Ready())
		b.stop()
		dns.set(func(d *fakeDNS) { d.err = errCut })
		b.restart()
		pause(4 * time.Second)
		require.Equal(t, Active, b.to("a").State)
		require.False(t, b.Ready())
		pause(2 * time.Second)
		require.True(t, b.Ready())
		require.NotNil(t, a)
	})
}

// TestReadyAlone: a configuration that every node has, on the only node.
func TestReadyAlone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil, "a")
		pause(time.Second)
		require.True(t, a.Ready())
		dns := &fakeDNS{srv: map[string][]*net.SRV{"_oose._tcp.oose.example": {{Target: "b.", Port: 5971}}}}
		b := w.node("b", func(m *member) { m.opts.Resolver = dns }, "dns+srv://_oose._tcp.oose.example")
		pause(time.Second)
		require.True(t, b.Ready())
	})
}

// TestRestoredSnapshot: a node whose database is an old copy goes on as a new
// source before it is ready, whoever joins whom.
func TestRestoredSnapshot(t *testing.T) {
	for name, joins := range map[string]bool{"it joins": true, "others join it": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.node("a", fileIn(t))
				b := newMemberOf(w, "b")
				fileIn(t)(b)
				if joins {
					b.opts.Join = []string{"https://a:5971"}
				} else {
					a.SetJoin([]string{"https://b:5971"})
				}
				b.run()
				pause(5 * time.Second)
				b.j.write(10)
				pause(time.Second)
				old := b.j.snapshot()
				b.j.write(10)
				pause(10 * time.Second)
				require.EqualValues(t, 20, a.j.has("src-b"))
				b.kill()
				b.j = old
				b.restart()
				for !b.Ready() {
					pause(10 * time.Millisecond)
				}
				require.Equal(t, 1, b.j.renewed, "once, and before it is ready")
				require.Equal(t, []string{"src-b"}, b.renewed)
				b.j.write(3)
				pause(5 * time.Second)
				require.EqualValues(t, 20, b.j.has("src-b"), "what it had forgotten came back")
				require.EqualValues(t, 3, a.j.has("src-b-2"))
				require.EqualValues(t, 3, b.j.ack("id-a"))
				require.Equal(t, 1, b.j.renewed)
				require.Zero(t, a.j.renewed)
				book, err := readBook(b.opts.File)
				require.NoError(t, err)
				require.Equal(t, "src-b-2", book.Complete)
			})
		})
	}
}

// TestRestoredSnapshotIsTold: by whatever names a claim or a record above the head.
func TestRestoredSnapshotIsTold(t *testing.T) {
	answer := func(hello, catalogue string, head ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == helloPath:
				fmt.Fprintf(rw, `{"protocol":1,"id":"id-p","name":"p","domain":"oose.example","source":"src-p","claim":%s}`, hello)
			case r.URL.Path == journalPath && r.Method == http.MethodGet:
				fmt.Fprintf(rw, `{"node":"id-p","source":"src-p","sources":[{"source":"src-a","claim":%s,"head":%s}]}`, catalogue, append(head, catalogue)[0])
			}
		}
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		call  func(a http.Handler) int
		want  int
	}{
		"nobody":    {serve: answer("5", "5"), want: 0},
		"a hello":   {serve: answer("6", "0"), want: 1},
		"catalogue": {serve: answer("0", "6"), want: 1},
		"a record":  {serve: answer("0", "0", "6"), want: 1},
		"acks": {call: func(a http.Handler) int {
			return ask(t, a, "id-x", "POST", journalPath, `{"node":"id-x","claims":{"src-a":6}}`).Code
		}, want: 1},
		"a stream": {call: func(a http.Handler) int { return ask(t, a, "id-x", "GET", journalPath+"/src-a?since=6", "").Code }, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.node("a", func(m *member) { m.j.write(5) })
				if c.call != nil {
					require.Equal(t, 200, ask(t, a, "id-x", "POST", helloPath, goodHello).Code)
					require.Less(t, c.call(a), 500)
				} else {
					w.host("p", c.serve)
					a.SetJoin([]string{"https://p:5971"})
				}
				pause(time.Second)
				require.Equal(t, c.want, a.j.renewed)
				require.Len(t, a.renewed, c.want)
			})
		})
	}
}

// TestRestoredSnapshotIsToldByAFollower: one that nobody joins, whose file of
// known nodes is gone too, learns it from the first that asks.
func TestRestoredSnapshotIsToldByAFollower(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		b := w.node("b", func(m *member) { m.self.Address = "" }, "a")
		pause(5 * time.Second)
		a.j.write(2)
		pause(time.Second)
		old := a.j.snapshot()
		a.j.write(2)
		pause(time.Second)
		require.EqualValues(t, 4, b.j.has("src-a"))
		a.kill()
		a.j = old
		a.restart()
		pause(10 * time.Second)
		require.Equal(t, 1, a.j.renewed)
		a.j.write(1)
		pause(5 * time.Second)
		require.EqualValues(t, 1, b.j.has("src-a-2"))
		w.bend("a", "b", silent)
		a.j.write(3)
		pause(time.Second)
		require.EqualValues(t, 3, a.by("b").Lag, "what it had of the former source is not of this one")
	})
}
