package swarm

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockTwoHoursOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		off := func(m *member) { m.opts.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } }
		a := w.node("a", nil)
		bad := w.node("bad", off, "a")
		pause(5 * time.Second)
		require.Empty(t, bad.offsets, "of two nobody can tell who is right")
		require.True(t, a.to("bad").ClockOff)
		require.InDelta(t, 2*time.Hour, a.to("bad").ClockOffset, float64(time.Second))
		c := w.node("c", nil, "a")
		pause(time.Minute)
		require.NotEmpty(t, bad.offsets)
		require.InDelta(t, -2*time.Hour, bad.offsets[len(bad.offsets)-1], float64(100*time.Millisecond))
		require.Empty(t, a.offsets, "its clock agrees with the median")
		require.Empty(t, c.offsets)
		require.True(t, a.to("bad").ClockOff)
		require.False(t, a.to("c").ClockOff)
		require.True(t, c.to("bad").ClockOff)
		require.Equal(t, 1, bad.logs.FilterMessageSnippet("this node's clock differs").Len())
		require.Equal(t, 1, c.logs.FilterMessageSnippet("a node's clock differs").Len())
		require.Zero(t, c.logs.FilterMessageSnippet("this node's clock differs").Len())
		require.Zero(t, a.logs.FilterMessageSnippet("this node's clock differs").Len())
	})
}

// TestClockOfASlowStart: what took long tells nothing of a clock, and what goes
// quickly does so soon.
func TestClockOfASlowStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slow := map[string]time.Duration{helloPath: 1900 * time.Millisecond, journalPath: 350 * time.Millisecond}
		b := w.node("b", nil)
		w.host("b", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			d := slow[r.URL.Path]
			w.mu.Unlock()
			<-time.After(d)
			b.ServeHTTP(rw, r)
		}))
		a := w.node("a", nil, "b")
		w.node("c", nil, "a")
		pause(20 * time.Second)
		require.Equal(t, Active, a.to("b").State)
		require.False(t, a.to("b").ClockKnown)
		require.True(t, a.to("c").ClockKnown)
		require.Empty(t, a.offsets, "two known clocks are no median of three")
		w.mu.Lock()
		slow[journalPath] = 200 * time.Millisecond
		w.mu.Unlock()
		pause(3 * time.Second)
		require.True(t, a.to("b").ClockKnown)
		require.InDelta(t, 100*time.Millisecond, a.to("b").ClockOffset, float64(2*time.Millisecond), "at most half of the round trip")
		w.mu.Lock()
		slow[journalPath] = 20 * time.Millisecond
		w.mu.Unlock()
		pause(3 * time.Second)
		require.InDelta(t, 10*time.Millisecond, a.to("b").ClockOffset, float64(2*time.Millisecond))
		w.mu.Lock()
		slow[journalPath] = 200 * time.Millisecond
		w.mu.Unlock()
		pause(30 * time.Second)
		require.InDelta(t, 10*time.Millisecond, a.to("b").ClockOffset, float64(2*time.Millisecond), "the shortest counts")
		pause(time.Minute)
		require.InDelta(t, 100*time.Millisecond, a.to("b").ClockOffset, float64(2*time.Millisecond), "for a minute")
		w.mu.Lock()
		slow[journalPath] = time.Second
		w.mu.Unlock()
		pause(measureLost + pollEvery) // what was asked before came a moment later
		require.False(t, a.to("b").ClockKnown)
		w.mu.Lock()
		clear(slow) // nobody is left in the midst of an answer
		w.mu.Unlock()
		pause(3 * time.Second)
	})
}

func TestMedian(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct {
		list []time.Duration
		near time.Duration
		want time.Duration
	}{
		{[]time.Duration{0, 0, 2 * h}, 0, 0},
		{[]time.Duration{0, -2 * h, -2 * h}, 0, -2 * h},
		{[]time.Duration{2 * h, 0}, 0, 0},
		{[]time.Duration{2 * h, 0}, 2 * h, 2 * h},
		{[]time.Duration{0, 0, 2 * h, 2 * h}, 0, 0},
		{[]time.Duration{-2 * h, -2 * h, 0, 0}, 0, 0},
		{[]time.Duration{3}, 0, 3},
	} {
		require.Equal(t, c.want, median(c.list, c.near), "%v", c)
	}
}
