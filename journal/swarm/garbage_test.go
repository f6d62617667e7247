package swarm

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// endless writes until nobody takes it any more, and counts what was taken.
func endless(w io.Writer, sent *atomic.Int64) {
	blanks := bytes.Repeat([]byte{' '}, 1<<20)
	for {
		n, err := w.Write(blanks)
		sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// TestGarbage: whatever answers in place of a node, it is tried again later,
// costs little, and harms nobody else.
func TestGarbage(t *testing.T) {
	var sent atomic.Int64
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	for name, handler := range map[string]http.Handler{
		"nothing":     text(""),
		"no JSON":     text("<html>welcome</html>"),
		"other JSON":  text(`[1,2,3]`),
		"wrong types": text(`{"protocol":1,"id":7}`),
		"no id":       text(`{"protocol":1,"name":"x","domain":"oose.example"}`),
		"odd id":      text(`{"protocol":1,"id":"a/b","name":"x","source":"s","domain":"oose.example"}`),
		"odd name":    text(`{"protocol":1,"id":"a","name":"x\u001b[31m","source":"s","domain":"oose.example"}`),
		"odd address": text(`{"protocol":1,"id":"a","name":"x","source":"s","domain":"oose.example","address":"file:///etc/passwd"}`),
		"half":        text(`{"protocol":1,"id":"a","na`),
		"error": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("\x1b[31mno\n", 100000), http.StatusInternalServerError)
		}),
		"endless":     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { endless(w, &sent) }),
		"never":       hanging,
		"redirect":    http.RedirectHandler("http://127.0.0.1:2019/stop", http.StatusTemporaryRedirect),
		"slow header": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.host("bad", handler)
				a := w.node("a", fileIn(t), "bad")
				b := w.node("b", nil, "a")
				sent.Store(0)
				pause(10 * time.Minute)
				c := a.to("bad")
				require.Equal(t, Lifesupport, c.State)
				require.NotEmpty(t, c.LastError)
				require.LessOrEqual(t, len(c.LastError), 400)
				require.NotContains(t, c.LastError, "\x1b")
				require.NotContains(t, c.LastError, "\n")
				require.Less(t, sent.Load(), int64(64<<20))
				require.Less(t, w.called("bad POST /cluster/hello"), 30)
				a.j.write(1)
				pause(time.Millisecond)
				require.EqualValues(t, 1, b.j.has("src-a"))
				require.True(t, a.Ready())
			})
		})
	}
}

