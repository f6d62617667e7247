package probe_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ooseio/oose/handlers/cluster"
	"github.com/ooseio/oose/handlers/probe"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
	"github.com/ooseio/oose/heartbeat/vote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of tests, long enough"

// answerer answers what it is given, and keeps what it was asked.
type answerer struct {
	asked  monitor.Message
	answer monitor.Answer
}

func (a *answerer) Answer(m monitor.Message) monitor.Answer {
	a.asked = m
	return a.answer
}

// listen starts a node that knows the cluster's secret.
func listen(t *testing.T, next http.Handler) monitor.Node {
	t.Helper()
	h := cluster.NewHandler(cluster.Deps{Keys: cluster.NewKeys([]string{secret})})
	if next != nil {
		h.Handle(probe.Path, next)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.Serve(w, r); err != nil {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return monitor.Node{ID: "two", Name: "edge2", Address: s.URL + "/"}
}

func transport(t *testing.T, node string) probe.Transport {
	t.Helper()
	client := cluster.NewClient(cluster.Options{Node: node, Keys: cluster.NewKeys([]string{secret})})
	t.Cleanup(client.Close)
	return probe.Transport{Client: client}
}

func TestProbe(t *testing.T) {
	a := &answerer{answer: monitor.Answer{
		Node: "two", Started: 7, Ready: true, Doubting: true, Version: 9,
		Stores: []heartbeat.StoreHealth{{ID: "s", Readable: true, Free: 5}},
		Votes:  []vote.Ballot{{Voter: "three", Started: 1, Seq: 2, Age: 3, Votes: []vote.Vote{{About: "four", Started: 5}}}},
	}}
	to := listen(t, probe.Handler{Answerer: a, Caller: cluster.CallerOf})
	m := monitor.Message{From: "one", Started: 1, Have: 2, HaveOf: 3, Votes: a.answer.Votes}
	got, err := transport(t, "one").Probe(t.Context(), to, m)
	require.NoError(t, err)
	require.Equal(t, a.answer, got)
	require.Equal(t, m, a.asked)

	to.ID = "three"
	_, err = transport(t, "one").Probe(t.Context(), to, m)
	require.ErrorIs(t, err, probe.ErrOtherNode)
	got, err = transport(t, "somebody else").Probe(t.Context(), to, m)
	require.NoError(t, err)
	require.Equal(t, monitor.Answer{Mute: true}, got, "who is refused has reached a node, and heard nothing")
}

// Whatever answers: no panic, nothing read without end, and nothing believed
// that is not the node's.
func TestProbeGarbage(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		mute   bool
	}{
		"no route":     {nil, true},
		"an error":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, true},
		"garbage":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{") }, false},
		"another type": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"votes":5}`) }, false},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var next http.Handler
			if c.answer != nil {
				next = c.answer
			}
			got, err := transport(t, "one").Probe(t.Context(), listen(t, next), monitor.Message{From: "one"})
			if c.mute {
				require.NoError(t, err)
				require.Equal(t, monitor.Answer{Mute: true}, got)
				return
			}
			require.Error(t, err)
		})
	}
}

// A node that hangs is given up in time, and one that does not know the secret
// is not believed.
func TestProbeEnds(t *testing.T) {
	released := make(chan struct{})
	to := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := transport(t, "one").Probe(ctx, to, monitor.Message{From: "one"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(released)

	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"node":"two"}`) }))
	defer stranger.Close()
	_, err = transport(t, "one").Probe(t.Context(), monitor.Node{ID: "two", Address: stranger.URL}, monitor.Message{From: "one"})
	require.ErrorIs(t, err, cluster.ErrNoProof)
	_, err = transport(t, "one").Probe(t.Context(), monitor.Node{ID: "two", Address: "::"}, monitor.Message{From: "one"})
	require.Error(t, err)
}

func TestHandlerRefuses(t *testing.T) {
	h := probe.Handler{Answerer: &answerer{}, Caller: cluster.CallerOf}
	for body, want := range map[string]int{
		`{`: 400, `[]`: 400, `{"from":"somebody"}`: 400, `{}`: 400,
		`{"from":"` + strings.Repeat("x", 1<<20) + `"}`: 400,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, probe.Path, strings.NewReader(body)))
		require.Equal(t, want, w.Code, "%.40s", body)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodDelete, probe.Path, nil))
	require.GreaterOrEqual(t, w.Code, 400)
}
