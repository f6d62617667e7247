package repair

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMalformedQuestions(t *testing.T) {
	w := newTown(t, 1)
	h := strings.Repeat("a", 40)
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "drop", "", 405, "use POST"},
		{"POST", "format", "{}", 404, "no such path"},
		{"POST", "drop", "", 400, "malformed"},
		{"POST", "drop", "{", 400, "malformed"},
		{"POST", "drop", `{"hash":"../../etc/passwd"}`, 400, "hash"},
		{"POST", "promise", `{"hash":"` + h + `","fresh":-1}`, 400, "malformed"},
		{"POST", "promise", `{"hash":"` + h + `","store":"` + strings.Repeat("x", maxQuestion) + `"}`, 400, "malformed"},
		{"POST", "promise", `{"hash":"` + h + `","store":"nobody"}`, 200, "unknown store"},
		{"POST", "copy", `{"hash":"` + h + `","to":"nobody"}`, 200, "no source"},
		{"POST", "doing", `{"hash":"` + h + `"}`, 200, `"result"`},
		{"POST", "now", `{"stores":["nobody"]}`, 200, `"result"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, w.nodes[0].http.URL+Prefix+test.path, strings.NewReader(test.body))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, test.status, res.StatusCode, "%s %s: %s", test.method, test.path, text)
		require.Contains(t, string(text), test.want)
	}
}

// TestStrangeAnswers has another node answer what it should not: nothing is
// dropped, and nobody waits for ever.
func TestStrangeAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "garbage": "\x00\x01garbage", "half": `{"result":`, "endless": strings.Repeat("x", 2*maxLine),
		"another record": `{"result":{"clone":{"ext":"txt"},"records":[{"topic":"user","key":"root","source":"x","time":"1","revision":1}]}}`,
		"no record":      `{"result":{"clone":{"ext":"txt"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 3)
			h := w.put("kept", w.nodes...)
			w.nodes[1].intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
				fmt.Fprintln(rw, answer)
				return true
			})
			w.nodes[0].agent.look()
			require.ErrorIs(t, w.nodes[0].agent.Drop(t.Context(), h, w.nodes[0].id(), 0), ErrNeeded)
			require.Len(t, w.holders(h, "kept"), 3)
		})
	}
}

func TestSilentNodeIsLeft(t *testing.T) {
	w := newTown(t, 3)
	h := w.put("kept", w.nodes...)
	w.nodes[1].intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the caller is gone
		<-r.Context().Done()
		return true
	})
	a := w.nodes[0].agent
	a.look()
	a.tune.Silent = 50 * time.Millisecond
	err := a.Drop(t.Context(), h, w.nodes[0].id(), 0)
	require.ErrorIs(t, err, ErrNeeded)
	require.ErrorIs(t, err, errSilent)
}

// A node that is found to be down while it is asked is left at once, and does
// not have to fall silent first: here that would take an hour.
func TestNodeThatGoesIsLeft(t *testing.T) {
	w := newTown(t, 3)
	h := w.put("kept", w.nodes...)
	gone := make(chan struct{})
	w.nodes[1].intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the caller is gone
		close(gone)
		<-r.Context().Done()
		return true
	})
	a := w.nodes[0].agent
	a.look()
	a.tune.Silent = time.Hour
	a.Gone = func(store string) <-chan struct{} {
		require.Equal(t, w.nodes[1].id(), store)
		return gone
	}
	_, err := a.Verify(t.Context(), h, w.nodes[1].id(), false)
	require.ErrorIs(t, err, errGone)
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		for range 11 {
			require.NoError(t, p.wait(t.Context(), burst, burst))
		}
		require.Equal(t, 10*time.Second, time.Since(began).Round(time.Second), "one burst is free")
		require.Equal(t, int64(11*burst), p.bytes.Load())
		require.InDelta(t, burst, p.recent.rate(time.Now()), burst/4)
		began = time.Now()
		require.NoError(t, p.wait(t.Context(), 100*burst, 0))
		require.Zero(t, time.Since(began), "no bound")
		require.NoError(t, p.wait(t.Context(), 10*burst, 10*burst))
		require.Equal(t, time.Second, time.Since(began).Round(time.Second), "another bound holds at once")
	})
}