// TestGarbageLater: hello is well, and then garbage comes.
func TestGarbageLater(t *testing.T) {
	var sent atomic.Int64
	for name, bad := range map[string]struct {
		path  string
		serve http.HandlerFunc
	}{
		"catalogue":         {journalPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{]") }},
		"endless catalogue": {journalPath, func(w http.ResponseWriter, _ *http.Request) { endless(w, &sent) }},
		"silent catalogue":  {journalPath, hanging},
		"another's catalogue": {journalPath, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"node":"id-x","source":"src-x"}`)
		}},
		"stream": {journalPath + "/src-b", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(serverHeader, "src-b")
			fmt.Fprint(w, "garbage\n")
		}},
		"endless stream": {journalPath + "/src-b", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(serverHeader, "src-b")
			endless(w, &sent)
		}},
		"another's stream": {journalPath + "/src-b", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(serverHeader, "src-x")
			fmt.Fprint(w, `{"mark":99}`+"\n")
		}},
		"silent stream": {journalPath + "/src-b", hanging},
		"stream that stops": {journalPath + "/src-b", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(serverHeader, "src-b")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a, b := w.node("a", nil), w.node("b", nil, "a")
				pause(3 * time.Second)
				b.j.write(3)
				pause(time.Second)
				w.bend("a", "b", cut)
				sent.Store(0)
				w.host("b", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path == bad.path && r.Method == http.MethodGet {
						bad.serve(rw, r)
						return
					}
					b.Swarm.ServeHTTP(rw, r)
				}))
				b.j.write(2)
				c := w.node("c", nil, "a") // a relay of nothing: it has no connection to b yet
				w.bend("a", "b", whole)
				pause(2 * time.Minute)
				require.EqualValues(t, 3, a.j.has("src-b"))
				require.NotEmpty(t, a.to("b").LastError)
				require.Less(t, w.called("b GET "+bad.path), 200)
				require.Less(t, sent.Load(), int64(256<<20))
				w.host("b", b.Swarm)
				pause(2 * time.Minute)
				require.EqualValues(t, 5, a.j.has("src-b"), "it recovers")
				require.EqualValues(t, 5, c.j.has("src-b"))
				require.Equal(t, 1, a.j.most)
			})
		})
	}
}

// TestManyThatNeverAnswer: each costs a goroutine or two with a deadline.
func TestManyThatNeverAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var join []string
		for i := range 300 {
			host := fmt.Sprintf("hung%d", i)
			w.host(host, hanging)
			join = append(join, host)
		}
		before := runtime.NumGoroutine()
		a := w.node("a", nil, join...)
		pause(2 * time.Second)
		// Two of each are the world's own.
		require.Less(t, runtime.NumGoroutine()-before, 300*5)
		require.Len(t, a.Connections(), 300)
		began := time.Now()
		a.end()
		<-a.over
		require.Less(t, time.Since(began), 2*time.Second, "it ends at once")
	})
}

// TestForeignNodes: another domain, another protocol, refused by both sides.
func TestForeignNodes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		b := w.node("b", func(m *member) { m.self.Domain = "other.example" }, "a")
		pause(10 * time.Second)
		c := b.to("a")
		require.Equal(t, Lifesupport, c.State)
		require.Contains(t, c.LastError, "403")
		require.Contains(t, c.LastError, "oose.example")
		require.Contains(t, c.LastError, "other.example")
		require.False(t, b.Ready())
		require.Empty(t, a.Connections(), "who is refused is not connected to")
		a.SetJoin([]string{"https://b:5971"})
		pause(time.Minute)
		require.Contains(t, a.to("b").LastError, "other.example")
		require.Empty(t, b.Nodes())
		require.True(t, a.Ready())

		w.host("old", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"protocol":2,"anything":true}`) }))
		a.SetJoin([]string{"https://old:5971"})
		pause(10 * time.Second)
		require.Contains(t, a.to("old").LastError, "version 2")
		resp, err := doer{w, "x", "x"}.Do(request(t, http.MethodPost, "https://a/cluster/hello", `{"protocol":2,"id":"x"}`))
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	})
}

// TestBoundsOfHearsay: a node that tells of a thousand others fills nobody's memory.
func TestBoundsOfHearsay(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.node("a", nil)
		for round := range 50 {
			peers := make([]string, 0, 200)
			for i := range 200 {
				peers = append(peers, fmt.Sprintf(`"https://told%d-%d:5971"`, round, i))
			}
			body := `{"protocol":1,"id":"liar","name":"liar","domain":"oose.example","source":"src-liar","started":1,"peers":[` + strings.Join(peers, ",") + `]}`
			resp, err := doer{w, "liar", "liar"}.Do(request(t, http.MethodPost, "https://a/cluster/hello", body))
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.NoError(t, resp.Body.Close())
		}
		synctest.Wait()
		require.LessOrEqual(t, len(a.Connections()), maxUnseen+1)
		pause(65 * time.Minute)
		require.Empty(t, a.Connections(), "what never answered is forgotten")
		for i := range 3 * maxLinks / 2 {
			body := fmt.Sprintf(`{"protocol":1,"id":"n%d","name":"n%d","domain":"oose.example","source":"s%d","started":1,"address":"https://n%d:1"}`, i, i, i, i)
			resp, err := doer{w, "many", fmt.Sprint("n", i)}.Do(request(t, http.MethodPost, "https://a/cluster/hello", body))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}
		require.LessOrEqual(t, len(a.Connections()), maxLinks+maxCallers)
	})
}
